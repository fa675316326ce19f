"""What the library promises, on a real server, in both layouts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import redis

from cache import CATALOG, CacheService, UncacheableError
from cache.catalog import SESSION_MAX_LIFETIME_S
from tests.cache.test_codec import RECORD

if TYPE_CHECKING:
    from tests.conftest import ManualClock

DAY = 86_400


def scores(jobs: list[int]) -> dict[int, dict[str, Any]]:
    return {job: RECORD | {"score": job % 100 + 0.25} for job in jobs}


def test_a_batch_computes_only_what_is_missing(cache: CacheService) -> None:
    asked: list[list[int]] = []

    def compute(jobs: list[int]) -> dict[int, dict[str, Any]]:
        asked.append(jobs)
        return scores(jobs)

    cache.match_scores(1, range(100), compute)
    found = cache.match_scores(1, range(50, 150), compute)

    assert asked == [list(range(100)), list(range(100, 150))]
    assert found == scores(list(range(50, 150)))


@pytest.mark.parametrize("jobs", [3, 100])
def test_get_then_compute_then_set(cache: CacheService, jobs: int) -> None:
    ids = list(range(jobs))

    assert cache.get_match_scores(1, ids) == {}
    assert cache.set_match_scores(1, scores(ids))

    assert cache.get_match_scores(1, ids) == scores(ids)
    assert cache.get_match_score(1, 2) == scores([2])[2]
    assert cache.get_match_score(1, 500) is None


def test_a_score_lives_for_exactly_its_ttl(cache: CacheService, clock: ManualClock) -> None:
    cache.match_scores(1, [1], scores)
    clock.advance(DAY // 2)
    cache.match_scores(1, [2], scores)  # renews the TTL of the user's hash, not of the other score
    clock.advance(DAY // 2 - 1)
    assert set(cache.get_match_scores(1, [1, 2])) == {1, 2}

    clock.advance(1)

    assert set(cache.get_match_scores(1, [1, 2])) == {2}


def test_other_users_and_jobs_stay_when_one_is_invalidated(cache: CacheService) -> None:
    for user in (1, 2):
        cache.match_scores(user, [1, 2], scores)

    assert cache.invalidate_user_matches(1)
    assert cache.invalidate_job_matches(2)

    assert cache.get_match_scores(1, [1, 2]) == {}
    assert set(cache.get_match_scores(2, [1, 2])) == {1}


def invalidations(cache: CacheService) -> dict[str, Any]:
    return {
        "user": lambda: cache.invalidate_user_matches(1),
        "job": lambda: cache.invalidate_job_matches(1),
        "preferences": lambda: cache.update_ijp(1, {"remote": True}),
    }


@pytest.mark.parametrize("event", ["user", "job", "preferences"])
@pytest.mark.parametrize("was_cached", [False, True])
def test_a_score_computed_before_an_invalidation_is_never_served(
    cache: CacheService, event: str, was_cached: bool
) -> None:
    if was_cached:
        cache.match_scores(1, [2], scores)

    def compute_while_invalidated(jobs: list[int]) -> dict[int, dict[str, Any]]:
        assert invalidations(cache)[event]()
        return scores(jobs)

    cache.match_scores(1, [1], compute_while_invalidated)

    assert cache.get_match_score(1, 1) is None


@pytest.mark.parametrize("event", ["user", "job", "preferences"])
def test_a_plain_set_after_an_invalidation_is_never_served(cache: CacheService, event: str) -> None:
    assert cache.get_match_score(1, 1) is None
    assert invalidations(cache)[event]()

    cache.set_match_score(1, 1, RECORD)

    assert cache.get_match_score(1, 1) is None


@pytest.mark.parametrize("loss", ["everything", "user", "jobs"])
def test_a_lost_generation_is_a_miss(cache: CacheService, client: redis.Redis, loss: str) -> None:
    assert cache.get_match_score(1, 1) is None
    if loss == "everything":
        client.flushall()
    else:
        client.delete("match:1" if loss == "user" else "job:generations")

    cache.set_match_score(1, 1, RECORD)

    assert cache.get_match_score(1, 1) is None


def test_the_server_counts_what_the_library_declares(cache: CacheService, client: redis.Redis) -> None:
    cache.match_scores(1, range(100), scores)
    cache.match_scores(1, range(3), scores)
    cache.match_scores(1, range(90, 110), scores)
    cache.set_match_score(2, 1, RECORD)
    cache.get_company_enrichment(1, lambda: {"name": "A"})
    cache.get_company_enrichment(1, lambda: {"name": "A"})
    cache.get_session(1)
    cache.start_session(1, {})
    cache.get_session(1)
    cache.update_ijp(1, {})
    cache.get_ijp(1, dict)

    stats: Any = client.info("stats")
    counted = stats["keyspace_hits"] + stats["keyspace_misses"]
    lookups = sum(cache.stats.counts(name).lookups for name in CATALOG.names())
    assert counted == cache.stats.data_reads + cache.stats.bookkeeping_reads
    assert lookups == 128
    assert cache.stats.counts("match").hits == 13


def test_one_compute_however_many_threads_ask(cache: CacheService) -> None:
    together = threading.Barrier(8)
    computes: list[int] = []
    results: list[Any] = []

    def calculate() -> dict[str, int]:
        computes.append(1)
        return {"n": 1}

    def ask() -> None:
        together.wait()
        results.append(cache.get_with_lock("report:1", calculate, 60))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [{"n": 1}] * 8
    assert len(computes) == 1


def test_a_fetch_that_an_invalidation_overtook_is_not_stored(cache: CacheService) -> None:
    def fetch() -> dict[str, str]:
        assert cache.invalidate_company(1)
        return {"name": "old"}

    assert cache.get_company_enrichment(1, fetch) == {"name": "old"}

    assert cache.get_company_enrichment(1, lambda: {"name": "new"}) == {"name": "new"}
    assert cache.stats.counts("company").refused_writes == 1


def test_a_load_that_an_update_overtook_is_not_stored(cache: CacheService) -> None:
    def load() -> dict[str, str]:
        assert cache.update_ijp(1, {"title": "new"})
        return {"title": "old"}

    cache.get_ijp(1, load)

    assert cache.get_ijp(1, lambda: {"title": "loaded"}) == {"title": "new"}


def test_a_lease_that_is_another_s_is_not_released(cache: CacheService, client: redis.Redis) -> None:
    def calculate() -> None:
        client.set("lock:{report:1}", "another", px=10_000)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.get_with_lock("report:1", calculate, 60)

    assert client.get("lock:{report:1}") == b"another"


def test_a_compute_that_raises_gives_the_lease_back(cache: CacheService, client: redis.Redis) -> None:
    with pytest.raises(ZeroDivisionError):
        cache.get_with_lock("report:1", lambda: 1 // 0, 60)

    assert not client.exists("lock:{report:1}")


@pytest.mark.parametrize("value", [None, 0, "", {}, [], False])
def test_a_falsy_value_is_a_hit(cache: CacheService, value: Any) -> None:
    cache.get_with_lock("report:1", lambda: value, 60)

    assert cache.get_with_lock("report:1", lambda: "computed again", 60) == value


def test_a_session_slides_but_not_for_ever(cache: CacheService, clock: ManualClock) -> None:
    cache.start_session(1, {"token": "t"})
    for _ in range(SESSION_MAX_LIFETIME_S // 800 - 1):
        clock.advance(800)
        assert cache.get_session(1) == {"token": "t"}
    clock.advance(800)

    assert cache.get_session(1) is None


def test_a_session_ends_after_its_ttl_or_at_logout(cache: CacheService, clock: ManualClock) -> None:
    cache.start_session(1, {})
    clock.advance(901)
    assert cache.get_session(1) is None

    cache.start_session(1, {})
    assert cache.end_session(1)
    assert cache.get_session(1) is None


def test_without_a_server_lookups_miss_and_nothing_raises() -> None:
    cache = CacheService.from_url("redis://127.0.0.1:1")

    assert cache.match_scores(1, [1, 2], scores) == scores([1, 2])
    assert cache.get_match_score(1, 1) is None
    assert cache.get_company_enrichment(1, lambda: {"name": "A"}) == {"name": "A"}
    assert cache.get_session(1) is None
    assert not cache.set_match_score(1, 1, RECORD)
    assert not cache.invalidate_user_matches(1)
    assert cache.stats.counts("match").misses["unavailable"] == 3


def test_wrong_use_is_refused(cache: CacheService) -> None:
    with pytest.raises(ValueError, match="decode_responses"):
        CacheService(redis.Redis(decode_responses=True))
    with pytest.raises(ValueError, match=r"layout 'table' is unknown\. Known: hash, keys"):
        CacheService(redis.Redis(), layout="table")
    with pytest.raises(ValueError, match="ttl is 0"):
        cache.get_with_lock("report:1", dict, 0)
    with pytest.raises(UncacheableError):
        cache.set_match_score(1, 1, [1])  # type: ignore[arg-type]
