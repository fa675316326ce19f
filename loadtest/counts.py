"""Hits and lookups of a run: by cache type and user for the intervals, by virtual minute for plots and alarms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(slots=True)
class TypeCounts:
    """(users,) hits and lookups of one cache type; {minute: [hits, lookups]}."""

    hits: NDArray[np.int64]
    lookups: NDArray[np.int64]
    by_minute: dict[int, list[int]] = field(default_factory=dict)
    # Lookups before this minute are in `by_minute` alone: they fill an empty cache.
    judged_from_minute: int = 0

    def add(self, user: int, hits: int, lookups: int, minute: int) -> None:
        """`user` is the row to count for; there are as many rows as it takes."""
        if minute >= self.judged_from_minute:
            if user >= len(self.hits):
                self._grow(user)
            self.hits[user] += hits
            self.lookups[user] += lookups
        self._tally(hits, lookups, minute)

    def add_hits(self, users: list[int], minute: int) -> None:
        """As `add` of one lookup, a hit, for each of `users`."""
        if not users:
            return
        if minute >= self.judged_from_minute:
            if max(users) >= len(self.hits):
                self._grow(max(users))
            np.add.at(self.hits, users, 1)
            np.add.at(self.lookups, users, 1)
        self._tally(len(users), len(users), minute)

    def _tally(self, hits: int, lookups: int, minute: int) -> None:
        tally = self.by_minute.get(minute)
        if tally is None:
            tally = self.by_minute[minute] = [0, 0]
        tally[0] += hits
        tally[1] += lookups

    def merge(self, other: TypeCounts) -> None:
        """Adds what another process counted of the same users."""
        rows = len(other.hits)
        if rows > len(self.hits):
            self._grow(rows - 1)
        self.hits[:rows] += other.hits
        self.lookups[:rows] += other.lookups
        for minute, (hits, lookups) in other.by_minute.items():
            self._tally(hits, lookups, minute)

    def total(self) -> tuple[int, int]:
        """(hits, lookups), those that are not judged included."""
        return sum(hits for hits, _ in self.by_minute.values()), sum(n for _, n in self.by_minute.values())

    def _grow(self, user: int) -> None:
        rows = max(user + 1, 2 * len(self.hits))
        self.hits, self.lookups = (
            np.concatenate([counted, np.zeros(rows - len(counted), dtype=np.int64)])
            for counted in (self.hits, self.lookups)
        )

    def by(self, minutes: int) -> dict[int, tuple[int, int]]:
        """{number of the window: (hits, lookups)} in windows of so many minutes; without those that saw none."""
        windows: dict[int, tuple[int, int]] = {}
        for minute in sorted(self.by_minute):
            hits, lookups = self.by_minute[minute]
            before = windows.get(minute // minutes, (0, 0))
            windows[minute // minutes] = before[0] + hits, before[1] + lookups
        return windows


@dataclass(slots=True)
class Counts:
    """All cache types of a run, and the visits of each user."""

    types: dict[str, TypeCounts]
    visits: NDArray[np.int64]

    @classmethod
    def of(cls, names: tuple[str, ...], users: int) -> Counts:
        def empty() -> NDArray[np.int64]:
            return np.zeros(users, dtype=np.int64)

        return cls({name: TypeCounts(empty(), empty()) for name in names}, empty())
