"""What a sink is told: what was counted since the last report, and how things stand now. No I/O."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from cache.stats import Counts, RequestCounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HIT: Final = "hit"
MISS: Final = "miss"
NONE: Final = "none"
# Names of the fields of `Counts` that are sent as they are.
_COUNTERS: Final = tuple(each.name for each in fields(Counts) if each.name != "misses")


@dataclass(frozen=True, slots=True)
class ServerState:
    """The server's memory and items now, and how many items it has evicted since it started."""

    memory_bytes: int
    items: int
    evicted_items: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was counted from `began_at` to `ended_at` (seconds since the epoch), by cache type.

    `requests` are by (status, endpoint). `pending` are invalidations that the server has not confirmed at the end.
    """

    began_at: float
    ended_at: float
    types: Mapping[str, Counts]
    requests: Mapping[tuple[str, str], int] = field(default_factory=dict)
    pending: int = 0
    server: ServerState | None = None


def difference(now: Counts, before: Counts) -> Counts:
    """What was counted in between."""
    counted: dict[str, Any] = {name: getattr(now, name) - getattr(before, name) for name in _COUNTERS}
    misses = {reason: count - before.misses.get(reason, 0) for reason, count in now.misses.items()}
    return Counts(misses=misses, **counted)


def samples(report: Report) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, count) of everything counted that is not zero; misses by their reason."""
    for cache_type, counts in report.types.items():
        labels = {"cache_type": cache_type}
        for name in _COUNTERS:
            if count := getattr(counts, name):
                yield name, labels, count
        for reason, count in counts.misses.items():
            if count:
                yield "misses", {**labels, "reason": reason}, count
    for (status, endpoint), count in report.requests.items():
        yield "requests", {"status": status, "endpoint": endpoint}, count


def gauges(report: Report) -> Iterator[tuple[str, float]]:
    """(name, value) of how things stand."""
    yield "pending_invalidations", report.pending
    if report.server is not None:
        yield "server_memory_bytes", report.server.memory_bytes
        yield "server_items", report.server.items
        yield "server_evicted_items", report.server.evicted_items


def status_of(counts: RequestCounts) -> str:
    """A hit is a request all of whose lookups were hits; one without lookups is neither hit nor miss."""
    if counts.misses:
        return MISS
    return HIT if counts.hits else NONE


class RequestTally:
    """Requests by status and endpoint, until they are taken. Safe to share between threads."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self.reset()

    def reset(self) -> None:
        """After a fork: what was counted is the parent's, and another thread may have held the lock."""
        self._lock = threading.Lock()
        self._counts.clear()

    def add(self, status: str, endpoint: str) -> None:
        with self._lock:
            self._counts[status, endpoint] += 1

    def take(self) -> dict[tuple[str, str], int]:
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return dict(taken)
