"""Hits and lookups by user and by minute."""

from __future__ import annotations

from loadtest.counts import Counts, TypeCounts


def of_few_users() -> TypeCounts:
    return Counts.of(("match",), 2).types["match"]


def test_there_are_as_many_rows_as_it_takes() -> None:
    """A recorded log may have more users than the scenario that it is judged by."""
    counted, other = of_few_users(), of_few_users()

    counted.add(2, 30, 100, minute=0)
    counted.add_hits([20, 1], minute=1)
    other.add(200, 4, 5, minute=1)
    counted.merge(other)

    assert {user: (counted.hits[user], counted.lookups[user]) for user in counted.lookups.nonzero()[0].tolist()} == {
        1: (1, 1),
        2: (30, 100),
        20: (1, 1),
        200: (4, 5),
    }
    assert counted.by_minute == {0: [30, 100], 1: [6, 7]}
    assert counted.total() == (36, 107)


def test_what_fills_an_empty_cache_is_in_the_minutes_alone() -> None:
    counted = of_few_users()
    counted.judged_from_minute = 60

    counted.add(0, 1, 2, minute=59)
    counted.add_hits([0], minute=59)
    counted.add(1, 3, 4, minute=60)
    counted.add_hits([1], minute=60)

    assert (counted.hits.tolist(), counted.lookups.tolist()) == ([0, 4], [0, 5])
    assert counted.by(minutes=60) == {0: (2, 3), 1: (4, 5)}
