"""The example on real servers: its pages, and that it does without a cache that is killed."""

from __future__ import annotations

import random
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cache import CacheService
from cache.enrichment import Clearbit
from examples import __main__ as example
from examples import load, seed, servers
from examples.site import Preferences, Site
from local.clearbit import ClearbitServer
from local.errors import LocalError
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from local.postgres import Postgres


USERS, JOBS, COMPANIES = 40, 120, 20


@pytest.fixture(scope="module")
def clearbit() -> Iterator[ClearbitServer]:
    with ClearbitServer() as running:
        yield running


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey() as running:
        yield running


@pytest.fixture
def seeded(database: sqlalchemy.Engine) -> sqlalchemy.Engine:
    seed.seed(database, users=USERS, jobs=JOBS, companies=COMPANIES)
    return database


@pytest.fixture
def site(seeded: sqlalchemy.Engine, valkey: Valkey, clearbit: ClearbitServer) -> Iterator[Site]:
    with (
        closing(CacheService.from_url(valkey.url)) as cache,
        Clearbit("any", url=clearbit.url) as provider,
        Site(seeded, cache, provider) as site,
    ):
        yield site


@pytest.fixture
def visitor(site: Site) -> Iterator[httpx.Client]:
    with servers.serve(site.app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def test_pages_come_from_the_cache_the_second_time(visitor: httpx.Client) -> None:
    assert visitor.post("/login/7").json() == {"user_id": 7}
    pages = ["/jobs", "/jobs/3", "/preferences"]

    first, second = ([visitor.get(page) for page in pages] for _ in range(2))

    assert [response.status_code for response in (*first, *second)] == [200] * 6
    assert [response.json() for response in first] == [response.json() for response in second]
    assert [response.headers["X-Cache-Hit"] for response in second] == ["1", "1", "1"]
    assert 0 < len(first[0].json()) <= 100
    assert first[0].json()[0]["score"] >= first[0].json()[-1]["score"]
    assert first[1].json()["company"]["cached_at"]


def test_changed_preferences_change_the_scores(visitor: httpx.Client) -> None:
    visitor.post("/login/7")
    before = visitor.get("/jobs").json()

    assert visitor.put("/preferences", json={"skills": [1], "salary": 200_000}).status_code == 200

    assert visitor.get("/preferences").json() == {"skills": [1], "salary": 200_000}
    assert visitor.get("/jobs").json() != before


def test_nobody_comes_in_without_a_session_or_with_another_s(visitor: httpx.Client) -> None:
    assert visitor.get("/jobs").status_code == 401
    visitor.post("/login/7")
    cookie = visitor.cookies["session"]
    assert visitor.get("/jobs").status_code == 200
    assert visitor.get("/jobs", headers={b"Cookie": b"session=7.\xfc"}).status_code == 401
    visitor.post("/logout")

    for forged in (cookie, "8." + cookie.partition(".")[2], "7.", "7", "x.y", f"{10**30}.x"):
        assert visitor.get("/jobs", headers={"Cookie": f"session={forged}"}).status_code == 401
    assert visitor.post("/login/999").status_code == 404


def test_a_session_that_ends_while_a_page_looks_it_up_stays_ended(
    visitor: httpx.Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor.post("/login/7")
    cookie = {"Cookie": f"session={visitor.cookies['session']}"}
    site._cache.end_session(7)  # as a cache that lost it
    connect = site._engine.connect
    signs_out = [True]

    def connect_late() -> Any:
        """The user signs out as soon as the page has read the session from the database."""
        connection = connect()
        if signs_out.pop() if signs_out else False:
            scalar = connection.scalar

            def scalar_then_logout(*arguments: Any) -> Any:
                token = scalar(*arguments)
                site.logout(7)
                return token

            connection.scalar = scalar_then_logout  # type: ignore[assignment, method-assign]
        return connection

    monkeypatch.setattr(site._engine, "connect", connect_late)

    assert visitor.get("/preferences", headers=cookie).status_code == 200
    assert visitor.get("/preferences", headers=cookie).status_code == 401


@pytest.mark.parametrize("data", [{"skills": 5, "salary": 1}, {"skills": [1], "salary": -1}, {"skills": ["\0"]}, []])
def test_preferences_that_are_none_are_refused(visitor: httpx.Client, data: Any) -> None:
    visitor.post("/login/7")

    assert visitor.put("/preferences", json=data).status_code == 422
    assert visitor.get("/jobs").status_code == 200


def test_a_port_in_use_is_said(site: Site) -> None:
    with servers.serve(site.app) as url, pytest.raises(LocalError, match="is something else using it"):
        servers.serve(site.app, port=httpx.URL(url).port).__enter__()


def test_what_is_counted_is_at_metrics(visitor: httpx.Client, site: Site) -> None:
    visitor.post("/login/7")
    visitor.get("/jobs/3")
    site._publisher.report()

    text = visitor.get("/metrics").text
    assert 'roleferry_cache_requests_total{endpoint="/jobs/{job_id}",status="miss"} 1.0' in text
    assert 'roleferry_cache_hits_total{cache_type="session"} 1.0' in text


def test_a_cache_that_is_killed_in_the_middle_fails_no_request(visitor: httpx.Client, valkey: Valkey) -> None:
    """Eight visitors at a time; the cache goes when a third of the pages are served and stays away."""
    served, lock, is_killed = [0], threading.Lock(), threading.Event()
    visits = 16
    failures: list[tuple[str, int]] = []

    def page(client: httpx.Client, method: str, path: str, **more: Any) -> None:
        response = client.request(method, path, **more)
        if response.is_error:
            failures.append((path, response.status_code))
        with lock:
            served[0] += 1
            is_time = served[0] == visits * 7 // 3
        if is_time:
            valkey.stop()
            is_killed.set()

    def visit(user: int) -> None:
        with httpx.Client(base_url=visitor.base_url, timeout=60) as client:
            for _ in range(2):
                page(client, "POST", f"/login/{user}")
                for path in ("/jobs", f"/jobs/{user}", "/preferences", f"/jobs/{user + 1}"):
                    page(client, "GET", path)
                page(client, "PUT", "/preferences", json={"skills": [user], "salary": 50_000})
                page(client, "POST", "/logout")

    visitors = [threading.Thread(target=visit, args=(user,)) for user in range(1, visits // 2 + 1)]
    for each in visitors:
        each.start()
    for each in visitors:
        each.join()

    assert is_killed.is_set()
    assert failures == []
    assert served[0] == visits * 7


def test_the_driver_visits_over_http_and_counts_what_failed(
    seeded: sqlalchemy.Engine, postgres: Postgres, valkey: Valkey, clearbit: ClearbitServer, capsys: Any
) -> None:
    running = servers.Servers(seeded, postgres.url, valkey.url, clearbit.url)
    options = ["--visits", "4", "--at-once", "2", "--users", str(USERS), "--jobs", str(JOBS)]
    with servers.application(running, CacheService.from_url(valkey.url)) as url:
        assert load.main([url, *options]) == 0
        assert httpx.get(f"{url}/jobs").status_code == 401
    said = capsys.readouterr().out
    assert "jobs list" in said
    assert "0 requests failed." in said

    assert load.main(["http://127.0.0.1:1", *options]) == 1


def test_the_driver_sends_no_preferences_that_the_site_refuses() -> None:
    rng = random.Random(1)

    for _ in range(1_000):
        Preferences(**load.preferences(rng))


def test_seeding_states_what_it_made(
    database: sqlalchemy.Engine, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.url)

    assert seed.main(["--users", "30", "--jobs", "20", "--companies", "10"]) == 0
    assert capsys.readouterr().out.startswith("30 users, 20 jobs, 10 companies, 300 views in ")

    monkeypatch.setenv("DATABASE_URL", "nonsense")
    assert seed.main([]) == 2
    assert "cannot be filled" in capsys.readouterr().err
    monkeypatch.delenv("DATABASE_URL")
    assert seed.main([]) == 2
    assert capsys.readouterr().err == "Set DATABASE_URL, such as postgresql+psycopg://user@host/name.\n"
    assert seed.main(["--users", "0"]) == 2


@pytest.mark.parametrize("wrong", [["--users", "0"], ["--port", "0"], ["--port", "65536"]])
def test_wrong_numbers_are_told_before_anything_starts(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert example.main(wrong) == 2

    said = capsys.readouterr()
    assert "--port from 1 to 65535" in said.err
    assert said.out == ""
