"""Services that leave a changed job to the TTL of its scores: all else holds as for the others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cache import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

USER, OTHER_USER = 1234, 77
JOB = 5678
MANY_JOBS = range(100, 200)


@pytest.fixture
def relaxed(connect: Callable[..., Any]) -> Callable[[], Any]:
    return partial(connect, job_invalidation="ttl")


def scores(jobs: Any) -> dict[int, dict[str, int]]:
    return {job: {"score": job} for job in jobs}


@pytest.mark.parametrize("jobs", [[JOB], list(MANY_JOBS)], ids=["one", "many"])
def test_what_one_computes_the_others_read(relaxed: Callable[[], Any], raw: redis.Redis, jobs: list[int]) -> None:
    one, other = relaxed(), relaxed()

    assert one.match_scores(USER, jobs, scores) == scores(jobs)

    assert other.get_match_scores(USER, jobs) == scores(jobs)
    assert raw.hlen(keys.JOB_GENERATIONS) == 1  # a list asks for one generation, whatever its length


def test_a_user_s_invalidation_holds_whoever_writes_late(relaxed: Callable[[], Any]) -> None:
    one, other = relaxed(), relaxed()
    one.set_match_scores(OTHER_USER, scores(MANY_JOBS))
    fence = one.fence(USER, MANY_JOBS)

    def compute(missing: list[int]) -> dict[int, dict[str, int]]:
        assert other.invalidate_user_matches(USER)
        return scores(missing)

    one.match_scores(USER, [JOB], compute)
    one.set_match_scores(USER, scores(MANY_JOBS), fence=fence)

    assert other.get_match_scores(USER, [JOB, *MANY_JOBS]) == {}
    assert other.get_match_scores(OTHER_USER, MANY_JOBS) == scores(MANY_JOBS)


def test_all_scores_go_with_the_generations(relaxed: Callable[[], Any], raw: redis.Redis) -> None:
    """As where more invalidations are pending than are kept one by one."""
    service = relaxed()
    service.set_match_scores(USER, scores(MANY_JOBS))

    raw.delete(keys.JOB_GENERATIONS)

    assert service.get_match_scores(USER, MANY_JOBS) == {}
    assert service.match_scores(USER, MANY_JOBS, scores) == scores(MANY_JOBS)
    assert service.get_match_scores(USER, MANY_JOBS) == scores(MANY_JOBS)


def test_a_job_is_not_invalidated_in_vain(relaxed: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError, match="leaves the scores of a changed job to their TTL"):
        relaxed().invalidate_job_matches(JOB)


def test_services_that_do_not_agree_miss_and_read_nothing_stale(
    connect: Callable[..., Any], relaxed: Callable[[], Any]
) -> None:
    exact, other = connect(), relaxed()
    other.set_match_score(USER, JOB, {"score": 1})

    assert exact.get_match_score(USER, JOB) is None
    exact.set_match_score(USER, JOB, {"score": 2})
    assert exact.invalidate_job_matches(JOB)
    assert exact.get_match_score(USER, JOB) is None
    assert other.get_match_score(USER, JOB) is None
