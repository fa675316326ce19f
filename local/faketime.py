"""The clock of a server that stands still until it is moved: libfaketime's, moved in its shared memory.

With a time that begins in 1970 and goes on by a nanosecond each time it is read (`i0.000000001`, rounded up for the
conversion to a float), libfaketime shows the count of the readings, and keeps that count in shared memory under a
semaphore. Whoever holds the semaphore may set the count: the next reading shows it, in whichever process.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import secrets
import sys
import time
from pathlib import Path
from typing import Final

from local.errors import LocalError

_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where shm_open and sem_open of libc put theirs
_START: Final = "@1970-01-01 00:00:00 i0.0000000015"
_SECOND_NS: Final = 1_000_000_000
# A server holds it for less than a microsecond. One that was stopped just then may be continued.
PATIENCE_S: Final = 10.0


def faketime_library() -> Path | None:
    """The library that moves a server's clock; None where the wheel has no build that loads (macOS, arm64).

    And where there is no shared memory to move it in, as in some containers.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64" or not os.access(_SHARED_MEMORY, os.W_OK):
        return None
    import libfaketime

    library = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
    return library if library.exists() else None


class SharedClock:
    """All clocks of a process that is started with `environment`: they show `start_s` until `move`.

    Each reading adds a nanosecond: after a million of them the clock is a millisecond ahead, until the next move.
    `files` are to be removed by `unlink` when the process has started, and by somebody else if this process cannot.
    Raises LocalError where this machine has no such clock.
    """

    def __init__(self, start_s: int) -> None:
        library = faketime_library()
        if library is None:
            raise LocalError(
                f"no clock to move on {sys.platform} {platform.machine()}, or no shared memory in {_SHARED_MEMORY}; "
                "movable_clock must be False."
            )
        name = f"valkey-clock-{secrets.token_hex(8)}"
        self.environment = {"LD_PRELOAD": str(library), "FAKETIME": _START, "FAKETIME_SHARED": f"/{name} /{name}"}
        self.files = (_SHARED_MEMORY / name, _SHARED_MEMORY / f"sem.{name}")
        # With CDLL others would run during each call, and a server would wait for its clock until it is our turn again.
        libc = ctypes.PyDLL(None, use_errno=True)
        self._try_wait, self._post, self._close = libc.sem_trywait, libc.sem_post, libc.sem_close
        try:
            self._readings = _create_memory(self.files[0])
            self._semaphore = _create_semaphore(libc, name)
        except OSError as error:
            self.unlink()
            raise LocalError(f"a server's clock needs shared memory in {_SHARED_MEMORY}: {error.strerror}.") from None
        self._readings[0] = start_s * _SECOND_NS

    def move(self, epoch_s: float) -> None:
        """Every reading from now on shows this time. Raises LocalError if the process does not let go of its clock."""
        readings = int(epoch_s * _SECOND_NS)
        if self._try_wait(self._semaphore):
            self._wait()
        try:
            self._readings[0] = readings
        finally:  # else the server would wait for its clock for ever
            self._post(self._semaphore)

    def unlink(self) -> None:
        """Removes the names: whoever has the clock keeps it, nobody else gets it. Safe to call twice."""
        for file in self.files:
            file.unlink(missing_ok=True)

    def close(self) -> None:
        """The clock cannot be moved any more."""
        self.unlink()
        self._close(self._semaphore)

    def _wait(self) -> None:
        give_up_at = time.monotonic() + PATIENCE_S
        while self._try_wait(self._semaphore):
            if time.monotonic() > give_up_at:
                raise LocalError(f"a server has held its clock for {PATIENCE_S:g} s: it is stopped, or was killed.")
            time.sleep(0)  # lets other threads run


def _create_memory(path: Path) -> memoryview[int]:
    """Of whole numbers, all 0; the first is the count."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.ftruncate(file, mmap.PAGESIZE)
        return memoryview(mmap.mmap(file, mmap.PAGESIZE)).cast("q")
    finally:
        os.close(file)


def _create_semaphore(libc: ctypes.PyDLL, name: str) -> ctypes.c_void_p:
    libc.sem_open.restype = ctypes.c_void_p
    semaphore = libc.sem_open(f"/{name}".encode(), os.O_CREAT | os.O_EXCL, 0o600, 1)
    if semaphore is None:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return ctypes.c_void_p(semaphore)
