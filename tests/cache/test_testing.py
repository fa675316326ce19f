"""The tools for users' own tests do what they say."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from cache.testing import TestServer, async_off, off
from tests.behaviour.services import Threads
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def server() -> Iterator[TestServer]:
    with TestServer() as server:
        yield server


def test_time_that_passes_expires_scores_values_and_sessions(server: TestServer) -> None:
    day = 24 * 3600
    with closing(server.service()) as cache:
        cache.update_ijp(7, "prefs")
        cache.set_match_scores(7, {1: {"score": 1}})
        server.advance(day - 10.5)
        server.advance(0.5)
        cache.set_match_scores(7, {2: {"score": 2}})
        assert set(cache.get_match_scores(7, [1, 2])) == {1, 2}
        server.advance(10)
        assert set(cache.get_match_scores(7, [1, 2])) == {2}
        server.advance(day)
        assert cache.get_match_scores(7, [1, 2]) == {}
        assert cache.get_ijp(7, lambda: "loaded") == "prefs"
        server.advance(28 * day)
        assert cache.get_ijp(7, lambda: "loaded") == "loaded"


def test_a_busy_session_ends_after_its_greatest_lifetime(server: TestServer) -> None:
    with closing(server.service()) as cache:
        cache.start_session(7, "session")
        for _ in range(47):  # every ten minutes
            server.advance(600)
            assert cache.get_session(7) == "session"
        server.advance(600)
        assert cache.get_session(7) is None


@pytest.mark.parametrize("deadline_s", [0.1])
@pytest.mark.parametrize("trouble", ["freeze", "kill"])
def test_a_server_in_trouble_is_a_miss_until_it_is_back(server: TestServer, trouble: str) -> None:
    with closing(server.service()) as cache:
        until(lambda: cache.set_company_enrichment(1, "cached"))
        getattr(server, trouble)()
        assert cache.get_company_enrichment(1, lambda: "computed") == "computed"
        if trouble == "freeze":
            server.thaw()
            expected = "cached"
        else:
            server.start()
            expected = "again"
        values = []

        def is_hit() -> int:
            values.append(cache.get_company_enrichment(1, lambda: "again"))
            return cache.stats.counts("company").hits

        until(is_hit)
        assert values[-1] == expected


def test_servers_that_start_at_the_same_time_do_not_meet(threads: Threads) -> None:
    def own_size() -> Any:
        with TestServer() as server, server.client() as client:
            client.set("mine", "here")
            server.start()
            return client.dbsize()

    started = [threads.start(own_size) for _ in range(6)]

    assert [each.result() for each in started] == [0] * 6


def test_the_asyncio_service_is_the_same(server: TestServer) -> None:
    async def scenario() -> Any:
        cache = server.async_service()
        await cache.start_session(7, "session")
        server.advance(15 * 60)
        session = await cache.get_session(7)
        await cache.close()
        return session

    assert asyncio.run(scenario()) is None


def test_without_a_server_everything_is_computed() -> None:
    told: list[int] = []
    with closing(off(on_pending=told.append)) as cache:
        assert cache.match_scores(1, [2], lambda jobs: {2: {"score": 1}}) == {2: {"score": 1}}
        assert cache.get_match_score(1, 2) is None
        assert not cache.invalidate_user_matches(1)
        assert cache.pending_invalidations == 1
        assert told == [1]


def test_without_a_server_everything_is_computed_with_asyncio_too() -> None:
    told: list[int] = []

    async def compute(jobs: list[int]) -> dict[int, dict[str, Any]]:
        return {job: {"score": 1} for job in jobs}

    async def scenario() -> None:
        cache = async_off(on_pending=told.append)
        assert await cache.match_scores(1, [2], compute) == {2: {"score": 1}}
        assert not await cache.invalidate_user_matches(1)
        assert cache.pending_invalidations == 1
        await cache.close()

    asyncio.run(scenario())

    assert told == [1]
