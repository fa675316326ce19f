"""The parts that remember: breaker, pending invalidations, fences."""

from __future__ import annotations

import random

import pytest

from cache import commands, keys
from cache.breaker import Breaker
from cache.fences import FORGOTTEN, FORGOTTEN_FOR_S, Fences
from cache.pending import ABANDONED_AFTER_S, MAX_MATCH_INVALIDATIONS, REAPPLY_S, Pending

OLD, NEW = (b"user 1", b"job 1."), (b"user 2", b"job 1.")
PAIR = (1234, 5678)


class Clock:
    def __init__(self) -> None:
        self.time = 1_790_000_000.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_breaker_opens_after_failures_in_a_row_and_lets_one_probe_through(clock: Clock) -> None:
    breaker = Breaker(failures_to_open=3, pause_s=1.0, monotonic=clock.now)
    assert [breaker.failed(), breaker.failed()] == [False, False]
    assert not breaker.succeeded()
    assert [breaker.failed(), breaker.failed(), breaker.failed()] == [False, False, True]
    assert not breaker.allows()

    clock.time += 1
    assert [breaker.allows(), breaker.allows()] == [True, False]
    assert not breaker.failed()
    assert not breaker.allows()

    clock.time += 1
    assert breaker.allows()
    breaker.gave_up()
    assert breaker.allows()
    assert breaker.succeeded()
    assert [breaker.allows(), breaker.allows()] == [True, True]


def test_an_invalidation_that_comes_while_others_are_applied_stays_pending(clock: Clock) -> None:
    pending = Pending(clock)
    one, other = commands.delete("ijp:1"), commands.delete("ijp:2")
    pending.add([one, other, one])
    assert pending.begin() == (one, other)
    assert pending.begin() == ()
    pending.add([one])
    pending.applied([one, other])

    assert pending.begin() == (one,)
    pending.failed([one])
    assert len(pending) == 1


def test_what_nobody_goes_on_applying_is_applied_by_another(clock: Clock) -> None:
    """As of a thread that a signal's handler tore out of it."""
    pending = Pending(clock)
    one = commands.delete("ijp:1")
    pending.add([one])
    assert pending.begin() == (one,)
    assert len(pending) == 1

    clock.time += ABANDONED_AFTER_S + 1

    assert pending.begin() == (one,)
    assert pending.begin() == ()
    pending.applied([one])
    assert len(pending) == 0


def test_a_child_applies_what_its_parent_was_applying_at_the_fork(clock: Clock) -> None:
    pending = Pending(clock)
    on_its_way, waiting = commands.delete("ijp:1"), commands.delete("ijp:2")
    pending.add([on_its_way])
    assert pending.begin() == (on_its_way,)
    pending.add([waiting])

    pending.after_fork()

    assert len(pending) == 2
    assert pending.begin() == (on_its_way, waiting)
    pending.applied([on_its_way, waiting])
    assert not pending.holds_up(None)


def test_too_many_invalidations_of_scores_become_one_of_all(clock: Clock) -> None:
    pending = Pending(clock)
    company = commands.delete("company:1:enrichment")
    pending.add([company])
    pending.add(commands.delete(keys.match(user)) for user in range(MAX_MATCH_INVALIDATIONS + 1))

    assert len(pending) == 2
    assert set(pending.begin()) == {company, commands.delete(keys.JOB_GENERATIONS)}


def test_what_was_confirmed_lately_is_applied_again(clock: Clock) -> None:
    pending = Pending(clock)
    earlier, lately, last = (commands.delete(f"ijp:{user}") for user in range(3))
    pending.confirmed([earlier])
    clock.time += REAPPLY_S
    pending.confirmed([lately])
    clock.time += 1
    pending.confirmed([last])
    clock.time += 1_000  # frozen for long: the last seconds are those before the server was lost

    pending.primary_may_have_changed()

    assert pending.begin() == (lately, last)


def test_a_hook_that_fails_does_not_reach_the_caller(clock: Clock) -> None:
    told = []

    def hook(count: int) -> None:
        told.append(count)
        raise LookupError

    pending = Pending(clock, hook)
    pending.add([commands.delete("ijp:1")])

    assert told == [1]


def test_each_caller_gets_back_what_its_own_get_saw(clock: Clock) -> None:
    fences = Fences(clock)
    fences.remember("one", PAIR, OLD)
    fences.remember("other", PAIR, NEW)

    for _ in range(2):  # a write that was not stored may be tried again
        assert fences.find("other", PAIR) == NEW
        assert fences.find("one", PAIR) == OLD

    fences.stored("other", PAIR)
    assert fences.find("one", PAIR) == OLD
    fences.stored("one", PAIR)
    assert fences.find("one", PAIR) is None


def test_a_set_by_another_thread_takes_what_was_seen_if_there_is_but_one(clock: Clock) -> None:
    fences = Fences(clock)
    fences.remember("one", PAIR, OLD)
    fences.remember("other", PAIR, OLD)
    assert [fences.find("third", PAIR), fences.find("third", PAIR)] == [OLD, OLD]

    fences.remember("other", PAIR, NEW)
    assert fences.find("third", PAIR) is FORGOTTEN
    assert fences.find("other", PAIR) == NEW
    assert fences.find("one", PAIR) == OLD


def test_a_get_without_a_set_does_not_stand_in_the_way_for_ever(clock: Clock) -> None:
    fences = Fences(clock)
    fences.remember("one", PAIR, OLD)
    clock.time += FORGOTTEN_FOR_S + 1

    assert fences.find("other", PAIR) is None
    assert fences.find("one", PAIR) == OLD  # its compute took long


def test_many_callers_of_one_pair_are_bounded_and_the_first_is_refused(clock: Clock) -> None:
    fences = Fences(clock)
    for caller in range(20):
        fences.remember(caller, PAIR, OLD)

    assert fences.find(0, PAIR) is FORGOTTEN
    assert fences.find(19, PAIR) == OLD


def test_what_was_forgotten_for_want_of_room_is_refused(clock: Clock) -> None:
    fences = Fences(clock, limit=10)
    for job in range(20):
        fences.remember("one", (1, job), OLD)

    assert [fences.find("one", (1, job)) for job in range(20)] == [FORGOTTEN] * 10 + [OLD] * 10
    assert fences.find("one", (1, 99)) is None

    for _ in range(2):  # one set of marks takes over from the other
        clock.time += FORGOTTEN_FOR_S + 1
        for user in random.Random(7).sample(range(1_000), 11):
            fences.remember("one", (user, 0), OLD)
    assert fences.find("one", (1, 3)) is None
