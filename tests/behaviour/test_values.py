"""Single values: companies, preferences, sessions, and a caller's own keys."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import cache
from cache import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from tests.behaviour.services import Threads

USER, COMPANY = 1234, 101
COMPANY_KEY = f"company:{COMPANY}:enrichment"


def never() -> Any:
    raise AssertionError("computed although the value is cached")


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, {"a": [1.5, "ü"]}, 2**70], ids=repr)
def test_a_value_is_computed_once_and_comes_out_as_it_went_in(service: Any, value: Any) -> None:
    assert service.get_with_lock("report:7", lambda: value, 60) == value

    cached = service.get_with_lock("report:7", never, 60)

    assert (cached, type(cached)) == (value, type(value))


def test_a_negative_result_is_kept_for_as_long_as_asked(service: Any, raw: redis.Redis) -> None:
    service.get_company_enrichment(COMPANY, lambda: None, none_ttl=60)
    assert 0 < raw.ttl(COMPANY_KEY) <= 60

    assert service.get_company_enrichment(COMPANY, never) is None
    service.get_ijp(USER, lambda: None, none_ttl=0)
    assert not raw.exists(f"ijp:{USER}", "lock:{ijp:1234}")
    with pytest.raises(ValueError, match="none_ttl is -1"):
        service.get_ijp(USER, never, none_ttl=-1)


@pytest.mark.parametrize("ttl", [0, -1, 1.5, True, 10**18], ids=repr)
def test_a_ttl_that_a_server_would_refuse_is_refused_at_once(service: Any, ttl: Any) -> None:
    with pytest.raises(ValueError, match=f"ttl is {ttl}; it must be a whole number of seconds from 1 to 315360000"):
        service.get_with_lock("report:7", never, ttl)


def test_jitter_only_shortens(connect: Callable[..., Any], raw: redis.Redis) -> None:
    service = connect(jitter=lambda: 1.0)
    service.get_with_lock("report:7", lambda: 1, 1000)

    assert 940 <= raw.ttl("report:7") <= 950


@pytest.mark.parametrize("write", ["set_company_enrichment", "invalidate_company"])
def test_a_fetch_in_flight_does_not_undo_a_write(connect: Callable[..., Any], write: str) -> None:
    one, other = connect(), connect()

    def fetch() -> Any:
        assert other.set_company_enrichment(COMPANY, "new") if write[0] == "s" else other.invalidate_company(COMPANY)
        return "old"

    assert one.get_company_enrichment(COMPANY, fetch) == "old"

    assert one.get_company_enrichment(COMPANY, lambda: "new") == "new"
    assert other.get_company_enrichment(COMPANY, never) == "new"
    assert one.stats.counts("company").refused_writes == 1


def test_an_update_forgets_the_user_s_scores_and_a_load_in_flight(connect: Callable[..., Any]) -> None:
    one, other = connect(), connect()
    one.set_match_score(USER, 5678, {"score": 1})

    def load() -> Any:
        assert other.update_ijp(USER, "new")
        return "old"

    assert one.get_ijp(USER, load) == "old"

    assert one.get_ijp(USER, never) == "new"
    assert one.get_match_score(USER, 5678) is None


def test_of_two_updates_at_once_none_leaves_what_the_database_has_not(
    connect: Callable[..., Any], threads: Threads
) -> None:
    """The first to start saves last: the second's value must not stay in the cache."""
    one, other = connect(), connect()
    database = []
    first_is_saving, second_is_done = threading.Event(), threading.Event()

    def save_late() -> None:
        first_is_saving.set()
        second_is_done.wait(20)
        database.append("first")

    first = threads.start(lambda: one.update_ijp(USER, "first", save=save_late))
    assert first_is_saving.wait(10)
    assert other.update_ijp(USER, "second", save=lambda: database.append("second"))
    second_is_done.set()

    assert first.result()
    assert one.get_ijp(USER, lambda: database[-1]) == "first"


def test_a_lease_that_something_foreign_replaces_refuses_the_write(service: Any, raw: redis.Redis) -> None:
    lease = keys.lease(keys.ijp(USER))

    def save() -> None:
        raw.delete(lease)
        raw.rpush(lease, "foreign")

    assert service.update_ijp(USER, "new", save=save)

    assert not raw.exists(lease)
    assert service.get_ijp(USER, lambda: "loaded") == "loaded"


def test_a_save_that_fails_leaves_nothing_and_reaches_its_caller(service: Any, raw: redis.Redis) -> None:
    service.update_ijp(USER, "old")

    with pytest.raises(ZeroDivisionError):
        service.update_ijp(USER, "new", save=lambda: 1 // 0)

    assert not raw.exists(f"ijp:{USER}", "lock:{ijp:1234}")
    assert service.get_ijp(USER, lambda: "old") == "old"


@pytest.mark.parametrize(("shell", "layout", "place"), [("sync", "hash", "standalone")])
def test_an_async_function_is_refused_before_anything_is_taken_for_saved(service: Any) -> None:
    async def save() -> None: ...

    with pytest.raises(TypeError, match=r"save.* is async; CacheService takes plain functions"):
        service.update_ijp(USER, "new", save=save)

    assert service.get_ijp(USER, lambda: "old") == "old"


@pytest.mark.parametrize("place", ["standalone"])
@pytest.mark.usefixtures("raw")
def test_a_plain_function_is_refused_by_the_async_service(app_url: str) -> None:
    async def use() -> None:
        service = cache.AsyncCacheService.from_url(app_url)
        plain: Any = never_mind
        try:
            await service.get_ijp(USER, plain)
        finally:
            await service.close()

    def never_mind() -> str:
        return "plain"

    with pytest.raises(TypeError, match=r"never_mind.* is not async; AsyncCacheService takes async functions"):
        asyncio.run(use())


def test_a_session_slides_and_ends(service: Any, raw: redis.Redis) -> None:
    assert service.get_session(USER, default=cache.MISS) is cache.MISS
    assert service.start_session(USER, None)
    assert service.get_session(USER, default=cache.MISS) is None
    raw.expire(f"user:{USER}:session", 5)

    assert service.get_session(USER) is None
    assert raw.ttl(f"user:{USER}:session") > 890

    assert service.end_session(USER)
    assert service.get_session(USER, default=cache.MISS) is cache.MISS


def test_a_person_is_forgotten_whole(service: Any, raw: redis.Redis, layout: str) -> None:
    service.set_match_score(USER, 5678, {"score": 1})
    service.update_ijp(USER, "prefs")
    service.set_match_score(USER, 5678, {"score": 1})
    service.start_session(USER, "session")

    assert service.forget_user(USER)

    left = set(raw.keys()) - {b"job:generations"}
    assert left == (set() if layout == "hash" else {b"match:1234:5678"})
    assert service.get_match_score(USER, 5678) is None


@pytest.mark.parametrize("stored", [b"", b"\x00", b"foreign", b'{"plain": 1}', b"\x01{broken", b"\xff" * 40])
def test_foreign_bytes_are_a_miss_and_are_overwritten(service: Any, raw: redis.Redis, stored: bytes) -> None:
    raw.set(COMPANY_KEY, stored)

    assert service.get_company_enrichment(COMPANY, lambda: "fresh") == "fresh"

    assert service.stats.counts("company").misses["undecodable"] == 1
    assert service.get_company_enrichment(COMPANY, never) == "fresh"


def test_a_newer_release_s_value_is_a_miss_and_stays(service: Any, raw: redis.Redis) -> None:
    raw.set(COMPANY_KEY, b"\x1f of a later release")

    assert service.get_company_enrichment(COMPANY, lambda: "mine") == "mine"

    assert raw.get(COMPANY_KEY) == b"\x1f of a later release"


def test_a_key_of_another_type_is_overwritten(service: Any, raw: redis.Redis) -> None:
    raw.rpush(COMPANY_KEY, "foreign")
    raw.rpush(f"user:{USER}:session", "foreign")

    assert service.get_session(USER) is None
    assert service.start_session(USER, "s")
    assert service.get_session(USER) == "s"
    assert service.get_company_enrichment(COMPANY, lambda: "fresh") == "fresh"
    assert service.get_company_enrichment(COMPANY, never) == "fresh"
