"""Warming computes what is missing, and reads little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from cache.gate import Operation
from cache.warming import CHUNK_USERS, Warmer, WarmingCounts
from tests.cache.records import scores

if TYPE_CHECKING:
    from cache import CacheService
    from local.valkey import Valkey
    from tests.conftest import ManualClock

HOUR = 3_600
JOBS = list(range(100))
USERS = [1, 2, 3]


@pytest.fixture
def warmer(cache: CacheService) -> Warmer:
    return Warmer(cache.flows)


def compute(wanted: dict[int, list[int]]) -> dict[int, dict[int, dict[str, Any]]]:
    return {user: scores(jobs) for user, jobs in wanted.items()}


def run(cache: CacheService, warmer: Warmer, jobs: list[int] = JOBS) -> WarmingCounts:
    return warmer.run(cache, USERS, jobs, compute)


def test_after_a_run_every_lookup_hits(cache: CacheService, warmer: Warmer) -> None:
    counts = run(cache, warmer)

    assert counts.computed == 300
    assert cache.get_match_scores(2, JOBS) == scores(JOBS)


def test_a_second_run_computes_and_reads_nothing(cache: CacheService, warmer: Warmer) -> None:
    run(cache, warmer)

    counts = run(cache, warmer)

    assert (counts.users_due, counts.users_read, counts.computed) == (0, 0, 0)


def test_a_new_job_is_the_only_one_computed(cache: CacheService, warmer: Warmer) -> None:
    run(cache, warmer)

    counts = run(cache, warmer, [*JOBS[1:], 100])

    assert (counts.users_due, counts.users_read, counts.computed) == (3, 0, 3)
    assert cache.get_match_score(1, 100) == scores([100])[100]


def test_an_updated_job_is_computed_again(cache: CacheService, warmer: Warmer) -> None:
    run(cache, warmer)
    cache.invalidate_job_matches(7)

    assert run(cache, warmer).computed == 3


def test_an_invalidated_user_is_computed_again(cache: CacheService, warmer: Warmer) -> None:
    run(cache, warmer)
    cache.invalidate_user_matches(2)

    counts = run(cache, warmer)

    assert (counts.users_due, counts.computed) == (1, 100)


def test_hourly_runs_leave_no_gap_and_compute_about_once_a_day(
    cache: CacheService, warmer: Warmer, clock: ManualClock
) -> None:
    computed = 0
    for _ in range(24 * 4):
        computed += run(cache, warmer).computed
        clock.advance(HOUR - 1)
        assert len(cache.get_match_scores(1, JOBS)) == 100
        clock.advance(1)

    assert computed <= 5 * 300


def test_another_process_finds_out_what_it_does_not_know(cache: CacheService, warmer: Warmer) -> None:
    run(cache, warmer)

    counts = run(cache, Warmer(cache.flows), JOBS)

    assert (counts.users_due, counts.computed) == (0, 0)


def test_scores_computed_before_an_invalidation_are_refused(cache: CacheService, warmer: Warmer) -> None:
    def compute_while_invalidated(wanted: dict[int, list[int]]) -> dict[int, dict[int, dict[str, Any]]]:
        cache.invalidate_user_matches(2)
        return compute(wanted)

    counts = warmer.run(cache, USERS, JOBS, compute_while_invalidated)

    assert counts.refused == 100
    assert cache.get_match_scores(2, JOBS) == {}


def test_users_whom_the_function_leaves_out_are_due_again(cache: CacheService, warmer: Warmer) -> None:
    warmer.run(cache, USERS, JOBS, lambda wanted: {user: scores(wanted[user]) for user in wanted if user != 2})

    assert run(cache, warmer).computed == 100


def test_a_new_user_is_not_read(cache: CacheService, warmer: Warmer) -> None:
    counts = run(cache, warmer)

    assert (counts.users_due, counts.users_read) == (3, 0)


def test_a_user_of_the_other_layout_is_warmed_like_a_new_one(
    cache: CacheService, warmer: Warmer, server: Valkey
) -> None:
    with redis.Redis(port=server.port) as raw:
        raw.rpush("match:2", "neither a hash nor a string")

    assert run(cache, warmer).computed == 300
    assert cache.get_match_scores(2, JOBS) == scores(JOBS)


def test_a_user_whose_scores_cannot_be_cached_is_skipped(cache: CacheService) -> None:
    skipped: list[int] = []
    warmer = Warmer(cache.flows, skipped=lambda user, _error: skipped.append(user))

    counts = warmer.run(
        cache, USERS, JOBS, lambda wanted: compute(wanted) | {2: {job: {"score": object()} for job in JOBS}}
    )

    assert (skipped, counts.computed) == ([2], 200)
    assert cache.get_match_scores(3, JOBS) == scores(JOBS)


def test_what_compute_raises_ends_the_run(cache: CacheService, warmer: Warmer) -> None:
    asked: list[int] = []

    def raise_later(wanted: dict[int, list[int]]) -> dict[int, dict[int, dict[str, Any]]]:
        asked.extend(wanted)
        if len(asked) > CHUNK_USERS:
            raise LookupError("no such user")
        return compute(wanted)

    with pytest.raises(LookupError):
        warmer.run(cache, range(5 * CHUNK_USERS), JOBS, raise_later)

    assert len(asked) == 2 * CHUNK_USERS


def test_everything_computes_everything(cache: CacheService) -> None:
    warmer = Warmer(cache.flows, everything=True)
    run(cache, warmer)

    assert run(cache, warmer).computed == 300


def test_each_chunk_has_a_deadline_of_its_own(
    cache: CacheService, warmer: Warmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run's chunks take together is far more than one operation may."""
    operations: list[Operation] = []

    class Noted(Operation):
        def __init__(self) -> None:
            super().__init__()
            operations.append(self)

    monkeypatch.setattr("cache.warming.overlap.Operation", Noted)

    warmer.run(cache, range(2 * CHUNK_USERS), JOBS, compute)

    assert len(operations) == 2
