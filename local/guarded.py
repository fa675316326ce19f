"""A server under `guard.py`: its process, its log, and the folder that goes with it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_GUARD: Final = Path(__file__).with_name("guard.py")
_LINES_KEPT: Final = 20


class Guarded:
    """Runs `command` until `stop`, or until this process ends, however that does; `folder` is then removed.

    `options` are the guard's own. `log` has the last lines that the server said.
    """

    def __init__(
        self, folder: Path, command: Sequence[str], *, options: Sequence[str] = (), cwd: Path | None = None
    ) -> None:
        """Raises OSError where no process can be started; the folder is the caller's to remove then."""
        self.log: deque[str] = deque(maxlen=_LINES_KEPT)
        self._reader: threading.Thread | None = None
        self._guard = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", str(_GUARD), *options, str(folder), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, ready: str, *, failures: Sequence[str] = ()) -> bool:
        """Whether it said `ready`, before its end or one of the words that mean failure."""
        assert self._guard.stdout is not None
        for line in self._guard.stdout:
            self.log.append(line.strip())
            if ready in line:
                # The pipe is read to its end: a server that cannot write its log would stop.
                self._reader = threading.Thread(target=self._read_log, daemon=True)
                self._reader.start()
                return True
            if any(word in line for word in failures):
                return False
        return False

    def stop(self) -> None:
        """Returns once the server has ended. Safe to call twice."""
        assert self._guard.stdin is not None
        assert self._guard.stdout is not None
        self._guard.stdin.close()
        self._guard.wait()
        if self._reader is not None:
            self._reader.join()
        self._guard.stdout.close()

    def _read_log(self) -> None:
        assert self._guard.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self._guard.stdout:
                self.log.append(line.strip())
