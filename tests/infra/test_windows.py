from __future__ import annotations

import pytest

from infra.windows import DailyWindow, WeeklyWindow


@pytest.mark.parametrize(
    ("weekly", "daily", "overlap"),
    [
        ("sun:05:00-sun:06:00", "03:00-04:00", False),
        ("sun:05:00-sun:06:00", "04:00-05:00", False),
        ("sun:05:00-sun:06:00", "04:00-05:01", True),
        ("sun:05:00-sun:06:00", "05:59-06:59", True),
        ("sun:05:00-sun:06:00", "06:00-07:00", False),
        ("sun:05:30-sun:06:30", "04:30-05:30", False),
        ("sun:23:30-mon:00:30", "00:00-01:00", True),
        ("sun:23:30-mon:00:30", "23:00-00:00", True),
        ("wed:23:30-thu:01:30", "01:00-02:00", True),
        ("wed:10:00-wed:11:00", "23:30-00:30", False),
        ("wed:04:00-wed:08:00", "05:00-06:00", True),
    ],
)
def test_overlap(weekly: str, daily: str, overlap: bool) -> None:
    assert WeeklyWindow.parse(weekly).overlaps(DailyWindow.parse(daily)) is overlap


@pytest.mark.parametrize("text", ["24:00-01:00", "03:00", "03:00-03:59", "3:00-4:00", "03:00-03:00"])
def test_no_daily_window(text: str) -> None:
    with pytest.raises(ValueError, match=r"must look like|minutes"):
        DailyWindow.parse(text)


@pytest.mark.parametrize("text", ["sun:05:00-06:00", "Sun:05:00-sun:06:00", "day:05:00-day:06:00"])
def test_no_weekly_window(text: str) -> None:
    with pytest.raises(ValueError, match="must look like"):
        WeeklyWindow.parse(text)
