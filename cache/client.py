"""What both services are made of: the parts that they share, and what a fork does to them."""

from __future__ import annotations

import os
import random
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis
import redis.asyncio

from cache.breaker import Breaker
from cache.clock import SystemClock
from cache.flows import PATIENCE_S, Flows
from cache.keeper import Keeper
from cache.link import MAX_CONNECTIONS, Link, connection_options
from cache.near import Near, checked_types
from cache.pending import Pending
from cache.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from cache.catalog import Catalog
    from cache.clock import Clock

# Leases are renewed and watched by threads, in asyncio too.
_FOR_THREADS: Final[dict[Any, Any]] = {
    redis.asyncio.SSLConnection: redis.SSLConnection,  # before its base class
    redis.asyncio.Connection: redis.Connection,
    redis.asyncio.UnixDomainSocketConnection: redis.UnixDomainSocketConnection,
}


def no_compute(*_: object) -> Any:
    raise AssertionError("a flow without a compute asked for one")


class Parts:
    """The core of one service and what is around it. Works on in a forked child, with connections of its own."""

    def __init__(
        self,
        client: Any,
        *,
        layout: str,
        catalog: Catalog,
        clock: Clock | None,
        on_pending: Callable[[int], None] | None,
        jitter: Callable[[], float] | None,
        patience_s: float | None,
        max_connections: int | None,
        near: Iterable[str],
        near_entries: int,
        caller: Callable[[], Hashable],
    ) -> None:
        pool = client.connection_pool
        self.options = connection_options(pool)
        self.connection_class = pool.connection_class
        self.max_connections = max_connections or min(pool.max_connections, MAX_CONNECTIONS)
        self.clock = clock or SystemClock()
        self.stats = Stats()
        self.breaker = Breaker()
        self._on_pending = on_pending
        self.pending = Pending(self.clock, self._pending_changed, self._primary_may_have_changed)
        connection_class = _for_threads(pool.connection_class)
        self.near = self._near(near, near_entries, partial(connection_class, **{**self.options, "protocol": 3}))
        self.link = Link(
            connection_class,
            self.options,
            breaker=self.breaker,
            pending=self.pending,
            max_connections=self.max_connections,
        )
        self.keeper = Keeper(self.link, self.pending, self.stats)
        self.flows = Flows(
            catalog=catalog,
            layout=layout,
            clock=self.clock,
            counts=self.stats,
            leases=self.keeper,
            pending=self.pending,
            caller=caller,
            jitter=jitter or random.random,
            patience_s=PATIENCE_S if patience_s is None else patience_s,
            near=self.near,
        )
        _alive.add(self)

    def _near(self, cache_types: Iterable[str], entries: int, connect: Callable[[], Any]) -> Near | None:
        if type(entries) is not int or entries < 1:
            raise ValueError(f"near_entries is {entries!r}; it must be a whole number, at least 1.")
        names = checked_types(cache_types)
        return Near(names, entries, connect=connect, counts=self.stats) if names else None

    def close(self) -> None:
        if self.near is not None:
            self.near.close()
        self.keeper.close()
        self.link.close()

    def after_fork(self) -> None:
        self.stats.reset_lock()
        self.pending.reset_lock()
        self.flows.fences.reset_lock()
        self.breaker.reset()
        self.link.reset()
        self.keeper.reset()
        if self.near is not None:
            self.near.reset()

    def _pending_changed(self, count: int) -> None:
        self.keeper.pending_changed()
        if self._on_pending is not None:
            self._on_pending(count)

    def _primary_may_have_changed(self) -> None:
        if self.near is not None:
            self.near.doubt()


def _for_threads(connection_class: type) -> Any:
    for asynchronous, threaded in _FOR_THREADS.items():
        if issubclass(connection_class, asynchronous):
            return threaded
    return connection_class


def _after_fork() -> None:
    for parts in list(_alive):
        parts.after_fork()


_alive: weakref.WeakSet[Parts] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)
