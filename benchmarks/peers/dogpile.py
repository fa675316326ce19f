"""dogpile.cache with its Redis backend and its Redis lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dogpile.cache import make_region

from benchmarks.workloads import TTL_S, key

if TYPE_CHECKING:
    from collections.abc import Callable


class Dogpile:
    name = "dogpile.cache"
    is_async = False

    def __init__(self, port: int) -> None:
        self._region: Any = make_region().configure(
            "dogpile.cache.redis",
            expiration_time=TTL_S,
            arguments={
                "host": "127.0.0.1",
                "port": port,
                "redis_expiration_time": TTL_S,
                "distributed_lock": True,
                "thread_local_lock": False,
                "lock_timeout": 10,
            },
        )

    def close(self) -> None:
        self._region.backend.writer_client.close()

    def get(self, user: int, job: int) -> object:
        return self._region.get(key(user, job))

    def get_many(self, user: int, jobs: list[int]) -> object:
        return self._region.get_multi([key(user, job) for job in jobs])

    def set_many(self, user: int, scores: dict[int, Any]) -> None:
        self.warm({user: scores})

    def warm(self, scores: dict[int, dict[int, Any]]) -> None:
        for user, by_job in scores.items():
            self._region.set_multi({key(user, job): score for job, score in by_job.items()})

    def get_or_compute(self, name: str, compute: Callable[[], Any]) -> object:
        return self._region.get_or_create(name, compute)
