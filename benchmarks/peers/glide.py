"""valkey-glide for threads, with orjson: a client, not a cache library."""

from __future__ import annotations

from typing import Any

import orjson
from glide_sync import Batch, ExpirySet, ExpiryType, GlideClient, GlideClientConfiguration, NodeAddress

from benchmarks.workloads import TTL_S, key


class Glide:
    name = "valkey-glide-sync + orjson"
    is_async = False

    def __init__(self, port: int, **options: Any) -> None:
        self._client = GlideClient.create(
            GlideClientConfiguration([NodeAddress("127.0.0.1", port)], request_timeout=5000, **options)
        )

    def close(self) -> None:
        self._client.close()

    def get(self, user: int, job: int) -> object:
        return orjson.loads(self._client.get(key(user, job)) or b"null")

    def get_many(self, user: int, jobs: list[int]) -> object:
        return [orjson.loads(raw or b"null") for raw in self._client.mget([key(user, job) for job in jobs])]

    def set_many(self, user: int, scores: dict[int, Any]) -> None:
        self.warm({user: scores})

    def warm(self, scores: dict[int, dict[int, Any]]) -> None:
        for user, by_job in scores.items():
            batch = Batch(is_atomic=False)
            for job, score in by_job.items():
                batch.set(key(user, job), orjson.dumps(score), expiry=ExpirySet(ExpiryType.SEC, TTL_S))
            self._client.exec(batch, raise_on_error=True)
