"""True counts: every lookup is one hit or one miss of its cache type, whatever the layout or the batch.

Two readers: `Stats` counts for a service, and `counted_request` for the request that the lookups were made in.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ABSENT: Final = "absent"
INVALIDATED: Final = "invalidated"
UNDECODABLE: Final = "undecodable"
UNAVAILABLE: Final = "unavailable"
MISS_REASONS: Final = (ABSENT, INVALIDATED, UNDECODABLE, UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Counts:
    """What one cache type has seen. `misses` by reason; `near_hits` are those of the hits that asked no server.

    `computes` are values that the caller's function gave, `compute_s` the seconds that it took, `errors` the calls of
    it that raised. `waits` are lookups that waited for another caller's compute. `refused_writes` are late ones,
    rightly not stored; `dropped_writes` are values that the server was asked to store and did not.
    """

    hits: int = 0
    misses: Mapping[str, int] = field(default_factory=dict)
    computes: int = 0
    refused_writes: int = 0
    compute_s: float = 0.0
    errors: int = 0
    waits: int = 0
    dropped_writes: int = 0
    near_hits: int = 0

    @property
    def lookups(self) -> int:
        return self.hits + sum(self.misses.values())

    @property
    def hit_rate(self) -> float | None:
        """Hits / lookups, a fraction of 1; None without lookups."""
        return self.hits / self.lookups if self.lookups else None


class _Tally:
    __slots__ = (
        *("compute_s", "computes", "dropped_writes", "errors"),
        *("hits", "misses", "near_hits", "refused_writes", "waits"),
    )

    def __init__(self) -> None:
        self.hits = self.computes = self.refused_writes = self.errors = self.waits = self.dropped_writes = 0
        self.near_hits = 0
        self.compute_s = 0.0
        self.misses = dict.fromkeys(MISS_REASONS, 0)


class RequestCounts:
    """The lookups of one request, of all cache types together."""

    __slots__ = ("hits", "misses")

    def __init__(self) -> None:
        self.hits = self.misses = 0


_request: ContextVar[RequestCounts | None] = ContextVar("cache_request", default=None)


@contextmanager
def counted_request() -> Iterator[RequestCounts]:
    """Counts the lookups made inside, by whichever service: in this context, and in threads and tasks that copy it."""
    counts = RequestCounts()
    token = _request.set(counts)
    try:
        yield counts
    finally:
        _request.reset(token)


class Stats:
    """Counts by cache type, and the server lookups that the library caused. Safe to share between threads.

    `monotonic` is what computes are timed with, and how long others wait for them.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._tallies: dict[str, _Tally] = {}
        self._data_reads = self._bookkeeping_reads = 0
        self.reset_lock()

    def reset_lock(self) -> None:
        """After a fork, when another thread may have held it."""
        self._lock = threading.Lock()

    def lookup(
        self,
        cache_type: str,
        *,
        hits: int = 0,
        misses: Mapping[str, int] | None = None,
        data_reads: int = 0,
        bookkeeping_reads: int = 0,
    ) -> None:
        """One operation's outcome, and the keys that the server was asked for."""
        request = _request.get()
        with self._lock:
            if request is not None:
                request.hits += hits
                request.misses += sum(misses.values()) if misses else 0
            tally = self._tally(cache_type)
            tally.hits += hits
            if misses:
                for reason, count in misses.items():
                    tally.misses[reason] += count
            self._data_reads += data_reads
            self._bookkeeping_reads += bookkeeping_reads

    def near_hits(self, cache_type: str, count: int) -> None:
        """Lookups that the near cache answered."""
        request = _request.get()
        with self._lock:
            if request is not None:
                request.hits += count
            tally = self._tally(cache_type)
            tally.hits += count
            tally.near_hits += count

    def computed(self, cache_type: str, count: int, took_s: float) -> None:
        with self._lock:
            tally = self._tally(cache_type)
            tally.computes += count
            tally.compute_s += took_s

    def failed(self, cache_type: str) -> None:
        """The caller's function raised."""
        with self._lock:
            self._tally(cache_type).errors += 1

    def waited(self, cache_type: str, count: int) -> None:
        with self._lock:
            self._tally(cache_type).waits += count

    def dropped(self, cache_type: str, count: int) -> None:
        with self._lock:
            self._tally(cache_type).dropped_writes += count

    def refused(self, cache_type: str, count: int) -> None:
        with self._lock:
            self._tally(cache_type).refused_writes += count

    def bookkept(self, reads: int) -> None:
        """Keys read besides lookups."""
        with self._lock:
            self._bookkeeping_reads += reads

    def not_read(self, *, data: int, bookkeeping: int) -> None:
        """Keys that a lookup counted, and that were read for another one as well."""
        with self._lock:
            self._data_reads -= data
            self._bookkeeping_reads -= bookkeeping

    def counts(self, cache_type: str) -> Counts:
        """Zeros for a type that was not counted so far."""
        with self._lock:
            tally = self._tallies.get(cache_type) or _Tally()  # a misspelt name is not to be reported from now on
            return Counts(
                tally.hits,
                dict(tally.misses),
                tally.computes,
                tally.refused_writes,
                tally.compute_s,
                tally.errors,
                tally.waits,
                tally.dropped_writes,
                tally.near_hits,
            )

    def names(self) -> tuple[str, ...]:
        """The cache types that were counted so far."""
        with self._lock:
            return tuple(self._tallies)

    @property
    def data_reads(self) -> int:
        """Keys that the server was asked for values of lookups (a list in one hash is one key)."""
        return self._data_reads

    @property
    def bookkeeping_reads(self) -> int:
        """Keys that the server was asked for besides: generations, leases, warming's stamps.

        The server's `keyspace_hits + keyspace_misses` grow by exactly `data_reads + bookkeeping_reads`.
        """
        return self._bookkeeping_reads

    def _tally(self, cache_type: str) -> _Tally:
        tally = self._tallies.get(cache_type)
        if tally is None:
            tally = self._tallies[cache_type] = _Tally()
        return tally
