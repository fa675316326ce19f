"""redis-py and a JSON encoder, as the caching strategy's own code has it; threads and asyncio."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import orjson
import redis
import redis.asyncio

from benchmarks.workloads import TTL_S, key

if TYPE_CHECKING:
    from collections.abc import Callable

_PIPELINE: Final = 1000  # commands, the best of 100, 1,000 and 10,000


class RedisPy:
    name = "redis-py + json"
    is_async = False

    def __init__(self, port: int) -> None:
        self._client: Any = redis.Redis(port=port)

    def close(self) -> None:
        self._client.close()

    def get(self, user: int, job: int) -> object:
        return json.loads(self._client.get(key(user, job)))

    def get_many(self, user: int, jobs: list[int]) -> object:
        return [json.loads(raw) for raw in self._client.mget([key(user, job) for job in jobs])]

    def set_many(self, user: int, scores: dict[int, Any]) -> None:
        self.warm({user: scores})

    def warm(self, scores: dict[int, dict[int, Any]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for user, by_job in scores.items():
            for job, score in by_job.items():
                pipeline.set(key(user, job), json.dumps(score), ex=TTL_S)
                if len(pipeline) >= _PIPELINE:
                    pipeline.execute()
        pipeline.execute()

    def invalidate_user(self, user: int) -> None:
        self._delete(f"match:{user}:*")

    def invalidate_job(self, job: int) -> None:
        self._delete(f"match:*:{job}")

    def get_or_compute(self, name: str, compute: Callable[[], Any]) -> object:
        """The caching strategy's lock, with its tries 100 ms apart."""
        while True:
            cached = self._client.get(name)
            if cached:
                return json.loads(cached)
            if self._client.setnx(f"lock:{name}", "1"):
                self._client.expire(f"lock:{name}", 10)
                try:
                    value = compute()
                    self._client.set(name, json.dumps(value), ex=3600)
                    return value
                finally:
                    self._client.delete(f"lock:{name}")
            time.sleep(0.1)

    def _delete(self, pattern: str) -> None:
        keys = self._client.keys(pattern)
        if keys:
            self._client.delete(*keys)


class RedisPyOrjson:
    """The same with a faster decoder: how much of a difference is the encoding's."""

    name = "redis-py + orjson"
    is_async = False

    def __init__(self, port: int) -> None:
        self._client: Any = redis.Redis(port=port)

    def close(self) -> None:
        self._client.close()

    def get(self, user: int, job: int) -> object:
        return orjson.loads(self._client.get(key(user, job)))

    def get_many(self, user: int, jobs: list[int]) -> object:
        return [orjson.loads(raw) for raw in self._client.mget([key(user, job) for job in jobs])]

    def set_many(self, user: int, scores: dict[int, Any]) -> None:
        self._client.mset({key(user, job): orjson.dumps(score) for job, score in scores.items()})


class RedisAsyncio:
    name = "redis.asyncio + json"
    is_async = True

    def __init__(self, port: int) -> None:
        # Its own pool raises an error where a hundred callers meet; this one lets them wait.
        self._client: Any = redis.asyncio.Redis(connection_pool=redis.asyncio.BlockingConnectionPool(port=port))

    async def close(self) -> None:
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def get(self, user: int, job: int) -> object:
        return json.loads(await self._client.get(key(user, job)))

    async def get_many(self, user: int, jobs: list[int]) -> object:
        return [json.loads(raw) for raw in await self._client.mget([key(user, job) for job in jobs])]

    async def set_many(self, user: int, scores: dict[int, Any]) -> None:
        await self._client.mset({key(user, job): json.dumps(score) for job, score in scores.items()})
