"""What a score takes on the server: fresh, and after a month in which the lists of jobs drift."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import redis

from benchmarks import workloads
from benchmarks.measure import Figure, figure, settle
from benchmarks.peers import having
from benchmarks.peers.library import NAME
from cache import CacheService
from local.valkey import Valkey

_START: Final = 1_767_571_200
_DAY_S: Final = 86_400
_VISITS_PER_DAY: Final = 3
_DRIFT_PER_DAY: Final = 0.10


def memory(*, quick: bool) -> list[Figure]:
    """Bytes of the server's `used_memory` per score that a list view gets."""
    users, drifting, days = (50, 20, 3) if quick else (10_000, 1_000, 30)
    ours, peers = asyncio.run(_fresh(users))
    drifted = _drifted(drifting, days)
    return [
        figure("memory", f"{users * 100:,} scores", "bytes a score", [ours], bound=30, peers=peers),
        figure("memory", f"after {days} days of drift, {drifting:,} users", "bytes a score", [drifted], bound=40),
    ]


async def _fresh(users: int) -> tuple[float, dict[str, float | str]]:
    # A quarter has the same load on the server's hash table: both fill a power of two to 95 %.
    quarter = max(users // 4, 1)
    peers: dict[str, float | str] = {}
    ours = 0.0
    for peer_class in having("warm"):
        number = users if peer_class.name == NAME else quarter
        with Valkey() as server:
            peer = peer_class(server.port)
            await settle(peer.warm({0: workloads.scores(0, workloads.job_list())}))  # the server has been used
            before = _used(server)
            for first in range(1, number + 1, 500):
                some = range(first, min(first + 500, number + 1))
                await settle(peer.warm({user: workloads.scores(user, workloads.job_list()) for user in some}))
            taken = (_used(server) - before) / (number * workloads.JOBS_PER_USER)
            await settle(peer.close())
        if peer_class.name == NAME:
            ours = taken
        else:
            peers[peer_class.name] = taken
    return ours, peers


class _Clock:
    """The library's clock, moved together with the server's."""

    def __init__(self, server: Valkey) -> None:
        self._server = server
        self.move(_START)

    def now(self) -> float:
        return self._now

    def move(self, epoch_s: int) -> None:
        self._now = epoch_s
        self._server.set_time(epoch_s)


def _drifted(users: int, days: int) -> float:
    """Every user looks at the list three times a day; a tenth of its jobs is new each day."""
    with Valkey(movable_clock=True, start_time=_START) as server:
        clock = _Clock(server)
        service = CacheService.from_url(server.url, clock=clock)
        jobs = workloads.job_list()
        service.match_scores(users, jobs, partial(workloads.scores, users))  # the server has been used
        before = _used(server)
        for visit in range(days * _VISITS_PER_DAY):
            clock.move(_START + visit * _DAY_S // _VISITS_PER_DAY)
            new_jobs = round(visit * workloads.JOBS_PER_USER * _DRIFT_PER_DAY / _VISITS_PER_DAY)
            jobs = workloads.job_list(100_000 + new_jobs)
            for user in range(users):
                found = service.match_scores(user, jobs, partial(workloads.scores, user))
                assert len(found) == len(jobs)
        taken = _used(server) - before
        service.close()
    return taken / (users * workloads.JOBS_PER_USER)


def _used(server: Valkey) -> int:
    with redis.Redis(port=server.port) as client:
        client.memory_purge()
        return int(client.info("memory")["used_memory"])
