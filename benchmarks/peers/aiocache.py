"""aiocache with its Redis backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiocache import RedisCache, cached_stampede
from aiocache.serializers import JsonSerializer

from benchmarks.workloads import TTL_S, key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Aiocache:
    name = "aiocache"
    is_async = True

    def __init__(self, port: int) -> None:
        self._where = {"endpoint": "127.0.0.1", "port": port}
        self._cache = RedisCache(serializer=JsonSerializer(), **self._where)
        self._cached: dict[str, Any] = {}

    async def close(self) -> None:
        for decorated in self._cached.values():
            await decorated.cache.close()
        await self._cache.close()

    async def get(self, user: int, job: int) -> object:
        return await self._cache.get(key(user, job))

    async def get_many(self, user: int, jobs: list[int]) -> object:
        return await self._cache.multi_get([key(user, job) for job in jobs])

    async def set_many(self, user: int, scores: dict[int, Any]) -> None:
        await self.warm({user: scores})

    async def warm(self, scores: dict[int, dict[int, Any]]) -> None:
        for user, by_job in scores.items():
            await self._cache.multi_set([(key(user, job), score) for job, score in by_job.items()], ttl=TTL_S)

    async def get_or_compute(self, name: str, compute: Callable[[], Awaitable[Any]]) -> object:
        if name not in self._cached:
            decorate = cached_stampede(lease=2, ttl=3600, key=name, cache=RedisCache, **self._where)
            self._cached[name] = decorate(compute)
        return await self._cached[name]()
