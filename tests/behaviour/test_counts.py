"""What is counted besides hits and misses: computes and their time, waits, errors, writes that were lost."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from cache.testing import MovableClock
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.behaviour.services import Threads

USER, JOB, COMPANY = 1234, 5678, 101


def test_a_compute_s_time_is_what_the_caller_s_function_took(service: Any) -> None:
    clock = MovableClock(10.0)
    service.stats.monotonic = clock.now

    def compute(jobs: list[int]) -> Any:
        clock.advance(2.5)
        return {job: {"score": 1} for job in jobs}

    service.match_scores(USER, [JOB, JOB + 1], compute)
    service.get_company_enrichment(COMPANY, lambda: clock.advance(0.25))

    match, company = service.stats.counts("match"), service.stats.counts("company")
    assert (match.computes, match.compute_s) == (2, 2.5)
    assert (company.computes, company.compute_s) == (1, 0.25)


def test_a_function_that_raises_is_an_error_and_no_compute(service: Any) -> None:
    def fail(*_: Any) -> Any:
        raise LookupError("no such job")

    with pytest.raises(LookupError):
        service.match_scores(USER, [JOB], fail)
    with pytest.raises(LookupError):
        service.get_ijp(USER, fail)

    for cache_type in ("match", "ijp"):
        counts = service.stats.counts(cache_type)
        assert (counts.errors, counts.computes) == (1, 0)


def test_asking_counts_nothing(service: Any) -> None:
    assert service.stats.counts("matches").lookups == 0

    assert service.stats.names() == ()


def test_who_waits_for_another_s_compute_is_counted_once(connect: Callable[..., Any], threads: Threads) -> None:
    holder, waiter = connect(), connect()
    has_begun, may_end = threading.Event(), threading.Event()

    def slow(jobs: list[int]) -> dict[int, Any]:
        has_begun.set()
        assert may_end.wait(30)
        return {job: {"score": 1} for job in jobs}

    computing = threads.start(holder.match_scores, USER, [JOB, JOB + 1], slow)
    assert has_begun.wait(30)
    waiting = threads.start(waiter.match_scores, USER, [JOB, JOB + 1], slow)
    until(lambda: waiter.stats.counts("match").waits, timeout_s=30)
    may_end.set()

    assert computing.result() == waiting.result()
    assert (waiter.stats.counts("match").waits, holder.stats.counts("match").waits) == (2, 0)


@pytest.fixture
def servers(place: str, raw: Any, request: pytest.FixtureRequest) -> list[Any]:
    """A plain client of each server that may be asked to store something."""
    return [node.client for node in request.getfixturevalue("shared_cluster").nodes] if place == "cluster" else [raw]


def test_writes_that_the_server_does_not_take_are_counted(service: Any, servers: list[Any]) -> None:
    def allow(sign: str) -> None:
        for server in servers:
            server.execute_command("ACL", "SETUSER", "app", f"{sign}evalsha", f"{sign}eval")

    try:
        service.get_ijp(USER, lambda: allow("-"))
        assert not service.set_match_scores(USER, {JOB: {"score": 1}, JOB + 1: {"score": 2}})
        service.set_company_enrichment(COMPANY, {"name": "Example GmbH"})
        service.start_session(USER, {"name": "Ada"})
    finally:
        allow("+")

    dropped = {name: service.stats.counts(name).dropped_writes for name in ("ijp", "match", "company", "session")}
    assert dropped == {"ijp": 1, "match": 2, "company": 1, "session": 1}
