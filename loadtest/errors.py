"""What goes wrong in a load test, in one sentence each, with its exit code."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """How a run ended. Where several apply: the first of USAGE, ERROR, UNDECIDED, TARGET_MISSED, DOES_NOT_FIT."""

    PASS = 0
    ERROR = 1
    USAGE = 2
    TARGET_MISSED = 3
    DOES_NOT_FIT = 4
    UNDECIDED = 5


EXIT_CODES: Final = (
    "exit codes: 0 every target met; 1 an error; 2 wrong usage; 3 a hit-rate target missed, or `compare` found "
    "something worse; 4 the data does not fit the scenario's node type; 5 too few samples for a verdict, or the asked "
    "rate was not reached"
)


class LoadTestError(Exception):
    """The run could not be finished."""

    exit_code = ExitCode.ERROR


class ServerGoneError(LoadTestError):
    """The server went away during the run."""


class ScenarioError(LoadTestError):
    """A scenario or an option that cannot be run."""

    exit_code = ExitCode.USAGE
