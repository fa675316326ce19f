"""Intervals, verdicts and exit codes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache.nodes import NODE_TYPES
from loadtest import intervals, population, scenarios, verdict
from loadtest.counts import Counts
from loadtest.errors import ExitCode
from loadtest.intervals import Estimate
from loadtest.result import Memory
from loadtest.verdict import NodeRow, Row, Verdict
from tests.loadtest.results import made_up

if TYPE_CHECKING:
    from loadtest.result import Result


def estimate(low: float | None, high: float | None) -> Estimate:
    return Estimate(1_000, 0.8, low, high, 0.01)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.81, 0.85, Verdict.PASS),
        (0.75, 0.79, Verdict.FAIL),
        (0.79, 0.81, Verdict.UNDECIDED),
        (0.80, 0.85, Verdict.UNDECIDED),
        (None, None, Verdict.UNDECIDED),
    ],
)
def test_the_interval_decides(low: float | None, high: float | None, expected: Verdict) -> None:
    assert verdict.verdict_of(estimate(low, high), 0.80) is expected


def row(result: Verdict | None) -> Row:
    return Row("match", 0.8, 0.8, 0.7, 0.9, 0.8, 100, result, None)


def node(result: Verdict, name: str = "cache.t4g.medium") -> NodeRow:
    return NodeRow(name, 1, 1, result)


@pytest.mark.parametrize(
    ("rows", "fits", "code"),
    [
        ([Verdict.PASS, Verdict.PASS], Verdict.PASS, ExitCode.PASS),
        ([Verdict.PASS, Verdict.FAIL], Verdict.FAIL, ExitCode.TARGET_MISSED),
        ([Verdict.UNDECIDED, Verdict.FAIL], Verdict.FAIL, ExitCode.UNDECIDED),
        ([Verdict.PASS], Verdict.FAIL, ExitCode.DOES_NOT_FIT),
        ([None], Verdict.PASS, ExitCode.UNDECIDED),
        ([], Verdict.PASS, ExitCode.UNDECIDED),
    ],
)
def test_the_first_that_applies_is_the_exit_code(rows: list[Any], fits: Verdict, code: ExitCode) -> None:
    assert verdict.exit_code([row(result) for result in rows], [node(fits)], "cache.t4g.medium") is code


def test_only_the_scenario_s_node_decides() -> None:
    sizing = [node(Verdict.FAIL, "cache.t4g.medium"), node(Verdict.PASS, "cache.m6g.large")]

    assert verdict.exit_code([row(Verdict.PASS)], sizing, "cache.m6g.large") is ExitCode.PASS


def test_data_fits_what_the_reserve_leaves() -> None:
    medium = NODE_TYPES["cache.t4g.medium"]

    assert verdict.size(medium, medium.usable_bytes).verdict is Verdict.PASS
    assert verdict.size(medium, medium.usable_bytes + 1).verdict is Verdict.FAIL


def test_no_samples_are_never_a_pass() -> None:
    nothing = intervals.hit_rate(np.zeros(100, dtype=np.int64), np.zeros(100, dtype=np.int64))
    few = intervals.hit_rate(np.full(20, 100), np.full(20, 100))
    once_each = intervals.hit_rate(np.full(50, 1), np.full(50, 1))

    assert nothing.hit_rate is None
    assert {verdict.verdict_of(each, 0.5) for each in (nothing, few, once_each)} == {Verdict.UNDECIDED}


def test_an_interval_that_there_is_not_has_no_width() -> None:
    said = intervals.imprecise(Counts.of(("match",), 10), 0.01)

    assert said[0].startswith("match: there are too few lookups for an interval, not ± 1 as asked;")


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Users with lists of 100 that hit or miss as one: an interval over keys would be ten times too narrow."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        views = rng.poisson(3, size=300)
        hits = rng.binomial(views, 0.8) * 100
        found = intervals.hit_rate(hits, views * 100)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.8 <= found.high

    assert 0.92 <= covered / 400 <= 0.98


def test_all_hits_are_still_uncertain() -> None:
    found = intervals.hit_rate(np.full(300, 10), np.full(300, 10))

    assert (found.low, found.high) == (0.99, 1.0)
    assert found.half_width == pytest.approx(0.01)


def test_a_part_of_the_data_that_fits_is_no_pass_and_one_that_does_not_is_a_fail() -> None:
    scenario = scenarios.load("small").changed(users=1, days=5)
    between = (NODE_TYPES["cache.t4g.medium"].usable_bytes + NODE_TYPES["cache.m6g.large"].usable_bytes) // 2
    result = made_up(scenario, memory=[Memory(0, between)])

    def of(sizing: list[NodeRow]) -> dict[str, Verdict]:
        return {each.node_type: each.verdict for each in sizing}

    whole, part = verdict.judge(result), verdict.judge(replace(result, stopped_because="the server went away."))
    assert of(whole.sizing) == {"cache.t4g.medium": Verdict.FAIL, "cache.m6g.large": Verdict.PASS}
    assert of(part.sizing) == {"cache.t4g.medium": Verdict.FAIL, "cache.m6g.large": Verdict.UNDECIDED}

    live = verdict.judge(replace(result, stopped_because="interrupted.", is_live=True))
    assert {row.note for row in part.rows} == {"partial: the run ended after 0.0 of 5 days"}
    assert {row.note for row in live.rows} == {"partial: the run ended before its time"}
    assert verdict.judge(replace(result, memory=[])).sizing == []


def measured(hit_rate: float) -> Result:
    """A run of `small` with this hit rate of match scores, and nothing else."""
    scenario = scenarios.load("small")
    result = made_up(scenario, population=population.draw(scenario, seed=1))
    match = result.counts.types["match"]
    # Not alike for all, or nothing would be uncertain.
    match.lookups[:] = [900, 1_100] * (scenario.users // 2)
    match.hits[:] = [int(800 * hit_rate), int(1_200 * hit_rate)] * (scenario.users // 2)
    return result


def test_a_run_that_broke_off_says_so_of_each_row_and_does_not_blame_the_closed_form() -> None:
    result = measured(hit_rate=0.5)
    assert "standard errors apart" in verdict.judge(result).rows[0].note

    result.stopped_because = "the server was gone."

    rows = [row for row in verdict.judge(result).rows if row.verdict]
    assert {row.note for row in rows} == {"partial: the run ended after 0.0 of 4 days"}


@pytest.mark.parametrize("has_fault", [False, True])
def test_what_flips_the_prediction_is_said_only_of_rows_that_it_would_turn(has_fault: bool) -> None:
    """A cache that is lost again and again misses a target that the prediction, which knows no faults, meets."""
    match = verdict.judge(measured(hit_rate=0.5 if has_fault else 0.9)).rows[0]

    assert match.verdict is (Verdict.FAIL if has_fault else Verdict.PASS)
    assert (match.flip is None) is has_fault
