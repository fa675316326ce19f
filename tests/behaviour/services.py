"""Both services behind one face, so that one suite tests them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from typing import TYPE_CHECKING, Any

import redis

import cache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SHELLS = ("sync", "async")
LAYOUTS = ("hash", "keys")
PLACES = ("standalone", "cluster")


class Awaited:
    """An AsyncCacheService as its sync twin: an event loop in a thread, and a task for each thread that calls.

    Callbacks run in other threads, so that they may wait for each other.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._service = cache.AsyncCacheService.from_url(url, **options)
        self._calls = threading.local()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._service, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            arguments = tuple(_awaitable(argument) for argument in arguments)
            options = {key: _awaitable(value) for key, value in options.items()}
            return self._call(attribute(*arguments, **options))

        return call

    def close(self) -> None:
        self._call(self._service.close())
        asyncio.run_coroutine_threadsafe(_end_all_tasks(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if not hasattr(self._calls, "queue"):
            self._calls.queue = asyncio.Queue()
            asyncio.run_coroutine_threadsafe(_carry_out(self._calls.queue), self._loop)
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(self._calls.queue.put_nowait, (coroutine, answer))
        return answer.result(60)


async def _carry_out(calls: asyncio.Queue[tuple[Coroutine[Any, Any, Any], concurrent.futures.Future[Any]]]) -> None:
    while True:
        coroutine, answer = await calls.get()
        try:
            answer.set_result(await coroutine)
        except Exception as error:  # noqa: BLE001 - the caller's
            answer.set_exception(error)


async def _end_all_tasks() -> None:
    """As asyncio.run does: a call that is under way may take several turns of the loop to end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _awaitable(argument: Any) -> Any:
    if not callable(argument):
        return argument

    async def call(*arguments: Any) -> Any:
        return await asyncio.to_thread(argument, *arguments)

    return call


class SlowCompute:
    """A compute that goes on until `may_end` is set. It gives `result`, or raises it."""

    def __init__(self, result: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.may_end = threading.Event()
        self._result = result
        self._has_begun = threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        self._has_begun.set()
        self.may_end.wait(20)
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def wait_until_begun(self) -> None:
        assert self._has_begun.wait(10)


def make_service(shell: str, url: str, **options: Any) -> Any:
    """A service of this shell; both have the sync face."""
    return cache.CacheService.from_url(url, **options) if shell == "sync" else Awaited(url, **options)


class ClusterClient:
    """A plain client of a cluster that asks all nodes where `redis.Redis` would ask its one server."""

    def __init__(self, port: int) -> None:
        self._client: Any = redis.RedisCluster("127.0.0.1", port)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def info(self, section: str) -> dict[str, Any]:
        """The sums of all nodes."""
        total: dict[str, Any] = {}
        for info in self._client.info(section, target_nodes="primaries").values():
            for name, value in info.items():
                if isinstance(value, dict):
                    known = total.setdefault(name, dict.fromkeys(value, 0))
                    total[name] = {each: known[each] + value[each] for each in value}
                else:
                    total[name] = total.get(name, 0) + value if isinstance(value, int) else value
        return total

    def config_resetstat(self) -> None:
        self._client.config_resetstat(target_nodes="primaries")

    def acl_setuser(self, username: str, **options: Any) -> None:
        self._client.acl_setuser(username, target_nodes="primaries", **options)

    def keys(self, pattern: str = "*") -> list[bytes]:
        return list(self._client.keys(pattern, target_nodes="primaries"))


class Threads:
    """Calls at the same time: each returns a handle whose `result()` is what the call returned or raised."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def start(self, function: Callable[..., Any], *arguments: Any) -> Started:
        started = Started()
        thread = threading.Thread(target=started.carry_out, args=(function, arguments), daemon=True)
        self._threads.append(thread)
        thread.start()
        return started


class Started:
    def __init__(self) -> None:
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def carry_out(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            self._value = function(*arguments)
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._error = error
        self._done.set()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def result(self, timeout_s: float = 30) -> Any:
        assert self._done.wait(timeout_s), "the call did not end"
        if self._error is not None:
            raise self._error
        return self._value
