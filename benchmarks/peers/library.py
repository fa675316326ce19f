"""This library."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from cache import AsyncCacheService, CacheService
from cache.breaker import PAUSE_S
from cache.warming import Warmer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NAME: Final = "this library"
# A run leaves out what the server has not answered in time; the next one stores that.
_RUNS: Final = 10


class Library:
    name = NAME
    is_async = False

    def __init__(self, port: int) -> None:
        self.service = CacheService.from_url(f"redis://127.0.0.1:{port}")
        self._warmer = Warmer(self.service.flows)

    def close(self) -> None:
        self.service.close()

    def get(self, user: int, job: int) -> object:
        return self.service.get_match_score(user, job)

    def get_many(self, user: int, jobs: list[int]) -> object:
        return self.service.get_match_scores(user, jobs)

    def set_many(self, user: int, scores: dict[int, Any]) -> None:
        self.service.set_match_scores(user, scores)

    def warm(self, scores: dict[int, dict[int, Any]]) -> None:
        jobs = list(next(iter(scores.values())))
        for _ in range(_RUNS):
            counts = self._warmer.run(
                self.service, list(scores), jobs, lambda wanted: {user: scores[user] for user in wanted}
            )
            if not counts.users_unanswered:
                return
            time.sleep(PAUSE_S)
        raise TimeoutError(f"not everything was stored in {_RUNS} runs: this machine is too busy to measure on.")

    def invalidate_user(self, user: int) -> None:
        self.service.invalidate_user_matches(user)

    def invalidate_job(self, job: int) -> None:
        self.service.invalidate_job_matches(job)

    def get_or_compute(self, key: str, compute: Callable[[], Any]) -> object:
        return self.service.get_with_lock(key, compute, ttl=3600)


class AsyncLibrary:
    name = f"{NAME}, asyncio"
    is_async = True

    def __init__(self, port: int) -> None:
        self.service = AsyncCacheService.from_url(f"redis://127.0.0.1:{port}")

    async def close(self) -> None:
        await self.service.close()

    async def get(self, user: int, job: int) -> object:
        return await self.service.get_match_score(user, job)

    async def get_many(self, user: int, jobs: list[int]) -> object:
        return await self.service.get_match_scores(user, jobs)

    async def set_many(self, user: int, scores: dict[int, Any]) -> None:
        await self.service.set_match_scores(user, scores)

    async def get_or_compute(self, key: str, compute: Callable[[], Awaitable[Any]]) -> object:
        return await self.service.get_with_lock(key, compute, ttl=3600)
