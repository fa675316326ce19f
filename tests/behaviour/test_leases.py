"""One compute, however many callers, and nobody waits for the dead."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import cache
from cache.flows import LEASE_MS
from cache.testing import MovableClock
from tests.behaviour.services import SlowCompute
from tests.servers import calls, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import redis

    from tests.behaviour.services import Started, Threads

CALLERS = 20
LEASE = "lock:{report:7}"
KEY = "report:7"
GONE = -2  # as PTTL has it
LONGEST_PAUSE_S = 0.05  # between two looks at a lease
# Single values lie alike in both layouts.
_OF_ONE_LAYOUT = pytest.mark.parametrize("layout", ["hash"])


def test_callers_of_two_services_share_one_compute(connect: Callable[..., Any], threads: Threads) -> None:
    services = [connect(), connect()]
    compute = SlowCompute("value")
    first = threads.start(services[0].get_with_lock, KEY, compute, 60)
    compute.wait_until_begun()
    others = [threads.start(services[i % 2].get_with_lock, KEY, compute, 60) for i in range(CALLERS)]
    compute.may_end.set()

    assert {caller.result() for caller in [first, *others]} == {"value"}
    assert len(compute.calls) == 1


@_OF_ONE_LAYOUT
def test_a_slow_holder_keeps_its_lease(connect: Callable[..., Any], raw: redis.Redis, threads: Threads) -> None:
    service = connect()
    may_end = threading.Event()

    def compute() -> str:
        may_end.wait(20)
        return "value"

    holder = threads.start(service.get_with_lock, KEY, compute, 60)
    until(lambda: raw.exists(LEASE))
    token = raw.get(LEASE)
    ends_at = time.monotonic() + 2 * LEASE_MS / 1000
    while time.monotonic() < ends_at:
        assert raw.get(LEASE) == token
        time.sleep(0.01)
    may_end.set()

    assert holder.result() == "value"
    assert service.stats.counts("generic").refused_writes == 0


@_OF_ONE_LAYOUT
@pytest.mark.parametrize("shell", ["sync"])
def test_a_service_that_is_closed_elsewhere_keeps_the_leases_of_those_at_work(
    service: Any, raw: redis.Redis, threads: Threads
) -> None:
    """As one event loop closes it at its end, while others go on."""
    compute = SlowCompute("value")
    holder = threads.start(service.get_with_lock, KEY, compute, 60)
    compute.wait_until_begun()
    service.close()

    until(lambda: raw.pttl(LEASE) < LEASE_MS * 0.9)
    until(lambda: raw.pttl(LEASE) > LEASE_MS * 0.9)
    compute.may_end.set()

    assert holder.result() == "value"


@_OF_ONE_LAYOUT
@pytest.mark.parametrize("shell", ["sync"])
def test_a_lease_that_is_taken_while_the_service_is_closed_elsewhere_is_kept(
    service: Any, raw: redis.Redis, threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, holders, join = SlowCompute("value"), [], threading.Thread.join

    def take_a_lease_first(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "cache-keeper":
            holders.append(threads.start(service.get_with_lock, KEY, compute, 60))
            compute.wait_until_begun()
        join(thread, timeout)

    service.get_with_lock("report:8", lambda: "value", 60)
    monkeypatch.setattr(threading.Thread, "join", take_a_lease_first)
    service.close()
    monkeypatch.undo()

    until(lambda: raw.pttl(LEASE) < LEASE_MS * 0.9)
    until(lambda: raw.pttl(LEASE) > LEASE_MS * 0.9)
    compute.may_end.set()

    assert [holder.result() for holder in holders] == ["value"]


@_OF_ONE_LAYOUT
@pytest.mark.parametrize("shell", ["sync"])
def test_a_lease_that_is_lost_is_renewed_no_more(service: Any, raw: redis.Redis) -> None:
    def compute() -> str:
        assert service._keeper._holds
        raw.delete(LEASE)
        until(lambda: not service._keeper._holds)
        return "value"

    assert service.get_with_lock(KEY, compute, 60) == "value"
    assert service.stats.counts("generic").refused_writes == 1


@pytest.mark.parametrize("what", ["value", "scores"])
def test_a_killed_holder_s_key_is_free_within_two_seconds(
    service: Any, raw: redis.Redis, app_url: str, place: str, layout: str, what: str
) -> None:
    call, lease = {
        "value": (f"get_with_lock({KEY!r}, hang, 60)", LEASE),
        "scores": ("match_scores(1, [2, 3], hang)", "lock:{match:1}"),
    }[what]
    program = f"""
import sys, time, cache
from tests import patient
def hang(*_):
    print("computing", flush=True)
    time.sleep(60)
patient.wait_long()
cache.CacheService.from_url({app_url!r}, layout={layout!r}, cluster={place == "cluster"}).{call}
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "computing\n"
        holder.kill()
    assert raw.pttl(lease) in (GONE, *range(2001))

    if what == "value":
        assert service.get_with_lock(KEY, lambda: "mine", 60) == "mine"
    else:
        assert service.match_scores(1, [3, 4], lambda jobs: {job: {"s": job} for job in jobs}) == {
            3: {"s": 3},
            4: {"s": 4},
        }


@_OF_ONE_LAYOUT
def test_a_holder_that_was_paused_and_lost_its_lease_is_refused(service: Any, app_url: str, place: str) -> None:
    program = f"""
import sys, cache
from tests import patient
def compute():
    print("computing", flush=True)
    sys.stdin.readline()
    return "old"
patient.wait_long()
service = cache.CacheService.from_url({app_url!r}, cluster={place == "cluster"})
print(service.get_with_lock({KEY!r}, compute, 60), service.stats.counts("generic").refused_writes, flush=True)
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], text=True, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == "computing\n"
        holder.send_signal(signal.SIGSTOP)
        assert service.get_with_lock(KEY, lambda: "new", 60) == "new"
        holder.send_signal(signal.SIGCONT)
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "old 1\n"

    assert service.get_with_lock(KEY, lambda: "newer", 60) == "new"


def test_what_a_compute_raises_reaches_its_own_caller_and_another_one_tries(service: Any, threads: Threads) -> None:
    fails = SlowCompute(LookupError("the origin is away"))
    first = threads.start(service.get_with_lock, KEY, fails, 60)
    fails.wait_until_begun()
    others = [threads.start(service.get_with_lock, KEY, lambda: "value", 60) for _ in range(5)]
    fails.may_end.set()

    with pytest.raises(LookupError):
        first.result()
    assert [other.result() for other in others] == ["value"] * 5
    assert service.stats.counts("generic").computes == 1


@pytest.fixture
def foreign_lease(raw: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has the lease, and nobody is so slow that it ends of itself."""
    monkeypatch.setattr("cache.flows.values.LEASE_MS", 60_000)
    raw.set(LEASE, "another holder", px=60_000)


@_OF_ONE_LAYOUT
@pytest.mark.usefixtures("foreign_lease")
def test_patience_ends_though_the_library_s_clock_stands_still(connect: Callable[..., Any]) -> None:
    """As a test's own clock does."""
    service = connect(patience_s=0.2, clock=MovableClock())

    assert service.get_with_lock(KEY, lambda: "own", 60) == "own"


@_OF_ONE_LAYOUT
@pytest.mark.usefixtures("foreign_lease")
def test_who_has_waited_long_enough_computes_for_itself(connect: Callable[..., Any], raw: redis.Redis) -> None:
    service = connect(patience_s=0.2)
    began = time.monotonic()

    assert service.get_with_lock(KEY, lambda: "own", 60) == "own"

    assert 0.2 <= time.monotonic() - began < 10
    assert not raw.exists(KEY)


@_OF_ONE_LAYOUT
@pytest.mark.parametrize("place", ["standalone"])
def test_who_has_waited_long_enough_for_scores_computes_them_itself(
    connect: Callable[..., Any], threads: Threads
) -> None:
    holder, waiter = connect(), connect(patience_s=0.2)
    slow = SlowCompute({1: {"score": 1}})
    computing = threads.start(holder.match_scores, 7, [1], slow)
    slow.wait_until_begun()
    asked = []

    def compute(jobs: list[int]) -> dict[int, Any]:
        asked.append(jobs)
        return {job: {"score": 2} for job in jobs}

    assert waiter.match_scores(7, [1, 2], compute) == {1: {"score": 2}, 2: {"score": 2}}

    assert asked == [[2], [1]]
    slow.may_end.set()
    assert computing.result() == {1: {"score": 1}}


@_OF_ONE_LAYOUT
@pytest.mark.parametrize("type_", ["string", "list"])
@pytest.mark.parametrize("ttl_s", [None, 3600])
def test_what_somebody_else_left_in_the_place_of_a_lease_is_replaced(
    connect: Callable[..., Any], raw: redis.Redis, type_: str, ttl_s: int | None
) -> None:
    service = connect(patience_s=0.2)
    raw.set(LEASE, "foreign") if type_ == "string" else raw.rpush(LEASE, "foreign")
    if ttl_s is not None:
        raw.expire(LEASE, ttl_s)

    for _ in range(2):
        assert service.get_with_lock(KEY, lambda: "own", 60) == "own"

    counts = service.stats.counts("generic")
    assert (counts.computes, counts.hits, counts.waits, counts.refused_writes) == (1, 1, 0, 0)


@pytest.mark.parametrize(("shell", "layout", "place"), [("sync", "hash", "standalone")])
def test_nobody_waits_for_what_has_replaced_a_lease(
    connect: Callable[..., Any], raw: redis.Redis, threads: Threads
) -> None:
    service = connect()
    compute = SlowCompute("late")
    holder = threads.start(connect().get_with_lock, KEY, compute, 60)
    compute.wait_until_begun()
    waiter = threads.start(service.get_with_lock, KEY, lambda: "own", 60)
    until(lambda: service.stats.counts("generic").waits)
    raw.set(LEASE, "foreign")

    assert waiter.result() == "own"
    compute.may_end.set()
    assert holder.result() == "late"
    assert service.get_with_lock(KEY, lambda: "newer", 60) == "own"


def waiting_for_another(service: Any, threads: Threads) -> list[Started]:
    """Twenty callers who all wait for a lease that another process holds."""
    waiters = [threads.start(service.get_with_lock, KEY, lambda: "mine", 60) for _ in range(CALLERS)]
    until(lambda: service.stats.counts("generic").waits == CALLERS)
    return waiters


@_OF_ONE_LAYOUT
@pytest.mark.usefixtures("foreign_lease")
def test_a_process_asks_for_a_foreign_lease_as_one(
    connect: Callable[..., Any], raw: redis.Redis, threads: Threads
) -> None:
    """Twenty waiters cost hardly more looks at the lease than one."""
    service = connect()
    waiters = waiting_for_another(service, threads)
    began = time.monotonic()
    raw.config_resetstat()
    time.sleep(0.5)
    until(lambda: calls(raw, "mget"))
    looks, took_s = calls(raw, "mget"), time.monotonic() - began
    raw.delete(LEASE)

    assert {waiter.result() for waiter in waiters} == {"mine"}
    assert looks < 600 + took_s / LONGEST_PAUSE_S  # one waiter: 114 in half a second; twenty, each for itself: 2,280
    assert service.stats.counts("generic").computes == 1


@_OF_ONE_LAYOUT
@pytest.mark.usefixtures("foreign_lease")
def test_the_waiters_of_a_process_get_the_value_from_the_look_that_found_it(
    connect: Callable[..., Any], raw: redis.Redis, threads: Threads
) -> None:
    service = connect()
    waiters = waiting_for_another(service, threads)
    raw.config_resetstat()
    raw.set(KEY, b'\x01"the other\'s"')
    raw.delete(LEASE)

    assert {waiter.result() for waiter in waiters} == {"the other's"}
    assert "cmdstat_get" not in raw.info("commandstats")


@_OF_ONE_LAYOUT
def test_who_comes_while_its_process_computes_asks_for_neither_value_nor_lease(
    connect: Callable[..., Any], raw: redis.Redis, threads: Threads
) -> None:
    service = connect()
    compute = SlowCompute("value")
    first = threads.start(service.get_with_lock, KEY, compute, 60)
    compute.wait_until_begun()
    raw.config_resetstat()
    late = [threads.start(service.get_with_lock, KEY, lambda: "own", 60) for _ in range(CALLERS)]
    until(lambda: service.stats.counts("generic").waits == CALLERS)
    asked = calls(raw, "get") + calls(raw, "evalsha")
    compute.may_end.set()

    assert {caller.result() for caller in [first, *late]} == {"value"}
    assert asked < CALLERS / 2  # one may find the server's answer late, and ask for himself
    assert service.stats.counts("generic").misses["absent"] == CALLERS + 1


def test_a_cancelled_task_gives_its_lease_back(app_url: str, place: str, raw: redis.Redis) -> None:
    async def scenario() -> None:
        service = cache.AsyncCacheService.from_url(app_url, cluster=place == "cluster")
        is_computing = asyncio.Event()

        async def hang(*_: Any) -> Any:
            is_computing.set()
            await asyncio.Event().wait()

        for call in (service.get_with_lock(KEY, hang, 60), service.match_scores(1, [2], hang)):
            is_computing.clear()
            task = asyncio.create_task(call)
            await is_computing.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not raw.keys("lock:*")
        await service.close()

    asyncio.run(scenario())


def test_a_task_that_is_cancelled_at_each_await_gives_its_lease_back(
    app_url: str, place: str, raw: redis.Redis
) -> None:
    """As anyio does it, and so Starlette: what cleans up is cancelled too."""

    async def scenario() -> None:
        service = cache.AsyncCacheService.from_url(app_url, cluster=place == "cluster")
        is_computing = asyncio.Event()

        async def hang(*_: Any) -> Any:
            is_computing.set()
            await asyncio.Event().wait()

        for call in (service.get_with_lock(KEY, hang, 60), service.match_scores(1, [2], hang)):
            is_computing.clear()
            async with anyio.create_task_group() as group:
                group.start_soon(_awaited, call)
                await is_computing.wait()
                for lease in raw.keys("lock:*"):
                    raw.persist(lease)  # it does not end by itself
                group.cancel_scope.cancel()
            async with asyncio.timeout(20):
                while raw.keys("lock:*"):
                    await asyncio.sleep(0.01)
        await service.close()

    asyncio.run(scenario())


def test_the_lease_of_a_task_that_its_event_loop_left_behind_is_not_renewed(
    app_url: str, place: str, raw: redis.Redis
) -> None:
    """In a process of its own: nobody closes the sockets of an event loop that has ended."""
    program = f"""
import asyncio, gc, cache
from tests import patient
patient.wait_long()
service = cache.AsyncCacheService.from_url({app_url!r}, cluster={place == "cluster"})
loop = asyncio.new_event_loop()
async def hang():
    print(len(service._keeper._holds))
    loop.stop()
    await asyncio.Event().wait()
task = loop.create_task(service.get_with_lock({KEY!r}, hang, 60))
loop.run_forever()
del task
loop.close()
gc.collect()
print(len(service._keeper._holds))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stdout == "1\n0\n"


def test_a_task_cancelled_on_its_way_leaves_a_service_that_works(app_url: str, place: str, raw: redis.Redis) -> None:
    async def scenario() -> None:
        service = cache.AsyncCacheService.from_url(app_url, cluster=place == "cluster", max_connections=2)

        async def value() -> str:
            return "value"

        for turns in range(40):
            task = asyncio.create_task(service.get_with_lock(f"{KEY}:{turns}", value, 60))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            outcome: Any = (await asyncio.gather(task, return_exceptions=True))[0]
            assert outcome == "value" or isinstance(outcome, asyncio.CancelledError)
        began = time.monotonic()
        assert await service.get_with_lock(KEY, value, 60) == "value"
        assert time.monotonic() - began < 5  # half the deadline: no connection was lost on the way
        assert not raw.keys("lock:*")
        await service.close()

    asyncio.run(scenario())


def test_an_event_loop_that_computes_without_awaiting_keeps_its_lease(
    app_url: str, place: str, raw: redis.Redis
) -> None:
    async def scenario() -> list[Any]:
        service = cache.AsyncCacheService.from_url(app_url, cluster=place == "cluster")

        await asyncio.gather(*(service.get_session(user) for user in range(10)))  # connected

        async def compute() -> str:
            computes.append(1)
            time.sleep(LEASE_MS / 1000 * 1.5)
            return "value"

        values = await asyncio.gather(*(service.get_with_lock(KEY, compute, 60) for _ in range(10)))
        await service.close()
        return values

    computes: list[int] = []

    assert asyncio.run(scenario()) == ["value"] * 10
    assert len(computes) == 1


async def _awaited(call: Awaitable[Any]) -> None:
    await call
