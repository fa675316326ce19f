"""Runs in several processes in which one is lost. A module of its own: each process imports it."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import psutil

from loadtest import scenarios, virtual

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.result import Result
    from loadtest.share import Share


def killed(*, share: Share, progress: Callable[[str, float], None]) -> NoReturn:
    """The other process is gone before it begins."""
    if not share.is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    _told_so(progress)


def orphaned(*, share: Share, progress: Callable[[str, float], None]) -> NoReturn:
    """The first process is gone; the other says so when it ends."""
    if share.is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        _told_so(progress)
    except SystemExit:
        os.write(sys.stdout.fileno(), b"ends\n")
        raise


def without_server(*, share: Share, progress: Callable[[str, float], None]) -> Result:
    """Halfway, the other process's server is killed."""

    def halfway(what: str, done: float) -> None:
        if what != "virtual time" or done < 0.5:
            progress(what, done)
        elif share.is_first:
            _told_so(progress)
        else:
            for process in psutil.Process().children(recursive=True):
                if process.name().startswith("valkey"):
                    process.kill()

    return virtual.run(scenarios.load("small").changed(users=50, days=1), seed=1, share=share, progress=halfway)


def _told_so(progress: Callable[[str, float], None]) -> NoReturn:
    """Goes on until it is told that another process is lost, by an exception."""
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        progress("virtual time", 0.5)
        time.sleep(0.01)
    raise AssertionError("nobody told the first process")
