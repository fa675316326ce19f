"""django-redis, outside a Django project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django_redis.cache import RedisCache

from benchmarks.workloads import TTL_S, key

if TYPE_CHECKING:
    from collections.abc import Callable


class DjangoRedis:
    name = "django-redis"
    is_async = False

    def __init__(self, port: int) -> None:
        if not settings.configured:
            settings.configure()
        self._cache = RedisCache(f"redis://127.0.0.1:{port}/0", {})

    def close(self) -> None:
        self._cache.client.get_client().connection_pool.disconnect()

    def get(self, user: int, job: int) -> object:
        return self._cache.get(key(user, job))

    def get_many(self, user: int, jobs: list[int]) -> object:
        return self._cache.get_many([key(user, job) for job in jobs])

    def set_many(self, user: int, scores: dict[int, Any]) -> None:
        self.warm({user: scores})

    def warm(self, scores: dict[int, dict[int, Any]]) -> None:
        for user, by_job in scores.items():
            self._cache.set_many({key(user, job): score for job, score in by_job.items()}, TTL_S)

    def invalidate_user(self, user: int) -> None:
        self._cache.delete_pattern(f"match:{user}:*")

    def get_or_compute(self, name: str, compute: Callable[[], Any]) -> object:
        return self._cache.get_or_set(name, compute, 3600)
