"""Forgetting a user's 100 scores, and a job's, among a million: for the caller, and for another client meanwhile."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks import workloads
from benchmarks.measure import Figure, figure, settle
from benchmarks.peers import having
from benchmarks.peers.library import NAME
from benchmarks.probe import Probe
from benchmarks.warming import RawSets
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterable

# A peer that looks through all keys takes seconds for each: once is enough to see it.
_SLOW_S: Final = 0.5


def invalidate(*, quick: bool) -> list[Figure]:
    """`users` x 100 scores; each job has a score of every user."""
    return asyncio.run(_invalidate(users=100, rounds=5) if quick else _invalidate(users=10_000, rounds=30))


async def _invalidate(users: int, rounds: int) -> list[Figure]:
    figures: list[Figure] = []
    for what, feature in (
        ("a user's 100 scores", "invalidate_user"),
        (f"a job's {users:,} scores", "invalidate_job"),
    ):
        callers: dict[str, list[float]] = {}
        waits: dict[str, list[float]] = {}
        for peer_class in having(feature):
            callers[peer_class.name], waits[peer_class.name] = await _one(peer_class, feature, users, rounds)
        for kind, by_peer, bound in (("caller", callers, 0.6), ("longest wait of another client", waits, 0.5)):
            others = {name: median(each) for name, each in by_peer.items() if name != NAME}
            figures.append(figure("invalidate", f"{what}: {kind}", "ms", by_peer[NAME], bound=bound, peers=others))
    return figures


async def _one(peer_class: Any, feature: str, users: int, rounds: int) -> tuple[list[float], list[float]]:
    """(ms of the caller, longest wait in ms of another client), round by round."""
    jobs = workloads.job_list()
    subjects: Iterable[int] = range(1, rounds + 1) if feature == "invalidate_user" else jobs[:rounds]
    caller_ms, wait_ms = [], []
    with Valkey() as server:
        peer = peer_class(server.port)
        own = users
        if peer_class.name != NAME:  # strings are strings: most of them are stored faster than peers can
            own = min(rounds, users)
            raw = RawSets(server.port)
            raw.store(iter(range(own + 1, users + 1)), (users - own) * len(jobs), depth=500)
            raw.close()
        for first in range(1, own + 1, 500):
            some = range(first, min(first + 500, own + 1))
            await settle(peer.warm({user: workloads.scores(user, jobs) for user in some}))
        with Probe(server.port) as probe:
            for subject in subjects:
                began = time.monotonic()
                await settle(getattr(peer, feature)(subject))
                ended = time.monotonic()
                caller_ms.append((ended - began) * 1000)
                wait_ms.append(probe.longest_wait_ms(began, ended))
                if ended - began > _SLOW_S:
                    break
        await settle(peer.close())
    return caller_ms, wait_ms
