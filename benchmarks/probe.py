"""Another client: asks the server for a PING again and again, and remembers how long it waited.

    python -m benchmarks.probe PORT

A line "BEGAN ENDED" (seconds of time.monotonic, which all processes share) on standard input is answered by the longest
wait in ms of a PING that overlapped it. Ends with its input.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Self


class Probe:
    """`with Probe(port) as probe:` starts the other client; `probe.longest_wait_ms(began, ended)` asks it."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "benchmarks.probe", str(self._port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()  # it has its first reply
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def longest_wait_ms(self, began: float, ended: float) -> float:
        assert self._process.stdin is not None
        print(began, ended, file=self._process.stdin, flush=True)
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def main() -> int:
    waits: deque[tuple[float, float]] = deque(maxlen=1_000_000)  # (sent, answered), half a minute of them
    connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask() -> None:
        while True:
            sent = time.monotonic()
            connection.sendall(b"PING\r\n")
            connection.recv(64)
            waits.append((sent, time.monotonic()))

    threading.Thread(target=ask, daemon=True).start()
    while not waits:
        time.sleep(0.001)
    print("ready", flush=True)
    for line in sys.stdin:
        began, ended = map(float, line.split())
        while waits[-1][0] < ended:
            time.sleep(0.001)
        overlapping = [answered - sent for sent, answered in list(waits) if answered > began and sent < ended]
        print(max(overlapping) * 1000, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
