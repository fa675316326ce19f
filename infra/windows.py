"""ElastiCache's windows: `03:00-04:00` daily and `sun:05:00-sun:06:00` weekly, UTC. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES: Final = 24 * 60
_WEEK_MINUTES: Final = 7 * _DAY_MINUTES
# ElastiCache refuses shorter ones.
_SHORTEST: Final = 60
_TIME: Final = r"([01]\d|2[0-3]):([0-5]\d)"
_DAILY: Final = re.compile(f"{_TIME}-{_TIME}")
_WEEKLY: Final = re.compile(f"({'|'.join(_DAYS)}):{_TIME}-({'|'.join(_DAYS)}):{_TIME}")


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """Start in minutes of the day, and length."""

    start: int
    minutes: int

    @classmethod
    def parse(cls, text: str) -> DailyWindow:
        """Raises ValueError for what is no window of at least an hour."""
        found = _DAILY.fullmatch(text)
        if not found:
            raise ValueError("it must look like 03:00-04:00, in UTC")
        from_hour, from_minute, to_hour, to_minute = map(int, found.groups())
        start = from_hour * 60 + from_minute
        return cls(start, _length(start, to_hour * 60 + to_minute, _DAY_MINUTES))


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """Start in minutes of the week, Monday 00:00 being 0, and length."""

    start: int
    minutes: int

    @classmethod
    def parse(cls, text: str) -> WeeklyWindow:
        """Raises ValueError for what is no window of at least an hour."""
        found = _WEEKLY.fullmatch(text)
        if not found:
            raise ValueError("it must look like sun:05:00-sun:06:00, in UTC")
        from_day, from_hour, from_minute, to_day, to_hour, to_minute = found.groups()
        start = _DAYS.index(from_day) * _DAY_MINUTES + int(from_hour) * 60 + int(from_minute)
        end = _DAYS.index(to_day) * _DAY_MINUTES + int(to_hour) * 60 + int(to_minute)
        return cls(start, _length(start, end, _WEEK_MINUTES))

    def overlaps(self, daily: DailyWindow) -> bool:
        """Whether the two share a minute on any day; windows may cross midnight and the week's end."""
        return any(
            (daily.start + day * _DAY_MINUTES - self.start) % _WEEK_MINUTES < self.minutes
            or (self.start - daily.start - day * _DAY_MINUTES) % _WEEK_MINUTES < daily.minutes
            for day in range(7)
        )


def _length(start: int, end: int, cycle: int) -> int:
    minutes = (end - start) % cycle
    if minutes < _SHORTEST:
        raise ValueError(f"it lasts {minutes} minutes; ElastiCache wants at least {_SHORTEST}")
    return minutes
