"""What a missed `get_*` saw, kept for the `set_*` that follows it. No I/O.

A score may be stored only with the generations from before its origin was read. The brief's own get → compute → set
passes nothing from one to the other, so they are remembered here, by caller (thread or task). What is forgotten for
want of room is refused later, never taken for a write that no get preceded.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable

    from cache.clock import Clock

Fence: TypeAlias = tuple[bytes, bytes]  # generations of the user and of the job
Pair: TypeAlias = tuple[int, int]  # user and job

# Two hundred list views between their gets and their sets; about 12 MB.
MAX_FENCES: Final = 20_000
# Few computes take longer. So long a forgotten pair is refused, and what one caller saw is good for others.
FORGOTTEN_FOR_S: Final = 3600.0
_BITS: Final = 2**20
_CALLERS_PER_PAIR: Final = 8


class Forgotten:
    """Stands for a fence that there was: the write may be late, so it is refused."""


FORGOTTEN: Final = Forgotten()


class Fences:
    """Fences by pair and caller. Safe to share between threads."""

    def __init__(self, clock: Clock, limit: int = MAX_FENCES) -> None:
        self._clock = clock
        self._limit = limit
        self._by_pair: dict[Pair, dict[Hashable, tuple[Fence | Forgotten, float]]] = {}
        # Two sets of bits, one taking over from the other; a shared bit refuses a write too many, never one too few.
        self._marks, self._older_marks = bytearray(_BITS // 8), bytearray(_BITS // 8)
        self._marked_since = clock.now()
        self.reset_lock()

    def reset_lock(self) -> None:
        """After a fork, when another thread may have held it."""
        self._lock = threading.Lock()

    def remember(self, caller: Hashable, pair: Pair, fence: Fence | Forgotten) -> None:
        with self._lock:
            seen = self._by_pair.setdefault(pair, {})
            seen.pop(caller, None)
            seen[caller] = fence, self._clock.now()
            if len(seen) > _CALLERS_PER_PAIR:
                del seen[next(iter(seen))]
                self._mark(pair)
            if len(self._by_pair) > self._limit:
                oldest = next(iter(self._by_pair))
                del self._by_pair[oldest]
                self._mark(oldest)

    def find(self, caller: Hashable, pair: Pair) -> Fence | Forgotten | None:
        """The fence for a write by `caller`; None if no get of this pair preceded it.

        It stays until that write is `stored`: one that was not may be tried again, and is as late as it was.
        """
        with self._lock:
            seen = self._by_pair.get(pair, {})
            if caller in seen:
                return seen[caller][0]
            if self._is_marked(pair):
                return FORGOTTEN
            # Another caller's get, or that of this one under another name (its thread has changed): the fence is
            # right for both if it is the only one.
            oldest_good = self._clock.now() - FORGOTTEN_FOR_S
            others = {fence for fence, since in seen.values() if since >= oldest_good}
            return FORGOTTEN if len(others) > 1 else next(iter(others), None)

    def stored(self, caller: Hashable, pair: Pair) -> None:
        """The next write of this pair by `caller` belongs to another get, or to none."""
        with self._lock:
            seen = self._by_pair.get(pair, {})
            seen.pop(caller, None)
            if not seen:
                self._by_pair.pop(pair, None)

    def _mark(self, pair: Pair) -> None:
        now = self._clock.now()
        if now - self._marked_since > FORGOTTEN_FOR_S:
            self._older_marks, self._marks = self._marks, bytearray(_BITS // 8)
            self._marked_since = now
        bit = hash(pair) % _BITS
        self._marks[bit // 8] |= 1 << bit % 8

    def _is_marked(self, pair: Pair) -> bool:
        bit = hash(pair) % _BITS
        return bool((self._marks[bit // 8] | self._older_marks[bit // 8]) & 1 << bit % 8)
