"""Runs a server for as long as its parent lives: `python local/guard.py [OPTIONS] FOLDER COMMAND…`.

Standard input is a pipe that the parent holds open. When it closes, however the parent ended, SIGKILL included, the
server is stopped and its folder removed. Run as a file, so that it starts without importing the package.
`--stop-with SIGQUIT` is for a server that has something to tidy up, `--user 65534` for one that refuses to be root,
`--remove FILE` for one that has files elsewhere.
"""

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
_STOP_WITHIN_S = 5


def _die_with_the_guard() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stop-with", default="SIGKILL")  # most keep nothing: no reason to ask first
    parser.add_argument("--user", type=int)
    parser.add_argument("--remove", action="append", default=[], metavar="FILE")
    parser.add_argument("folder")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    # Ctrl-C reaches the whole foreground group; the parent decides when the server stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = subprocess.Popen(  # noqa: S603
        options.command,
        stdin=subprocess.DEVNULL,
        preexec_fn=_die_with_the_guard,
        user=options.user,
        group=options.user,
        extra_groups=None if options.user is None else [],
    )
    # The guard keeps no end of the server's output: the parent sees it end when the server does.
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nothing, output)
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    server.send_signal(signal.Signals[options.stop_with])
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(_STOP_WITHIN_S)
    server.kill()
    server.wait()
    shutil.rmtree(options.folder, ignore_errors=True)
    for file in options.remove:
        with contextlib.suppress(OSError):
            os.remove(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
