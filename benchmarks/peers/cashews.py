"""cashews: asyncio, with its Redis lock against stampedes and its near cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cashews import Cache

from benchmarks.workloads import TTL_S, key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Cashews:
    name = "cashews"
    is_async = True

    def __init__(self, port: int, **options: Any) -> None:
        self._cache = Cache()
        self._cache.setup(f"redis://127.0.0.1:{port}", **options)
        self._cached: dict[str, Any] = {}

    async def close(self) -> None:
        await self._cache.close()

    async def get(self, user: int, job: int) -> object:
        return await self._cache.get(key(user, job))

    async def get_many(self, user: int, jobs: list[int]) -> object:
        return await self._cache.get_many(*[key(user, job) for job in jobs])

    async def set_many(self, user: int, scores: dict[int, Any]) -> None:
        await self.warm({user: scores})

    async def warm(self, scores: dict[int, dict[int, Any]]) -> None:
        for user, by_job in scores.items():
            await self._cache.set_many({key(user, job): score for job, score in by_job.items()}, expire=TTL_S)

    async def invalidate_user(self, user: int) -> None:
        await self._cache.delete_match(f"match:{user}:*")

    async def get_or_compute(self, name: str, compute: Callable[[], Awaitable[Any]]) -> object:
        if name not in self._cached:
            self._cached[name] = self._cache(ttl="1h", key=name, lock=True)(compute)
        return await self._cached[name]()
