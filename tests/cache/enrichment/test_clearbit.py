"""The client against the stand-in: every answer of the contract, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cache import AsyncCacheService
from cache.enrichment import AsyncClearbit, AsyncCompanies, Clearbit, Companies, EnrichmentUnavailableError
from cache.enrichment import clearbit as module
from local.clearbit import Behaviour, ClearbitServer, company

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cache import CacheService
    from local.valkey import Valkey
    from tests.conftest import ManualClock


KEY = "sk_test"
HTML = Behaviour(body=b"<html>Sign in to the hotel's network</html>", content_type="text/html")
BUSY = Behaviour(503)


class Time:
    """Passes when somebody pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def standin() -> Iterator[ClearbitServer]:
    with ClearbitServer() as running:
        yield running


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Pauses of the client take no real time."""
    clock = Time()

    async def sleep(seconds: float) -> None:
        clock.pass_(seconds)

    monkeypatch.setattr(module, "_sleep", clock.pass_)
    monkeypatch.setattr(module, "_async_sleep", sleep)
    return clock


@pytest.fixture(params=["sync", "async"])
def find(request: pytest.FixtureRequest, standin: ClearbitServer, passing: Time) -> Iterator[Callable[[str], Any]]:
    """`find(domain)` of one client."""
    options: dict[str, Any] = {"url": standin.url, "monotonic": passing.monotonic, "jitter": lambda: 1.0}
    if request.param == "sync":
        with Clearbit(KEY, **options) as client:
            yield client.find
    else:
        with asyncio.Runner() as runner:
            twin = AsyncClearbit(KEY, **options)
            yield lambda domain: runner.run(twin.find(domain))
            runner.run(twin.close())


def test_a_company_is_what_the_provider_says(find: Any) -> None:
    assert find(" Example.com ") == company("example.com")


@pytest.mark.parametrize("answer", [None, Behaviour(422)])
def test_an_unknown_company_is_none(find: Any, standin: ClearbitServer, answer: Behaviour | None) -> None:
    if answer:
        standin.behave(answer)

    assert find("unknown-gmbh.de") is None


def test_a_pending_company_is_asked_for_again(find: Any, standin: ClearbitServer) -> None:
    assert find("pending-gmbh.de") == company("pending-gmbh.de")
    assert standin.requests["pending-gmbh.de"] == 2


@pytest.mark.parametrize("trouble", [BUSY, Behaviour(0), HTML, Behaviour(body=b"[1]"), Behaviour(302)], ids=repr)
def test_trouble_is_tried_again_with_longer_pauses(
    find: Any, standin: ClearbitServer, passing: Time, trouble: Behaviour
) -> None:
    standin.behave(trouble, trouble)

    assert find("example.com") == company("example.com")
    assert passing.pauses == [0.2, 0.4]


def test_trouble_that_does_not_end_is_over_at_the_deadline(find: Any, standin: ClearbitServer, passing: Time) -> None:
    standin.behave(*[HTML] * 20)

    with pytest.raises(EnrichmentUnavailableError, match=r"example.com in 5 s: 200 with something else"):
        find("example.com")

    assert passing.now <= 5
    assert standin.requests["example.com"] == 5


@pytest.mark.parametrize("wanted", ["3", None])
def test_too_many_requests_waits_as_long_as_it_is_told(
    find: Any, standin: ClearbitServer, passing: Time, wanted: str | None
) -> None:
    standin.behave(Behaviour(429, retry_after=wanted))

    assert find("example.com")
    assert passing.pauses == [float(wanted) if wanted else pytest.approx(0.1)]


def test_a_wait_beyond_the_deadline_is_not_begun_and_holds_for_everybody(
    find: Any, standin: ClearbitServer, passing: Time
) -> None:
    standin.behave(Behaviour(429, retry_after="60"))

    for _ in range(2):
        with pytest.raises(EnrichmentUnavailableError):
            find("example.com")

    assert passing.now == 0
    assert sum(standin.requests.values()) == 1
    passing.now = 61
    assert find("example.com")


def test_retry_after_may_be_a_date() -> None:
    assert 50 < module._seconds(format_datetime(datetime.now(UTC) + timedelta(seconds=60)), 1) <= 60
    assert module._seconds("soon", 1) == 1


def test_a_key_that_is_refused_is_not_tried_again(find: Any, standin: ClearbitServer) -> None:
    standin.behave(Behaviour(401))

    with pytest.raises(EnrichmentUnavailableError, match=r"refused the key \(401\). Check CLEARBIT_KEY"):
        find("example.com")

    assert standin.requests["example.com"] == 1


def test_after_five_failures_nobody_asks_for_a_while(find: Any, standin: ClearbitServer, passing: Time) -> None:
    standin.behave(*[Behaviour(401)] * 5)
    for _ in range(7):
        with pytest.raises(EnrichmentUnavailableError):
            find("example.com")
    assert standin.requests["example.com"] == 5

    passing.now += 31
    assert find("example.com")


@pytest.mark.parametrize("answer", [Behaviour(202, body=b"{}"), Behaviour(429, retry_after="60")], ids=["202", "429"])
def test_a_server_that_is_busy_has_not_failed(
    find: Any, standin: ClearbitServer, passing: Time, answer: Behaviour
) -> None:
    for _ in range(5):
        standin._next.clear()
        standin.behave(*[answer] * 50)
        with pytest.raises(EnrichmentUnavailableError):
            find("example.com")
        passing.pass_(60)
    standin._next.clear()

    assert find("example.com")["name"] == "Example"


def test_a_wait_without_end_is_five_minutes(find: Any, standin: ClearbitServer, passing: Time) -> None:
    standin.behave(Behaviour(429, retry_after="inf"))
    with pytest.raises(EnrichmentUnavailableError):
        find("example.com")
    passing.pass_(300)

    assert find("example.com")["name"] == "Example"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"key": "sk_süß"}, "characters that no key has"),
        ({"key": "sk\nInjected: 1"}, "characters that no key has"),
        ({"key": KEY, "calls_per_minute": 0}, "must be over 0"),
        ({"key": KEY, "deadline_s": -1}, "must be over 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        Clearbit(**options)
    assert "sk" not in str(refused.value)


def test_a_key_may_end_with_its_line(standin: ClearbitServer) -> None:
    with Clearbit(f"{KEY}\n", url=standin.url) as client:
        assert client.find("example.com")


def test_calls_keep_to_the_rate(standin: ClearbitServer, passing: Time) -> None:
    with Clearbit(KEY, url=standin.url, calls_per_minute=60, monotonic=passing.monotonic) as client:
        for number in range(4):
            client.find(f"example{number}.com")

    assert passing.pauses == [1.0, 1.0, 1.0]


def find_once(**options: Any) -> Any:
    with Clearbit(KEY, **options) as client:
        return client.find("example.com")


def find_once_async(**options: Any) -> Any:
    async def find() -> Any:
        async with AsyncClearbit(KEY, **options) as client:
            return await client.find("example.com")

    return asyncio.run(find())


@pytest.mark.parametrize("find_once", [find_once, find_once_async])
def test_a_server_that_does_not_answer_costs_a_time_out(
    find_once: Any, standin: ClearbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TRY_TIMEOUT_S", 0.2)
    standin.latency_s = 1.0

    with pytest.raises(EnrichmentUnavailableError, match="Timeout"):
        find_once(url=standin.url, deadline_s=0.5, jitter=lambda: 0.0)


@pytest.mark.parametrize("domain", ["", "nonsense", "a b.com", "-x.com", "x.com/..", "https://example.com"])
def test_what_is_no_domain_is_refused(find: Any, standin: ClearbitServer, domain: str) -> None:
    with pytest.raises(ValueError, match="must be a host name"):
        find(domain)

    assert not standin.requests


FORKING = """
import os, sys
from cache.enrichment import Clearbit

client = Clearbit("key", url=sys.argv[1])
client.find("first.com")
lock = client._calls._lock
lock.acquire()  # as another thread may, which is not in the child
is_child = not os.fork()
if not is_child:
    lock.release()
name = "child" if is_child else "parent"
assert client.find(f"{name}.com")["domain"] == f"{name}.com"
if not is_child:
    assert os.wait()[1] == 0
"""


def test_a_forked_child_has_connections_of_its_own(standin: ClearbitServer) -> None:
    """On the parent's it might be given what the parent asked for."""
    subprocess.run([sys.executable, "-c", FORKING, standin.url], check=True, timeout=60)

    assert standin.connections == 2


def test_one_async_client_serves_several_event_loops(standin: ClearbitServer) -> None:
    client = AsyncClearbit(KEY, url=standin.url)

    async def find(domain: str) -> Any:
        async with client:
            return await client.find(domain)

    found = [asyncio.run(find(domain)) for domain in ("example.com", "example.org")]

    assert found == [company("example.com"), company("example.org")]


def test_a_key_is_needed_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEARBIT_KEY", raising=False)
    with pytest.raises(ValueError, match="Set CLEARBIT_KEY"):
        Clearbit.from_environment()
    with pytest.raises(ValueError, match="must begin with https") as refused:
        Clearbit("sk_secret", url="http://company.clearbit.com")
    assert "sk_secret" not in str(refused.value)
    with pytest.raises(ValueError, match="Invalid port"):
        Clearbit("sk_secret", url="https://company.clearbit.com:port")

    monkeypatch.setenv("CLEARBIT_KEY", "sk_secret")
    with Clearbit.from_environment() as client:
        assert "sk_secret" not in repr(vars(client))


# -- the contract of the stand-in ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "status", "kind"),
    [("example.com", 200, None), ("unknown-gmbh.de", 404, "unknown_record"), ("nonsense", 422, "params_invalid")],
)
def test_the_stand_in_answers_as_the_contract_says(
    standin: ClearbitServer, domain: str, status: int, kind: str | None
) -> None:
    """As https://dashboard.clearbit.com/docs#enrichment-api-company-api has it."""
    with httpx.Client(base_url=standin.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        answer = client.get("/v2/companies/find", params={"domain": domain})
        pending = [client.get("/v2/companies/find", params={"domain": "pending-x.de"}).status_code for _ in range(2)]
    refused = httpx.get(f"{standin.url}/v2/companies/find", params={"domain": domain})

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json().get("error", {}).get("type") == kind
    if status == 200:
        assert {"id", "name", "domain", "category", "metrics", "geo"} <= answer.json().keys()
    assert pending == [202, 200]
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "auth_invalid")


# -- with the cache -----------------------------------------------------------------------------------------------


@pytest.fixture
def companies(cache: CacheService, standin: ClearbitServer) -> Iterator[Companies]:
    with Clearbit(KEY, url=standin.url) as provider:
        yield Companies(cache, provider)


def test_a_company_is_asked_for_once_in_30_days(
    companies: Companies, standin: ClearbitServer, clock: ManualClock
) -> None:
    first = companies.get(101, "example.com")
    again = companies.get(101, "example.com")

    assert first == again == {**company("example.com"), "cached_at": "2026-01-05T00:00:00+00:00"}
    assert standin.requests["example.com"] == 1
    clock.advance(30 * 86_400 + 1)
    companies.get(101, "example.com")
    assert standin.requests["example.com"] == 2


def test_an_unknown_company_is_asked_for_again_after_a_week(
    companies: Companies, standin: ClearbitServer, clock: ManualClock
) -> None:
    assert companies.get(102, "unknown-gmbh.de") is None
    clock.advance(7 * 86_400 - 1)
    assert companies.get(102, "unknown-gmbh.de") is None
    assert standin.requests["unknown-gmbh.de"] == 1

    clock.advance(2)
    companies.get(102, "unknown-gmbh.de")

    assert standin.requests["unknown-gmbh.de"] == 2


def test_what_failed_is_not_cached(companies: Companies, standin: ClearbitServer) -> None:
    standin.behave(Behaviour(401))
    with pytest.raises(EnrichmentUnavailableError):
        companies.get(101, "example.com")

    assert companies.get(101, "example.com")


def test_savings_are_the_lookups_that_needed_no_call(companies: Companies) -> None:
    for _ in range(10):
        companies.get(101, "example.com")

    saved = companies.savings(0.05)
    assert (saved.lookups, saved.calls, saved.calls_saved) == (10, 1, 9)
    assert str(saved) == "10 lookups, 1 calls to the provider: 9 saved (90%), 0.45 USD at 0.05 USD a call"


def test_of_many_who_ask_at_once_one_calls(standin: ClearbitServer, cache: CacheService, server: Valkey) -> None:
    standin.latency_s = 0.2

    async def main() -> set[str]:
        service = AsyncCacheService.from_url(server.socket_url, patience_s=60)
        try:
            async with AsyncClearbit(KEY, url=standin.url) as provider:
                companies = AsyncCompanies(service, provider)
                found = await asyncio.gather(*(companies.get(101, "example.com") for _ in range(20)))
                assert companies.savings(0.05).calls_saved == 19
        finally:
            await service.close()
        return {each["cached_at"] for each in found if each}

    assert len(asyncio.run(main())) == 1
    assert standin.requests["example.com"] == 1
