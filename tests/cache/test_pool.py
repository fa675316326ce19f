"""A connection that could not be made leaves its place to the next one, though nobody waits to hear of it."""

from __future__ import annotations

import asyncio
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


def test_for_threads(server: Valkey) -> None:
    pool = Pool(FirstRefused(redis.Connection, server), 1, lambda: True)

    with pytest.raises(redis.ConnectionError, match="refused"):
        pool.take(10)

    pool.drop(pool.take(10))


def test_for_asyncio(server: Valkey) -> None:
    async def scenario() -> None:
        pool = AsyncPool(FirstRefused(redis.asyncio.Connection, server), 1, lambda: True)

        with pytest.raises(redis.ConnectionError, match="refused"):
            await pool.take()

        async with asyncio.timeout(10):
            await pool.drop(await pool.take())

    asyncio.run(scenario())
