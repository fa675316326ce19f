"""What a hit costs: one score, a list view of 100, and 50 at once in asyncio."""

from __future__ import annotations

import asyncio
from contextlib import closing
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import redis

from benchmarks import workloads
from benchmarks.measure import Figure, added, figure, interleaved, interleaved_async, one_processor, ratios
from benchmarks.peers import having
from benchmarks.peers.library import NAME, AsyncLibrary
from benchmarks.peers.redis_py import RedisAsyncio, RedisPy
from cache import CacheService
from cache.codec import PACKED_BYTES
from cache.pool import Pool
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable

BARE: Final = "a bare connection"
BY_TTL: Final = "jobs left to their TTL"
IN_FLIGHT: Final = 50
JOBS: Final = 10_000


def one_hit(*, quick: bool) -> list[Figure]:
    """One score, and one company, beside a plain GET on a connection of redis-py's without its client around it."""
    rounds, calls_per_round = (5, 50) if quick else (60, 200)
    jobs = workloads.job_list()
    with Valkey() as server, _Peers(server.port, "get", jobs) as peers, redis.Redis(port=server.port) as client:
        client.set("plain", b"x" * PACKED_BYTES)
        connect: Any = redis.Connection  # untyped
        connection = connect(port=server.port)
        connection.connect()
        get = connection.pack_command("GET", "plain")

        def bare() -> None:
            connection.send_packed_command(get, check_health=False)
            connection.read_response()

        service = peers[NAME].service
        _install_jobs(service)
        service.set_company_enrichment(101, workloads.score(101, 1))
        calls: dict[str, Callable[[], Any]] = {BARE: bare}
        calls |= {name: partial(peer.get, peers.user(name), jobs[50]) for name, peer in peers.items()}
        calls["company"] = partial(service.get_company_enrichment, 101, dict)
        pool = Pool(partial(connect, port=server.port), 1, lambda: True)
        calls["pool"] = lambda: pool.give(pool.take(1))
        with one_processor(server.port):
            medians = interleaved(calls, rounds=rounds, calls_per_round=calls_per_round)
        connection.disconnect()
        pool.clear()
    others = {name: median(added(medians, name, BARE)) for name in peers if name != NAME}
    figures = []
    for what, name, beside in (("one score", NAME, others), ("one company", "company", {})):
        through_pool = added(medians, name, BARE)
        held = [mine - pools for mine, pools in zip(through_pool, medians["pool"], strict=True)]
        figures += [
            figure("one_hit", what, "µs added", through_pool, bound=15, peers=beside),
            figure("one_hit", f"{what}, without the pool's share", "µs added", held, bound=8),
        ]
    return figures


def batch(*, quick: bool) -> list[Figure]:
    """A list view of 100 scores, as a ratio to MGET + json.loads of the same kind of client."""
    rounds, calls_per_round = (5, 20) if quick else (40, 50)
    jobs = workloads.job_list()
    with Valkey() as server, _Peers(server.port, "get_many", jobs) as peers:
        _install_jobs(peers[NAME].service)
        calls = {name: partial(peer.get_many, peers.user(name), jobs) for name, peer in peers.items()}
        url = f"redis://127.0.0.1:{server.port}"
        with closing(CacheService.from_url(url, job_invalidation="ttl")) as by_ttl, one_processor(server.port):
            by_ttl.set_match_scores(len(peers), workloads.scores(len(peers), jobs))
            calls[BY_TTL] = partial(by_ttl.get_match_scores, len(peers), jobs)
            medians = interleaved(calls, rounds=rounds, calls_per_round=calls_per_round)
    exactness = [1 - ratio for ratio in ratios(medians, BY_TTL, NAME)]
    others = {name: median(ratios(medians, name, RedisPy.name)) for name in peers if name not in (NAME, RedisPy.name)}
    return [
        figure(
            "batch", "100 scores", "× MGET + json.loads", ratios(medians, NAME, RedisPy.name), bound=0.45, peers=others
        ),
        figure("batch", "of it, for exact invalidation of jobs", "share", exactness),
    ]


def in_flight(*, quick: bool) -> list[Figure]:
    """50 tasks that each read one score, as a ratio to the same 50 on redis.asyncio with json."""
    rounds, calls_per_round = (5, 5) if quick else (40, 20)
    return asyncio.run(_in_flight(rounds, calls_per_round))


async def _in_flight(rounds: int, calls_per_round: int) -> list[Figure]:
    jobs = workloads.job_list()
    with Valkey() as server:
        peers = {peer.name: peer(server.port) for peer in having("get", is_async=True)}

        def crowd(peer: Any, user: int) -> Callable[[], Any]:
            async def fifty() -> None:
                await asyncio.gather(*[peer.get(user, job) for job in jobs[:IN_FLIGHT]])

            return fifty

        calls = {}
        for user, peer in enumerate(peers.values()):
            await peer.set_many(user, workloads.scores(user, jobs))
            calls[peer.name] = crowd(peer, user)
        with one_processor(server.port):
            medians = await interleaved_async(calls, rounds=rounds, calls_per_round=calls_per_round)
        for peer in peers.values():
            await peer.close()
    ours, base = AsyncLibrary.name, RedisAsyncio.name
    others = {name: median(ratios(medians, name, base)) for name in peers if name not in (ours, base)}
    return [
        figure(
            "in_flight", "50 hits in flight", "× redis.asyncio", ratios(medians, ours, base), bound=0.9, peers=others
        )
    ]


def _install_jobs(service: CacheService) -> None:
    """As many jobs with a generation as RoleFerry has: the server keeps few of them in another way, which is slower."""
    for first in range(0, JOBS, 1000):
        service.fence(0, range(first, first + 1000))


class _Peers(dict[str, Any]):
    """The threaded peers that have a feature, by name, each with the scores of a user of its own; closed at the end."""

    def __init__(self, port: int, feature: str, jobs: list[int]) -> None:
        super().__init__({peer.name: peer(port) for peer in having(feature, is_async=False)})
        for name, peer in self.items():
            peer.set_many(self.user(name), workloads.scores(self.user(name), jobs))

    def user(self, name: str) -> int:
        """Each peer encodes in its own way, so each has its own keys."""
        return list(self).index(name)

    def __enter__(self) -> _Peers:
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self.values():
            peer.close()
