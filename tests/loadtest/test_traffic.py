"""The behaviour: one seed, one sequence, with the rates that the scenario states."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import population, scenarios, theory
from loadtest.scenarios import DAY_S
from loadtest.traffic import Action, Behaviour, Operation, Rhythm

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def behaviour() -> Behaviour:
    scenario = scenarios.load("small")
    return Behaviour(scenario, population.draw(scenario, 1), 1)


def timed(stream: Iterator[tuple[int, Operation]]) -> Iterator[tuple[int, Operation]]:
    now = 0
    for delay, operation in stream:
        now += delay
        yield now, operation


def test_one_seed_one_sequence(behaviour: Behaviour) -> None:
    other = Behaviour(behaviour.scenario, behaviour.population, 2)

    first, again, different = (list(islice(b.user(7), 500)) for b in (behaviour, behaviour, other))

    assert first == again
    assert first != different


def test_everything_lies_on_the_grid(behaviour: Behaviour) -> None:
    delays = [delay for delay, _ in islice(behaviour.user(7), 2_000)]

    assert {delay % behaviour.scenario.resolution_s for delay in delays} == {0}


def test_a_visit_is_a_login_the_list_and_pages_apart(behaviour: Behaviour) -> None:
    operations = list(islice(behaviour.user(7), 5_000))

    for (_, before), (delay, operation) in pairwise(operations):
        assert (before.action is Action.LOGIN) == (operation.action is Action.VIEW_LIST and delay == 0)


def test_visits_have_the_stated_means(behaviour: Behaviour) -> None:
    counted = Counter(operation.action for _, operation in islice(behaviour.user(7), 200_000))
    visits = counted[Action.LOGIN]
    mean = theory.visit(behaviour.scenario)

    assert counted[Action.VIEW_LIST] / visits == pytest.approx(mean.list_views, rel=0.02)
    assert counted[Action.OPEN_JOB] / visits == pytest.approx(mean.jobs_opened, rel=0.02)
    assert counted[Action.READ_PREFERENCES] / visits == pytest.approx(mean.preference_pages, rel=0.03)
    assert counted[Action.CHANGE_PREFERENCES] / visits == pytest.approx(mean.changes, rel=0.06)
    assert counted[Action.LOGOUT] / visits == pytest.approx(behaviour.scenario.logout_share, rel=0.03)


def test_visits_come_by_day(behaviour: Behaviour) -> None:
    logins = [now for now, operation in islice(timed(behaviour.user(7)), 100_000) if operation.action is Action.LOGIN]
    at_night = sum(not 7 <= now % DAY_S / 3_600 < 23 for now in logins)

    assert at_night / len(logins) == pytest.approx(behaviour.scenario.night_share, abs=0.01)


def test_warming_comes_at_the_hour_and_the_rest_at_its_rates(behaviour: Behaviour) -> None:
    days, scenario = 50, behaviour.scenario
    events = list(takewhile(lambda event: event[0] < days * DAY_S, timed(behaviour.platform())))
    counted = Counter(operation.action for _, operation in events)

    assert [now for now, operation in events if operation.action is Action.WARM] == list(
        range(3_600, days * DAY_S, 3_600)
    )
    assert counted[Action.REPLACE_VACANCY] / days == pytest.approx(
        scenario.vacancy_turnover_per_day * scenario.jobs, rel=0.05
    )
    assert counted[Action.UPDATE_JOB] / days == pytest.approx(scenario.job_updates_per_day * scenario.jobs, rel=0.1)


@given(st.floats(0, 1), st.floats(-40 * DAY_S, 40 * DAY_S))
def test_the_rhythm_can_be_undone(night_share: float, time_s: float) -> None:
    rhythm = Rhythm(night_share)
    even = rhythm.even(time_s)

    assert rhythm.even(rhythm.clock(even)) == pytest.approx(even, abs=1e-3)
    assert rhythm.even(time_s + DAY_S) - even == pytest.approx(DAY_S)
