"""Flows step by step: what others do between two round trips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cache.gate import Operation
from tests.cache.records import RECORD

if TYPE_CHECKING:
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
