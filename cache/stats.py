"""True counts: every lookup is one hit or one miss of its cache type, whatever the layout or the batch."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ABSENT: Final = "absent"
INVALIDATED: Final = "invalidated"
UNDECODABLE: Final = "undecodable"
UNAVAILABLE: Final = "unavailable"
MISS_REASONS: Final = (ABSENT, INVALIDATED, UNDECODABLE, UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Counts:
    """What one cache type has seen. `misses` by reason; `refused_writes` are late ones, rightly not stored.

    `near_hits` are those of the hits that asked no server.
    """

    hits: int = 0
    misses: Mapping[str, int] = field(default_factory=dict)
    computes: int = 0
    refused_writes: int = 0
    near_hits: int = 0

    @property
    def lookups(self) -> int:
        return self.hits + sum(self.misses.values())

    @property
    def hit_rate(self) -> float | None:
        """Hits / lookups, a fraction of 1; None without lookups."""
        return self.hits / self.lookups if self.lookups else None


class _Tally:
    __slots__ = ("computes", "hits", "misses", "near_hits", "refused_writes")

    def __init__(self) -> None:
        self.hits = self.computes = self.refused_writes = self.near_hits = 0
        self.misses = dict.fromkeys(MISS_REASONS, 0)


class Stats:
    """Counts by cache type, and the server lookups that the library caused. Safe to share between threads."""

    def __init__(self) -> None:
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
        with self._lock:
            tally = self._tally(cache_type)
            tally.hits += hits
            if misses:
                for reason, count in misses.items():
                    tally.misses[reason] += count
            self._data_reads += data_reads
            self._bookkeeping_reads += bookkeeping_reads

    def near_hits(self, cache_type: str, count: int) -> None:
        """Lookups that the near cache answered."""
        with self._lock:
            tally = self._tally(cache_type)
            tally.hits += count
            tally.near_hits += count

    def computed(self, cache_type: str, count: int) -> None:
        with self._lock:
            self._tally(cache_type).computes += count

    def refused(self, cache_type: str, count: int) -> None:
        with self._lock:
            self._tally(cache_type).refused_writes += count

    def bookkept(self, reads: int) -> None:
        """Keys read besides lookups."""
        with self._lock:
            self._bookkeeping_reads += reads

    def counts(self, cache_type: str) -> Counts:
        with self._lock:
            tally = self._tally(cache_type)
            return Counts(tally.hits, dict(tally.misses), tally.computes, tally.refused_writes, tally.near_hits)

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
