"""What becomes of connections that could not be made, and of those who wait for one."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

from cache.async_link import AsyncPool
from cache.pool import Pool

if TYPE_CHECKING:
    from local.valkey import Valkey


class FirstRefused:
    """Makes connections to the server, all but the first."""

    def __init__(self, connection_class: Any, server: Valkey) -> None:
        self._connection_class = connection_class
        self._port = server.port
        self._is_first = True

    def __call__(self) -> Any:
        if self._is_first:
            self._is_first = False
            raise redis.ConnectionError("refused")
        return self._connection_class(port=self._port, protocol=2)


def test_one_that_could_not_be_made_leaves_its_place_for_threads(server: Valkey) -> None:
    pool = Pool(FirstRefused(redis.Connection, server), 1, lambda: True)

    with pytest.raises(redis.ConnectionError, match="refused"):
        pool.take(10)

    pool.drop(pool.take(10))


def test_one_that_could_not_be_made_leaves_its_place_for_asyncio(server: Valkey) -> None:
    async def scenario() -> None:
        pool = AsyncPool(FirstRefused(redis.asyncio.Connection, server), 1, lambda: True)

        with pytest.raises(redis.ConnectionError, match="refused"):
            await pool.take()

        async with asyncio.timeout(10):
            await pool.drop(await pool.take())

    asyncio.run(scenario())


class Held(redis.asyncio.Connection):
    """Waits to be let go, and is then refused."""

    def __init__(self, let_go: asyncio.Event) -> None:
        super().__init__()
        self._let_go = let_go

    async def connect(self) -> None:
        await self._let_go.wait()
        raise redis.ConnectionError("refused")


def test_one_of_before_a_failure_is_refused_to_nobody_who_waits_for_the_next(server: Valkey) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def held() -> Any:
        begun.set()
        let_go.wait()
        raise redis.ConnectionError("refused")

    connection_class: Any = redis.Connection
    makers: Any = iter([held, lambda: connection_class(port=server.port, protocol=2)])
    pool = Pool(lambda: next(makers)(), 1, lambda: True)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(pool.take, 10)
        begun.wait()

        pool.failed()
        let_go.set()

        pool.drop(waiting.result())


def test_one_of_before_a_failure_is_refused_to_no_task_that_waits_for_the_next(server: Valkey) -> None:
    async def scenario() -> None:
        old = asyncio.Event()
        connections = iter([Held(old), redis.asyncio.Connection(port=server.port, protocol=2)])
        pool = AsyncPool(lambda: next(connections), 1, lambda: True)
        waiting = asyncio.create_task(pool.take())
        await asyncio.sleep(0)  # its connection is begun

        pool.failed()
        old.set()
        await pool.clear()

        async with asyncio.timeout(10):
            await pool.drop(await waiting)

    asyncio.run(scenario())
