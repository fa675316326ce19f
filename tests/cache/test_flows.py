"""Flows step by step: what others do between two round trips."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from cache import codec, keys
from cache.commands import Unavailable
from cache.gate import Operation
from tests.cache.records import RECORD

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from cache import CacheService
    from cache.commands import Flow


def begin(cache: CacheService, flow: Flow[Any]) -> Any:
    """Carries out the first step; the answer to it."""
    return cache.act(next(flow), computes_nothing, Operation())


def finish(cache: CacheService, flow: Flow[Any], answer: Any) -> Any:
    """Carries out the rest; the flow's result."""
    operation = Operation()
    try:
        while True:
            answer = cache.act(flow.send(answer), computes_nothing, operation)
    except StopIteration as end:
        return end.value


def computes_nothing(*_: object) -> Any:
    raise AssertionError("it is there already")


@pytest.mark.parametrize("jobs", [[1], [1, 2], list(range(100))], ids=len)
def test_what_another_caller_stored_after_the_first_read_is_taken(cache: CacheService, jobs: list[int]) -> None:
    stored = dict.fromkeys(jobs, RECORD)
    flow = cache.flows.match_scores(7, jobs)
    missed = begin(cache, flow)
    cache.match_scores(7, jobs, lambda _: stored)

    assert finish(cache, flow, missed) == stored
    assert cache.stats.counts("match").computes == len(jobs)


WRITES: dict[str, tuple[str, Callable[[CacheService, str], Flow[bool]]]] = {
    "session": (keys.session(7), lambda cache, value: cache.flows.start_session(7, value)),
    "company": (keys.company(7), lambda cache, value: cache.flows.set_value("company", keys.company(7), value, 60)),
    "ijp": (keys.ijp(7), lambda cache, value: cache.flows.update_ijp(7, value)),
}


@pytest.mark.parametrize("round_trip", [1, 2])
@pytest.mark.parametrize("newer", ["write", "invalidation"])
@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_arrives_late_stores_nothing(
    cache: CacheService, client: redis.Redis, name: str, newer: str, round_trip: int
) -> None:
    """Its caller's time was over, and the server gets it behind what another one has written since."""
    key, write = WRITES[name]
    flow = write(cache, "old")
    step = next(flow)
    for _ in range(round_trip - 1):
        step = flow.send(cache.act(step, computes_nothing, Operation()))
    assert cache.run(write(cache, "new") if newer == "write" else cache.flows.invalidate(key))

    cache.act(step, computes_nothing, Operation())

    give_up(flow)
    assert codec.encode("old")[1:] not in (client.get(key) or b"")


@pytest.mark.parametrize(("name", "is_kept"), [("session", True), ("company", False), ("ijp", False)])
def test_a_write_that_ends_half_way_leaves_nothing_old(
    cache: CacheService, client: redis.Redis, name: str, is_kept: bool
) -> None:
    """Except a session: its user is logged in as before, and would be sent to the login meanwhile."""
    key, write = WRITES[name]
    assert cache.run(write(cache, "old"))
    flow = write(cache, "new")

    begun = begin(cache, flow)

    assert client.exists(key) == is_kept
    assert finish(cache, flow, begun)
    assert codec.encode("new")[1:] in (client.get(key) or b"")


@pytest.mark.parametrize("was_there", [True, False])
@pytest.mark.parametrize("order", ["aabb", "abab", "abba", "bbaa", "baba", "baab"])
@pytest.mark.parametrize("name", WRITES)
def test_of_two_writes_at_a_time_the_one_that_began_last_is_kept(
    cache: CacheService, client: redis.Redis, name: str, order: str, was_there: bool
) -> None:
    """As of a user who logs in twice at once: `order` is that of the first and second round trips of both."""
    key, write = WRITES[name]
    if was_there:
        assert cache.run(write(cache, "old"))
    writes = {value: write(cache, value) for value in "ab"}
    begun: dict[str, Any] = {}

    for value in order:
        if value in begun:
            assert finish(cache, writes[value], begun[value])
        else:
            begun[value] = begin(cache, writes[value])

    assert codec.encode(list(begun)[-1])[1:] in (client.get(key) or b"")


@pytest.mark.parametrize("name", WRITES)
def test_an_overtaken_write_leaves_nothing_old_though_the_other_never_ends(
    cache: CacheService, client: redis.Redis, name: str
) -> None:
    key, write = WRITES[name]
    assert cache.run(write(cache, "old"))
    overtaken, other = write(cache, "new"), write(cache, "newer")
    begun = begin(cache, overtaken)
    begin(cache, other)

    assert finish(cache, overtaken, begun)

    assert not client.exists(key)
    give_up(other)


def give_up(flow: Flow[Any]) -> None:
    with contextlib.suppress(StopIteration):
        while True:
            flow.send(Unavailable("TimeoutError"))
