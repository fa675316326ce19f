"""Connections that are made off the request's path and handed out by deadline. Threads only; asyncio has its own."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ConnectionError as RedisConnectionError

from cache.replies import TROUBLE, NoConnectionError
from cache.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

# A connection idle for longer is looked at before it is used: the server may have closed it.
LOOK_AFTER_S: Final = 1.0
# ElastiCache cuts a connection 12 hours after its last authentication by IAM. They are replaced between 10 and 11
# hours of age, not all in the same minute.
LIFE_S: Final = (10 * 3600, 11 * 3600)
# A crowd of callers is served sooner by the few connections there are, each for a millisecond, than by connecting once
# for each of them: a handshake is five round trips.
CONNECT_AT_ONCE: Final = 2


class Pool:
    """At most `size` connections, which `make` gives unconnected. Whoever needs one waits for it, within a limit.

    Connecting happens in a thread of its own, under the connection's own limit: a caller whose time is over goes on
    without, and the connection is there for the next.
    """

    def __init__(self, make: Callable[[], Any], size: int, is_safe_to_reconnect: Callable[[], bool]) -> None:
        self._make = make
        self._size = size
        self._is_safe_to_reconnect = is_safe_to_reconnect
        self._idle: deque[tuple[Wire, float]] = deque()
        self.reset()

    def reset(self) -> None:
        """Forgets all connections; after a fork they are the parent's."""
        # Entered as it is: a Condition's own entering, which is Python, keeps it for ever if a signal's handler raises.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting = self._connecting = self._alive = self._epoch = self._failures = 0
        self._error: Exception | None = None
        self._drop_idle()

    def take(self, timeout_s: float) -> Wire:
        """Raises what connecting raised, or NoConnectionError."""
        while True:
            try:
                wire, since = self._idle.pop()
            except IndexError:
                return self._wait(timeout_s)
            now = time.monotonic()
            if now > wire.replace_at:
                self.drop(wire)
                continue
            if now - since < LOOK_AFTER_S or wire.is_usable():
                return wire
            self.drop(wire)
            if not self._is_safe_to_reconnect():
                raise RedisConnectionError("the server has closed the connection")

    def give(self, wire: Wire) -> None:
        if wire.epoch != self._epoch:
            self.drop(wire)
            return
        self._idle.append((wire, time.monotonic()))
        if self._waiting:
            with self._lock:
                self._changed.notify()

    def drop(self, wire: Wire) -> None:
        """Closes one that must not be used again."""
        wire.close()
        with self._lock:
            if wire.epoch == self._epoch:
                self._alive -= 1
            self._changed.notify()

    def failed(self) -> None:
        """No connection is to be used again."""
        self.clear()

    def clear(self) -> None:
        """Closes the idle ones, and each other one when it comes back."""
        with self._lock:
            self._epoch += 1
            self._alive = 0
            self._changed.notify_all()  # who waits for a connection of before needs another
        self._drop_idle()

    def _drop_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop()[0].close()

    def _wait(self, timeout_s: float) -> Wire:
        give_up_at = time.monotonic() + timeout_s
        with self._lock:
            failures = self._failures
            self._waiting += 1
            try:
                while True:
                    with suppress(IndexError):
                        return self._idle.pop()[0]
                    if self._failures != failures:
                        assert self._error is not None
                        raise self._error
                    if self._alive < self._size and self._connecting < min(self._waiting, CONNECT_AT_ONCE):
                        self._connect_one()
                    left_s = give_up_at - time.monotonic()
                    if left_s <= 0 or not self._changed.wait(left_s):
                        raise NoConnectionError
            finally:
                self._waiting -= 1

    def _connect_one(self) -> None:
        thread = threading.Thread(target=self._connect, args=(self._epoch,), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more threads for this process
            raise RedisConnectionError(str(error)) from error
        finally:
            if thread in threading.enumerate():  # also where a signal's handler has raised while it started
                self._alive += 1
                self._connecting += 1

    def _connect(self, epoch: int) -> None:
        try:
            wire = Wire(self._make(), epoch=epoch, replace_at=time.monotonic() + random.uniform(*LIFE_S))
        except Exception as error:  # noqa: BLE001 - a credential provider may raise anything
            with self._lock:
                self._connecting -= 1
                if epoch == self._epoch:  # else one of after the failure is to be made for those who wait
                    self._alive -= 1
                    self._failures += 1
                    self._error = error if isinstance(error, TROUBLE) else RedisConnectionError(repr(error))
                self._changed.notify_all()
            return
        with self._lock:
            self._connecting -= 1
            self._changed.notify_all()
            if epoch == self._epoch:
                self._idle.append((wire, time.monotonic()))
                return
        wire.close()
