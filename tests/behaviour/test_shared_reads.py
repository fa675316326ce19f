"""Callers of one process who read the same at one time share a reply, but none that is older than their call."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from cache.async_link import PerLoop
from tests.behaviour.proxy import Proxy
from tests.behaviour.services import Awaited
from tests.servers import calls, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from local.valkey import Valkey
    from tests.behaviour.services import Started, Threads

LAYOUT, PLACE = "hash", "standalone"
COMPANY = 101
CALLERS = 20


@pytest.fixture
def proxy(raw: redis.Redis, shared_server: Valkey) -> Iterator[Proxy]:
    with Proxy(shared_server.port) as proxy:
        yield proxy


@pytest.fixture
def service(connect: Callable[..., Any], proxy: Proxy) -> Any:
    """With one value cached, and a connection."""
    service = connect(proxy.url)
    service.set_company_enrichment(COMPANY, "old")
    return service


def read(service: Any, threads: Threads) -> Started:
    return threads.start(service.get_company_enrichment, COMPANY, lambda: "computed")


def inside(service: Any) -> Any:
    return service._service if isinstance(service, Awaited) else service


def of_its_loop(part: Any) -> Any:
    return part.everywhere()[0] if isinstance(part, PerLoop) else part


def queueing(service: Any) -> int:
    """How many of its callers read together with others, or wait for that."""
    queues = of_its_loop(inside(service)._reads._queues)
    return sum(queue.callers for queue in queues._queues.values())


def read_on_its_way(service: Any, threads: Threads, raw: redis.Redis) -> Started:
    """The server has answered, but the answer does not arrive before `proxy.may_reply` is set."""
    before = calls(raw, "get")
    caller = read(service, threads)
    until(lambda: calls(raw, "get") > before)
    return caller


def test_a_crowd_s_reads_are_few(service: Any, threads: Threads, proxy: Proxy, raw: redis.Redis) -> None:
    raw.config_resetstat()
    counted_before = service.stats.data_reads + service.stats.bookkeeping_reads
    proxy.may_reply.clear()
    first = read_on_its_way(service, threads, raw)
    crowd = [read(service, threads) for _ in range(CALLERS)]
    until(lambda: queueing(service) == CALLERS)
    proxy.may_reply.set()

    assert {caller.result() for caller in [first, *crowd]} == {"old"}
    assert calls(raw, "get") <= 3
    assert service.stats.counts("company").hits == CALLERS + 1
    info = raw.info("stats")
    counted = service.stats.data_reads + service.stats.bookkeeping_reads - counted_before
    assert info["keyspace_hits"] + info["keyspace_misses"] == counted


def two_reads_on_their_way(service: Any, threads: Threads, proxy: Proxy, raw: redis.Redis) -> list[Started]:
    """One alone, one for whoever came before it."""
    test_a_crowd_s_reads_are_few(service, threads, proxy, raw)
    until(lambda: len(of_its_loop(inside(service)._link._pool)._idle) >= 2)
    proxy.may_reply.clear()
    return [read_on_its_way(service, threads, raw) for _ in range(2)]


def test_who_calls_after_an_invalidation_shares_no_read_from_before_it(
    service: Any, connect: Callable[..., Any], threads: Threads, proxy: Proxy, raw: redis.Redis
) -> None:
    early = two_reads_on_their_way(service, threads, proxy, raw)
    assert connect().set_company_enrichment(COMPANY, "new")
    late = [read(service, threads) for _ in range(3)]
    until(lambda: queueing(service) == 4)
    proxy.may_reply.set()

    assert [caller.result() for caller in early] == ["old"] * 2
    assert [caller.result() for caller in late] == ["new"] * 3


def test_a_forked_child_waits_for_none_of_its_parent_s_readers(
    service: Any, threads: Threads, proxy: Proxy, raw: redis.Redis
) -> None:
    readers = [*two_reads_on_their_way(service, threads, proxy, raw), read(service, threads)]
    until(lambda: queueing(service) == 2)

    child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends it
        os._exit(0 if read_in_child(service) == "old" else 1)
    proxy.may_reply.set()
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert [reader.result() for reader in readers] == ["old"] * 3


def read_in_child(service: Any) -> Any:
    """Where threads are gone, that of the parent's event loop too."""
    if not isinstance(service, Awaited):
        return service.get_company_enrichment(COMPANY, lambda: "computed")

    async def compute() -> str:
        return "computed"

    return asyncio.run(inside(service).get_company_enrichment(COMPANY, compute))
