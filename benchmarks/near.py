"""The near cache: a hit in the process's own memory, and how soon another client's change is seen."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from glide_sync import ClientSideCache

from benchmarks import workloads
from benchmarks.measure import Figure, figure, interleaved, interleaved_async
from benchmarks.peers.cashews import Cashews
from benchmarks.peers.glide import Glide
from benchmarks.peers.library import NAME
from cache import CacheService
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable

USER: Final = 1
# One hit is short beside the reading of a clock.
_AT_ONCE: Final = 100


def near(*, quick: bool) -> list[Figure]:
    """Hits of one score; then a score that another client forgets, looked at again and again."""
    rounds, calls_per_round = (5, 5) if quick else (40, 50)
    with Valkey() as server:
        hits, peers = _hits(server.port, rounds, calls_per_round)
        seen_ms = [_seen_after_ms(server.url, user) for user in range(5 if quick else 100)]
    return [
        figure("near", "hit", "µs", hits, bound=3, peers=peers),
        figure("near", "another client's change seen after", "ms", seen_ms, bound=2),
    ]


def _hits(port: int, rounds: int, calls_per_round: int) -> tuple[list[float], dict[str, float | str]]:
    job, *_ = jobs = workloads.job_list()
    score = workloads.score(USER, job)
    glide = Glide(
        port, client_side_cache=ClientSideCache.create(max_cache_kb=1024, entry_ttl_ms=60_000, server_assisted=True)
    )
    glide.set_many(USER, {job: score})
    with closing(CacheService.from_url(f"redis://127.0.0.1:{port}", near=["match"])) as service, closing(glide):
        service.set_match_scores(USER + 1, workloads.scores(USER + 1, jobs))
        calls: dict[str, Callable[[], Any]] = {
            NAME: partial(_many, partial(service.get_match_score, USER + 1, job)),
            Glide.name: partial(_many, partial(glide.get, USER, job)),
        }
        # A near cache begins when its connection stands; what is not near yet is no hit of it.
        _until(lambda: bool(service.get_match_score(USER + 1, job)) and service.stats.counts("match").near_hits > 0)
        before = service.stats.counts("match")
        medians = interleaved(calls, rounds=rounds, calls_per_round=calls_per_round)
        after = service.stats.counts("match")
        # The rounds last longer than an entry, so that now and then a hit is not a near one.
        assert after.near_hits - before.near_hits > 0.99 * (after.hits - before.hits)
    per_hit = {name: [each / _AT_ONCE for each in by_round] for name, by_round in medians.items()}
    peers: dict[str, float | str] = {Glide.name: median(per_hit[Glide.name])}
    # Without protocol=2 redis-py 8 speaks RESP3, in which cashews hears of no change.
    peers[f"{Cashews.name} (asyncio)"] = asyncio.run(_cashews(port, rounds, calls_per_round))
    return per_hit[NAME], peers


async def _cashews(port: int, rounds: int, calls_per_round: int) -> float:
    cashews = Cashews(port, client_side=True, protocol=2)
    await cashews.set_many(USER + 2, workloads.scores(USER + 2, [1]))
    await cashews.get(USER + 2, 1)

    async def many() -> None:
        for _ in range(_AT_ONCE):
            await cashews.get(USER + 2, 1)

    medians = await interleaved_async({"hit": many}, rounds=rounds, calls_per_round=calls_per_round)
    await cashews.close()
    return median(medians["hit"]) / _AT_ONCE


def _many(call: Callable[[], Any]) -> None:
    for _ in range(_AT_ONCE):
        call()


def _seen_after_ms(url: str, user: int) -> float:
    """From before the other client's command to the first answer that knows of it."""
    with (
        closing(CacheService.from_url(url, near=["match"])) as reader,
        closing(CacheService.from_url(url)) as writer,
    ):
        writer.set_match_scores(user, workloads.scores(user, [1]))
        _until(lambda: bool(reader.get_match_score(user, 1)) and reader.stats.counts("match").near_hits > 0)
        began = time.monotonic()
        writer.invalidate_user_matches(user)
        # The thread that listens needs the interpreter's lock: a page that waits for something gives it away, too.
        _until(lambda: reader.get_match_score(user, 1) is None)
        return (time.monotonic() - began) * 1000


def _until(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 10
    while not is_so():
        if time.monotonic() > give_up_at:
            raise TimeoutError("the near cache did not come to know of it within 10 s")
        time.sleep(0.0001)
