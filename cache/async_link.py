"""The way to the server for asyncio: as `link`, awaited."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from cache.async_wire import AsyncWire
from cache.gate import Gate
from cache.link import CONNECT_TIMEOUT_S, DEADLINE_S
from cache.pool import CONNECT_AT_ONCE, LIFE_S
from cache.replies import TROUBLE, ClosedError, NoConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cache.breaker import Breaker
    from cache.commands import Command, Reply, Unavailable
    from cache.gate import Operation
    from cache.pending import Pending

T = TypeVar("T")

# A timer this late says that the loop was computing: the reply may have come in the meantime.
_LOOP_WAS_BUSY_S: Final = 0.02


class PerLoop(Generic[T]):
    """One of something for each event loop, whichever threads run them. Those of closed loops go when another comes."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._by_loop: dict[asyncio.AbstractEventLoop, T] = {}

    def here(self) -> T:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            for other in list(self._by_loop):
                if other.is_closed():
                    self._by_loop.pop(other, None)
            found = self._by_loop[loop] = self._make()
        return found

    def everywhere(self) -> list[T]:
        return list(self._by_loop.values())


class Deadline:
    """As asyncio.timeout, but where the event loop was busy elsewhere the server has the time once more.

    Only once: a loop that is always busy would wait for a frozen server without end.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._may_extend = True
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._start()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._timer.cancel()
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError:
            raise TimeoutError("no reply in time") from None  # asyncio's own has no words for the log

    @property
    def spent_s(self) -> float:
        return self._loop.time() - self._began

    def _start(self) -> None:
        self._began = self._loop.time()
        due = self._began + self._timeout_s
        self._timer = self._loop.call_at(due, self._check, due)

    def _check(self, due: float) -> None:
        now = self._loop.time()
        if self._may_extend and now - due > _LOOP_WAS_BUSY_S:
            self._may_extend = False
            self._start()
        else:
            self._timeout.reschedule(now)


class AsyncPool:
    """As `Pool`, with a task of its own for each connection that is made. For one event loop."""

    def __init__(self, make: Callable[[], Any], size: int, is_safe_to_reconnect: Callable[[], bool]) -> None:
        self._make = make
        self._size = size
        self._is_safe_to_reconnect = is_safe_to_reconnect
        self._idle: deque[AsyncWire] = deque()
        self._waiting: deque[asyncio.Future[AsyncWire]] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._alive = self._epoch = 0
        self.has_failed = False

    def failed(self) -> None:
        """No connection is to be used again: whoever finds `has_failed` set clears."""
        self.has_failed = True

    async def take(self) -> AsyncWire:
        """Raises what connecting raised."""
        while self._idle:
            wire = self._idle.pop()
            if time.monotonic() > wire.replace_at:
                await self.drop(wire)
                continue
            if wire.is_usable():
                return wire
            await self.drop(wire)
            if not self._is_safe_to_reconnect():
                raise RedisConnectionError("the server has closed the connection")
        return await self._wait()

    def give(self, wire: AsyncWire) -> None:
        """It must be of the present epoch; others are dropped."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(wire)
                return
        self._idle.append(wire)

    def is_current(self, wire: AsyncWire) -> bool:
        return wire.epoch == self._epoch

    async def drop(self, wire: AsyncWire) -> None:
        """Closes one that must not be used again."""
        if self.is_current(wire):
            self._alive -= 1
        await wire.close()
        if self._waiting:
            self._connect_one()

    async def clear(self) -> None:
        """Closes the idle ones, and each other one when it comes back."""
        self.has_failed = False
        self._epoch += 1
        self._alive = 0
        idle, self._idle = self._idle, deque()
        for wire in idle:
            await wire.close()
        if self._waiting:
            self._connect_one()

    async def close(self) -> None:
        """Waits for what is being connected, at most as long as that may take, and ends it too."""
        self._refuse_waiting(ClosedError("the service was closed"))
        await self.clear()
        await asyncio.gather(*self._connecting)

    async def _wait(self) -> AsyncWire:
        waiter: asyncio.Future[AsyncWire] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._connect_one()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None:
                self.give(waiter.result())  # it came at the very moment that the caller left
            raise

    def _refuse_waiting(self, reason: Exception) -> None:
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(reason)

    def _connect_one(self) -> None:
        if self._alive < self._size and len(self._connecting) < CONNECT_AT_ONCE:
            self._alive += 1
            task = asyncio.get_running_loop().create_task(self._connect(self._epoch))
            self._connecting.add(task)
            task.add_done_callback(self._has_connected)

    def _has_connected(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        if self._waiting:
            self._connect_one()

    async def _connect(self, epoch: int) -> None:
        wire = None
        try:
            wire = AsyncWire(self._make(), epoch=epoch, replace_at=time.monotonic() + random.uniform(*LIFE_S))
            async with Deadline(CONNECT_TIMEOUT_S):
                await wire.connect()
        except BaseException as error:
            if epoch == self._epoch:
                self._alive -= 1
            if wire is not None:
                await wire.close()
            if not isinstance(error, Exception):
                raise
            if epoch == self._epoch:  # else one of after the failure is on its way for those who wait
                self._refuse_waiting(error if isinstance(error, TROUBLE) else RedisConnectionError(repr(error)))
            return
        if epoch == self._epoch:
            self.give(wire)
            return
        await wire.close()


class AsyncLink:
    """Sends commands to one server. Each event loop has connections of its own."""

    def __init__(
        self,
        connection_class: Callable[..., Any],
        options: Mapping[str, Any],
        *,
        breaker: Breaker,
        pending: Pending,
        max_connections: int,
    ) -> None:
        self._gate = Gate(breaker, pending, on_failure=self._failed)
        make = partial(connection_class, **own_deadlines(options))
        self._pool = PerLoop(partial(AsyncPool, make, max_connections, self._gate.is_safe_to_reconnect))

    async def close(self) -> None:
        """Those of this event loop; those of another one end with it."""
        await self._pool.here().close()

    async def send(self, batch: Sequence[Command], operation: Operation) -> list[Reply] | Unavailable:
        """The replies, within what is left of the operation's deadline."""
        pool = self._pool.here()
        sending = self._gate.sending(batch, operation)
        try:
            asked = next(sending)
            while True:
                try:
                    answers = await _exchange(pool, asked, operation)
                except BaseException as error:  # noqa: BLE001 - the gate decides what it means
                    asked = sending.throw(error)
                else:
                    asked = sending.send(answers)
        except StopIteration as done:
            answer: list[Reply] | Unavailable = done.value
            return answer
        finally:
            if pool.has_failed:
                await pool.clear()

    def _failed(self) -> None:
        for pool in self._pool.everywhere():
            pool.failed()


async def _exchange(pool: AsyncPool, batch: Sequence[Command], operation: Operation) -> list[Reply]:
    wire = None
    try:
        async with Deadline(max(DEADLINE_S - operation.spent_s, 0.001)) as deadline:
            wire = await pool.take()
            try:
                wire.send(batch)
                answers = await wire.receive()
            except BaseException:
                await pool.drop(wire)
                raise
            operation.spent_s += deadline.spent_s
    except TimeoutError:
        if wire is None:
            raise NoConnectionError from None
        raise
    if pool.is_current(wire):
        pool.give(wire)
    else:
        await pool.drop(wire)
    return answers


def own_deadlines(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without redis-py's deadlines: they cost a task each, and run on while the loop is busy elsewhere."""
    no_retries: Any = Retry
    return {
        **options,
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": no_retries(NoBackoff(), 0),
    }
