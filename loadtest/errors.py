"""What goes wrong in a load test, in one sentence each, with its exit code."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a run ended. Where several apply: the first of USAGE, ERROR, UNDECIDED, TARGET_MISSED, DOES_NOT_FIT."""

    PASS = 0
    ERROR = 1
    USAGE = 2
    TARGET_MISSED = 3
    DOES_NOT_FIT = 4
    UNDECIDED = 5


class LoadTestError(Exception):
    """The run could not be finished."""

    exit_code = ExitCode.ERROR


class ServerGoneError(LoadTestError):
    """The server went away during the run."""


class ScenarioError(LoadTestError):
    """A scenario or an option that cannot be run."""

    exit_code = ExitCode.USAGE
