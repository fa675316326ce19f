"""The library and its peers behind one interface, each as its own documentation sets it up.

A method that a peer's class lacks is a feature that the peer lacks; `having` finds those that have it.

    Peer(port)                           on the server at 127.0.0.1
    get(user, job)                       one score, decoded
    get_many(user, jobs)                 the scores of a list view, decoded
    set_many(user, scores)               `{job: score}`, for a day
    warm({user: {job: score}})           the same for many users, the fastest way there is
    invalidate_user(user), invalidate_job(job)
    get_or_compute(key, compute)         with the peer's own protection from a stampede
    close()

Methods of a peer that `is_async` are coroutines, and `compute` is an async function.
"""

from __future__ import annotations

from typing import Any


def all_peers() -> list[Any]:
    """The classes, the library itself first."""
    # Together they take a second to import, and not every benchmark asks for them.
    from benchmarks.peers import aiocache, cashews, django_redis, dogpile, glide, library, redis_py

    return [
        *(library.Library, library.AsyncLibrary, redis_py.RedisPy, redis_py.RedisPyOrjson, redis_py.RedisAsyncio),
        *(cashews.Cashews, dogpile.Dogpile, django_redis.DjangoRedis, aiocache.Aiocache, glide.Glide),
    ]


def having(feature: str, *, is_async: bool | None = None) -> list[Any]:
    """Those of threads or of asyncio, or both: those of threads first."""
    peers = [peer for peer in all_peers() if is_async in (None, peer.is_async) and hasattr(peer, feature)]
    return sorted(peers, key=lambda peer: peer.is_async)
