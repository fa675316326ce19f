"""Runs a server for as long as its parent lives: `python local/guard.py FOLDER COMMAND…`.

Standard input is a pipe that the parent holds open. When it closes, however the parent ended, SIGKILL included, the
server is stopped and its folder removed. Run as a file, so that it starts without importing the package.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1


def _die_with_the_guard() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    folder, *command = sys.argv[1:]
    # Ctrl-C reaches the whole foreground group; the parent decides when the server stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_the_guard)  # noqa: S603
    # The guard keeps no end of the server's output: the parent sees it end when the server does.
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nothing, output)
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    server.kill()  # it keeps nothing: no reason to ask first
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
