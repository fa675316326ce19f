"""One service in forked processes and in several event loops."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import cache
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from tests.behaviour.services import Threads

KEY = "report:7"
LEASE = "lock:{report:7}"


@pytest.mark.parametrize(("shell", "layout"), [("sync", "hash")])
def test_a_service_works_on_in_a_forked_child(connect: Callable[..., Any], raw: redis.Redis, threads: Threads) -> None:
    """Also while another thread holds a lease: the child neither renews it nor waits for the parent's locks."""
    service = connect()
    service.get_with_lock("other", lambda: 1, 60)
    may_end = threading.Event()
    holder = threads.start(service.get_with_lock, KEY, lambda: may_end.wait(20), 60)
    until(lambda: raw.exists(LEASE))

    child = os.fork()
    if child == 0:
        is_right = (
            service.get_with_lock("other", lambda: 2, 60) == 1 and service.get_with_lock("own", lambda: 3, 60) == 3
        )
        os._exit(0 if is_right else 1)
    _, status = os.waitpid(child, 0)
    may_end.set()

    assert os.waitstatus_to_exitcode(status) == 0
    assert holder.result() is True
    assert service.get_with_lock("own", lambda: 4, 60) == 3


def test_an_asyncio_service_works_in_forked_children(app_url: str, place: str, raw: redis.Redis) -> None:
    """As under a server that forks its workers after the application was loaded, and used."""
    service = cache.AsyncCacheService.from_url(app_url, cluster=place == "cluster")

    async def value() -> Any:
        try:
            return await service.get_with_lock(KEY, _one, 60)
        finally:
            await service.close()

    assert asyncio.run(value()) == 1
    child = os.fork()
    if child == 0:
        os._exit(0 if asyncio.run(value()) == 1 else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert asyncio.run(value()) == 1


def test_an_asyncio_service_that_another_event_loop_used_may_be_closed(
    app_url: str, place: str, raw: redis.Redis
) -> None:
    """In a process of its own: nobody closes the sockets of an event loop that has ended."""
    program = f"""
import asyncio, cache
service = cache.AsyncCacheService.from_url({app_url!r}, cluster={place == "cluster"})
asyncio.run(service.end_session(1))
asyncio.run(service.close())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_each_event_loop_of_an_asyncio_service_keeps_its_connections(
    app_url: str, place: str, raw: redis.Redis
) -> None:
    """As under WSGI, where each thread runs a loop of its own."""
    service = cache.AsyncCacheService.from_url(app_url, cluster=place == "cluster")
    with asyncio.Runner() as first, asyncio.Runner() as second:
        for runner in (first, second):
            assert runner.run(service.start_session(1, "Ada"))
        connected = raw.info("stats")["total_connections_received"]
        for runner in (first, second, first):
            assert runner.run(service.get_session(1)) == "Ada"
        assert raw.info("stats")["total_connections_received"] == connected
        for runner in (first, second):
            runner.run(service.close())


async def _one() -> int:
    return 1
