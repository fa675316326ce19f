"""What one operation may take of the server, and of the page's time."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
import redis

from cache import AsyncCacheService, commands
from cache.async_link import PerLoop
from cache.breaker import FAILURES_TO_OPEN
from cache.client import no_compute
from cache.commands import Send, Unavailable
from cache.gate import Operation
from cache.link import DEADLINE_S
from cache.pool import CONNECT_AT_ONCE
from tests import patient
from tests.behaviour.proxy import Proxy
from tests.behaviour.test_shared_reads import inside
from tests.servers import calls, pid, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.valkey import Valkey
    from tests.behaviour.services import Started, Threads

LAYOUT, PLACE = "hash", "standalone"
COMPANY = 101
KEY = f"company:{COMPANY}:enrichment"


class LateCredentials(redis.CredentialProvider):
    """Makes connecting take until it is told."""

    def __init__(self) -> None:
        self.may_connect = threading.Event()

    def get_credentials(self) -> tuple[str, str]:
        self.may_connect.wait(20)
        return "app", "secret"

    async def get_credentials_async(self) -> tuple[str, str]:
        return await asyncio.to_thread(self.get_credentials)


@pytest.mark.parametrize("deadline_s", [DEADLINE_S])
def test_connecting_is_off_the_request_s_path(connect: Callable[..., Any], server: Valkey) -> None:
    with redis.Redis(port=server.port) as client:
        client.acl_setuser("app", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
        client.set(KEY, b'\x01"cached"')
    credentials = LateCredentials()
    service = connect(server.url, credential_provider=credentials)

    for _ in range(3):
        assert service.get_company_enrichment(COMPANY, lambda: "computed") == "computed"
    assert service.stats.counts("company").misses["unavailable"] == 3
    credentials.may_connect.set()

    until(lambda: service.get_company_enrichment(COMPANY, lambda: "computed") == "cached")


@pytest.mark.parametrize("deadline_s", [DEADLINE_S])
def test_a_handshake_has_the_time_that_connecting_has(
    connect: Callable[..., Any], server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("link", "async_link"):
        monkeypatch.setattr(f"cache.{module}.CONNECT_TIMEOUT_S", 60)
    with redis.Redis(port=server.port) as client:
        client.set(KEY, b'\x01"cached"')
    with Proxy(server.port) as proxy:
        proxy.may_reply.clear()
        service = connect(proxy.url)

        for _ in range(3):  # each for a deadline
            assert service.get_company_enrichment(COMPANY, lambda: "computed") == "computed"
        assert proxy.accepted <= CONNECT_AT_ONCE
        proxy.may_reply.set()

        until(lambda: service.get_company_enrichment(COMPANY, lambda: "computed") == "cached")


@pytest.mark.parametrize("deadline_s", [DEADLINE_S])
def test_an_operation_that_timed_out_leaves_the_cache_alone_to_its_end(
    connect: Callable[..., Any], server: Valkey
) -> None:
    service = connect(server.url)
    service.set_company_enrichment(COMPANY + 1, "connected")
    frozen = pid(server)

    def compute() -> str:
        os.kill(frozen, signal.SIGCONT)
        return "computed"

    os.kill(frozen, signal.SIGSTOP)
    assert service.get_company_enrichment(COMPANY, compute) == "computed"

    with redis.Redis(port=server.port) as client:
        assert not client.exists(KEY, f"lock:{{{KEY}}}")
    until(lambda: service.get_company_enrichment(COMPANY, lambda: "later") == "later")


def test_callers_wait_for_a_connection(connect: Callable[..., Any], raw: redis.Redis, threads: Threads) -> None:
    service = connect(max_connections=1)
    service.set_company_enrichment(COMPANY, "cached")

    callers = [threads.start(service.get_company_enrichment, COMPANY, lambda: "computed") for _ in range(20)]

    assert [caller.result() for caller in callers] == ["cached"] * 20
    until(lambda: [client["name"] for client in raw.client_list()].count("roleferry-cache") == 1)


class OneByOne(threading.Event):
    """Each `set` lets one pass."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = threading.Semaphore(0)

    def set(self) -> None:
        self._turns.release()

    def wait(self, timeout: float | None = None) -> bool:
        return self._turns.acquire(timeout=timeout)


def test_callers_without_a_connection_do_not_open_the_breaker_while_others_are_answered(
    connect: Callable[..., Any], raw: redis.Redis, port: int, threads: Threads
) -> None:
    with Proxy(port) as proxy:
        service = connect(proxy.url, max_connections=1)
        service.set_company_enrichment(COMPANY, "cached")
        proxy.may_reply = OneByOne()
        first = send(service, threads)
        until(lambda: calls(raw, "get"))
        second = send(service, threads)
        until(lambda: waiting(service) == 1)
        late = [send(service, threads, left_s=1.5) for _ in range(FAILURES_TO_OPEN)]
        until(lambda: waiting(service) == 1 + len(late))
        proxy.may_reply.set()

        assert first.result() == [b'\x01"cached"']
        assert [caller.result() for caller in late] == [Unavailable("NoConnectionError")] * len(late)
        third = send(service, threads)
        until(lambda: third.is_done or waiting(service) == 1)
        for caller in (second, third):
            proxy.may_reply.set()
            assert caller.result() == first.result()


@pytest.mark.parametrize("is_answering", [True, False])
@pytest.mark.usefixtures("raw")
def test_closing_in_one_event_loop_is_no_failure_of_the_server(
    app_url: str, caplog: pytest.LogCaptureFixture, *, is_answering: bool
) -> None:
    """Another loop would be without the cache for a second."""

    async def close_in_the_middle() -> int:
        service = AsyncCacheService.from_url(app_url, max_connections=1)
        await service.get_session(0)
        callers = [asyncio.create_task(service.get_session(user)) for user in range(10 * FAILURES_TO_OPEN)]
        if is_answering:
            await asyncio.wait(callers, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(0)  # each waits by now, and none was answered
        await service.close()
        await asyncio.gather(*callers)
        await service.close()
        return service.stats.counts("session").misses["unavailable"]

    assert asyncio.run(close_in_the_middle()) >= FAILURES_TO_OPEN
    assert "cache.unavailable" not in caplog.text


def send(service: Any, threads: Threads, *, left_s: float = patient.DEADLINE_S) -> Started:
    """A lookup as an operation that has this much of its time left."""
    operation = Operation()
    operation.spent_s = patient.DEADLINE_S - left_s
    return threads.start(service.act, Send((commands.get(KEY),)), no_compute, operation)


def waiting(service: Any) -> int:
    """How many of its callers wait for a connection."""
    pool = inside(service)._link._pool
    if isinstance(pool, PerLoop):
        return sum(not caller.done() for each in pool.everywhere() for caller in tuple(each._waiting))
    waiting_threads: int = pool._waiting
    return waiting_threads


def test_the_version_that_connections_tell_is_found_out_once(
    connect: Callable[..., Any], raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = connect()
    monkeypatch.delattr("redis.utils.get_lib_version")

    assert service.set_company_enrichment(COMPANY, "cached")

    ours = [client for client in raw.client_list() if client["name"] == "roleferry-cache"]
    assert {(client["lib-name"], client["lib-ver"]) for client in ours} == {("redis-py", redis.__version__)}


def test_where_the_system_gives_no_threads_pages_are_computed_and_the_cache_is_used_again_once_it_does(
    connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread._target.__module__.startswith("cache."):  # type: ignore[attr-defined]
            raise RuntimeError("can't start new thread")
        start(thread)

    service = connect(near={"ijp"})
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(threading.Thread, "start", refuse)
        for company in range(3):
            assert service.get_company_enrichment(company, lambda: "computed") == "computed"
            assert service.get_ijp(company, lambda: "loaded") == "loaded"

    until(lambda: service.set_company_enrichment(COMPANY, "cached"))
    assert service.get_company_enrichment(COMPANY, lambda: "computed") == "cached"
    until(lambda: service.get_ijp(0, lambda: "loaded") == "loaded" and service.stats.counts("ijp").near_hits)
