"""Entries expire at their second, on a clock that the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cache.catalog import SESSION_MAX_LIFETIME_S
from tests.cache.records import scores

if TYPE_CHECKING:
    import redis

    from cache import CacheService
    from tests.conftest import ManualClock

DAY = 86_400


def test_a_score_lives_for_exactly_its_ttl(cache: CacheService, clock: ManualClock) -> None:
    cache.match_scores(1, [1], scores)
    clock.advance(DAY // 2)
    cache.match_scores(1, [2], scores)  # renews the TTL of the user's hash, not of the other score
    clock.advance(DAY // 2 - 1)
    assert set(cache.get_match_scores(1, [1, 2])) == {1, 2}

    clock.advance(1)

    assert set(cache.get_match_scores(1, [1, 2])) == {2}


@pytest.mark.parametrize("cache", ["hash"], indirect=True)
def test_a_large_write_drops_the_only_score_that_has_expired(
    cache: CacheService, clock: ManualClock, client: redis.Redis
) -> None:
    cache.match_scores(1, [1], scores)
    clock.advance(DAY // 2)
    cache.match_scores(1, [2], scores)
    clock.advance(DAY // 2)

    cache.match_scores(1, list(range(2, 50)), scores)

    assert set(client.hkeys("match:1")) == {b"g", *(b"%d" % job for job in range(2, 50))}


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
