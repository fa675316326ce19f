"""What both services are made of: the parts that they share, and what a fork does to them."""

from __future__ import annotations

import os
import random
import re
import weakref
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.exceptions import RedisError

from cache.async_cluster_link import AsyncClusterLink
from cache.async_link import AsyncLink
from cache.breaker import Breaker
from cache.clock import SystemClock
from cache.cluster import Shards
from cache.cluster_link import ClusterLink
from cache.flows import PATIENCE_S, Flows
from cache.keeper import Keeper
from cache.link import MAX_CONNECTIONS, Link, connection_options
from cache.near import Near, checked_types
from cache.pending import Pending
from cache.shared_reads import SharedReads
from cache.slots import slot_of
from cache.stats import Stats
from cache.tracking import ClusterTracking, Tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from cache.catalog import Catalog
    from cache.clock import Clock
    from cache.slots import Address

# Leases are renewed and watched by threads, in asyncio too.
_FOR_THREADS: Final[dict[Any, Any]] = {
    redis.asyncio.SSLConnection: redis.SSLConnection,  # before its base class
    redis.asyncio.Connection: redis.Connection,
    redis.asyncio.UnixDomainSocketConnection: redis.UnixDomainSocketConnection,
}

_DATABASE: Final = re.compile(r"/*[0-9]*/*")

Client: TypeAlias = redis.Redis | redis.RedisCluster
AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster


@dataclass(frozen=True, slots=True)
class Target:
    """Where and as whom to connect. `seeds` are addresses of a cluster, from which the others are found."""

    connection_class: Any
    options: dict[str, Any] = field(repr=False)  # the password is one of them
    max_connections: int
    seeds: tuple[Address, ...] = ()
    remap: Callable[[Address], Address] | None = None

    @classmethod
    def of(cls, client: Client | AsyncClient, *, cluster: bool) -> Target:
        """What a redis-py client says. Raises ValueError for a `cluster` that no cluster can be."""
        if isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster):
            return cls._of_cluster(client)
        pool = client.connection_pool
        options = connection_options(pool.connection_kwargs)
        seeds = (_seed(options),) if cluster else ()
        return cls(pool.connection_class, options, pool.max_connections, seeds)

    @classmethod
    def _of_cluster(cls, client: Any) -> Target:
        if isinstance(client, redis.asyncio.RedisCluster):
            node = client.startup_nodes[0]
        else:
            node = client.get_default_node().redis_connection.connection_pool
        options = connection_options(node.connection_kwargs)
        options.pop("redis_connect_func", None)  # asks for reading from replicas, which the library never does
        seeds = tuple((each.host, int(each.port)) for each in client.startup_nodes)
        return cls(node.connection_class, options, node.max_connections, seeds, client.nodes_manager.address_remap)


def _seed(options: Mapping[str, Any]) -> Address:
    if "path" in options:
        raise ValueError(f"cluster=True with unix socket {options['path']!r}; a cluster is reached by host and port.")
    if options.get("db"):
        raise ValueError(f"cluster=True with database {options['db']!r}; a cluster has database 0 only.")
    return options.get("host", "localhost"), int(options.get("port", 6379))


def checked_url(url: str) -> str:
    """`url`. Raises ValueError for one that is cut in two by a password in it, which the message does not show.

    redis-py would name a piece of the password, or take another host and database 0.
    """
    if not isinstance(url, str):
        raise TypeError(f"url is a {type(url).__name__}; it must be a str such as 'redis://host:6379'.")
    if url.startswith(("redis://", "rediss://")):
        try:
            parts = urlsplit(url)
            is_named = all("=" in option for option in parts.query.split("&") if option)
            is_whole = _DATABASE.fullmatch(parts.path) and is_named and not parts.fragment and parts.port != 0
        except ValueError:
            is_whole = False
        if not is_whole:
            raise ValueError(
                "the URL cannot be read; it must look like redis://user:password@host:6379/0, the database a number, "
                "and / ? # % @ [ ] in a password written as %2F %3F %23 %25 %40 %5B %5D."
            )
    return url


def _check_options(connection_class: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raises ValueError where no connection could ever be made: it would be taken for a server that is away."""
    try:
        connection_class(**options)
    except (TypeError, RedisError) as error:
        raise ValueError(
            f"The client's options make no connection: {error}. Name the server by a URL or a plain client, with "
            "options that redis-py knows; a Sentinel's client serves threads only."
        ) from None


def _checked_count(name: str, count: int) -> int:
    if type(count) is not int or count < 1:
        raise ValueError(f"{name} is {count!r}; it must be a whole number, at least 1.")
    return count


def _checked_patience(patience_s: float | None) -> float:
    if patience_s is None:
        return PATIENCE_S
    if type(patience_s) not in (int, float) or not patience_s >= 0:
        raise ValueError(f"patience_s is {patience_s!r}; it must be a number of seconds, at least 0.")
    return patience_s


def no_compute(*_: object) -> Any:
    raise AssertionError("a flow without a compute asked for one")


class Parts:
    """The core of one service and what is around it. Works on in a forked child, with connections of its own."""

    def __init__(
        self,
        client: Client | AsyncClient,
        *,
        cluster: bool,
        layout: str,
        job_invalidation: str,
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
        target = self._target = Target.of(client, cluster=cluster)
        if max_connections is None:
            max_connections = min(target.max_connections, MAX_CONNECTIONS)
        self.max_connections = _checked_count("max_connections", max_connections)
        self.clock = clock or SystemClock()
        self.stats = Stats()
        self._on_pending = on_pending
        self._breaker = Breaker()
        self._shards: Shards | None = None
        self.link: Link | ClusterLink
        connection_class = _for_threads(target.connection_class)
        _check_options(connection_class, target.options)
        # Tracked keys are named in RESP3 only.
        tracked = partial(connection_class, **{**target.options, "protocol": 3})
        if target.seeds:
            self.pending = Pending(self.clock, self._pending_changed, self._primary_may_have_changed, part_of=slot_of)
            shards = self._shards = Shards(target.seeds, self.pending, remap=target.remap)
            self.link = ClusterLink(
                connection_class, target.options, shards=self._shards, max_connections=self.max_connections
            )
            self.near = self._near(near, near_entries, partial(ClusterTracking, lambda: shards.nodes, tracked))
        else:
            self.pending = Pending(self.clock, self._pending_changed, self._primary_may_have_changed)
            self.link = Link(
                connection_class,
                target.options,
                breaker=self._breaker,
                pending=self.pending,
                max_connections=self.max_connections,
            )
            self.near = self._near(near, near_entries, partial(Tracking, tracked))
        self.reads = SharedReads(self.link, self.stats)
        self.keeper = Keeper(self.link, self.pending, self.stats)
        self.flows = Flows(
            catalog=catalog,
            layout=layout,
            job_invalidation=job_invalidation,
            clock=self.clock,
            counts=self.stats,
            leases=self.keeper,
            pending=self.pending,
            caller=caller,
            jitter=jitter or random.random,
            patience_s=_checked_patience(patience_s),
            near=self.near,
        )
        _alive.add(self)

    def async_link(self) -> AsyncLink | AsyncClusterLink:
        """Another link to the same server or cluster, for asyncio."""
        target = self._target
        if self._shards is not None:
            return AsyncClusterLink(
                target.connection_class, target.options, shards=self._shards, max_connections=self.max_connections
            )
        return AsyncLink(
            target.connection_class,
            target.options,
            breaker=self._breaker,
            pending=self.pending,
            max_connections=self.max_connections,
        )

    def _near(
        self, cache_types: Iterable[str], entries: int, track: Callable[..., Tracking | ClusterTracking]
    ) -> Near | None:
        names = checked_types(cache_types)
        entries = _checked_count("near_entries", entries)
        return Near(names, entries, track=track, counts=self.stats) if names else None

    def close(self) -> None:
        if self.near is not None:
            self.near.close()
        self.keeper.close()
        self.link.close()

    def after_fork(self) -> None:
        self.stats.reset_lock()
        self.pending.after_fork()
        self.flows.fences.reset_lock()
        self._breaker.reset()
        self.link.reset()
        self.reads.reset()
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
