"""The evaluator against what AWS documents: its tables, its examples, its rules."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.alarms import metric_math
from scripts.alarms.evaluation import State, composite_states, judge, notified
from scripts.alarms.series import EvaluationError, Metric, Series, Statistic, over_periods

OK, ALARM, UNKNOWN = State.OK, State.ALARM, State.INSUFFICIENT_DATA
KEEP = None
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def points(drawn: str) -> bytes:
    """As AWS draws them: 0 is within, X breaches, - is missing; the newest last."""
    return bytes("0X-".index(point) for point in drawn.split())


@pytest.mark.parametrize(
    ("drawn", "states"),
    [
        ("0 - X - X", (OK, OK, OK, OK)),
        ("0 - - - -", (OK, OK, OK, OK)),
        ("- - - - 0", (OK, OK, OK, OK)),
        ("- - - - -", (UNKNOWN, KEEP, ALARM, OK)),
        ("0 X X - X", (ALARM, ALARM, ALARM, ALARM)),
        ("- - - - X", (UNKNOWN, KEEP, ALARM, OK)),
        ("- - - X -", (UNKNOWN, KEEP, ALARM, OK)),
        ("- - X - -", (ALARM, KEEP, ALARM, OK)),
        ("X - - - -", (ALARM, KEEP, ALARM, OK)),
    ],
)
def test_documented_states_of_3_of_3(drawn: str, states: tuple[State | None, ...]) -> None:
    assert tuple(judge(points(drawn), 3, 3, treatment) for treatment in TREATMENTS) == states


@pytest.mark.parametrize(
    ("drawn", "states"),
    [
        ("0 - X - X", (ALARM, ALARM, ALARM, ALARM)),
        ("0 0 X 0 X", (ALARM, ALARM, ALARM, ALARM)),
        ("0 - X - -", (OK, OK, ALARM, OK)),
        ("- - - - 0", (OK, OK, ALARM, OK)),
        ("- - - - X", (UNKNOWN, KEEP, ALARM, OK)),
        ("- - - X -", (ALARM, KEEP, ALARM, OK)),
    ],
)
def test_documented_states_of_2_of_3(drawn: str, states: tuple[State | None, ...]) -> None:
    assert tuple(judge(points(drawn), 2, 3, treatment) for treatment in TREATMENTS) == states


def series(*values: float | None) -> Series:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # The examples of the pages on comparison operators and on IF.
        ("metric1 < metric2", (0, 0, 1, 0, None)),
        ("metric1 >= 30", (1, 0, 0, 0, None)),
        ("IF(c, m2, m3)", (30, 0, 20, None, None)),
        ("IF(c, 5, m3)", (5, 5, 20, None, None)),
        ("IF(c, m2, 5)", (30, 0, 5, 5, None)),
        ("IF(metric1 < 25, metric1)", (None, 20, 0, 0, None)),
        # Missing counts as 0 beside a value; a division by zero and a gap in both drop the point.
        ("metric1 + metric2", (50, 20, 20, 0, None)),
        ("metric2 - metric1", (-10, -20, 20, 0, None)),
        ("metric1 / metric2", (1.5, None, 0, None, None)),
        ("100*metric1", (3_000, 2_000, 0, 0, None)),
        ("-metric1", (-30, -20, 0, 0, None)),
        ("FILL(metric2, 7)", (20, 7, 20, 7, 7)),
    ],
)
def test_documented_metric_math(expression: str, expected: tuple[float | None, ...]) -> None:
    given = {
        "metric1": series(30, 20, 0, 0, None),
        "metric2": series(20, None, 20, None, None),
        "c": series(1, 1, 0, 0, None),
        "m2": series(30, None, 0, 0, 30),
        "m3": series(0, 0, 20, None, 20),
    }

    np.testing.assert_array_equal(metric_math.evaluate(expression, given), series(*expected))


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("RUNNING_SUM(a)", "RUNNING_SUM"),
        ("ANOMALY_DETECTION_BAND(a, 2)", "ANOMALY_DETECTION_BAND"),
        ("FILL(a, REPEAT)", "FILL"),
        ("a ^ 2", "a ^ 2"),
        ("a + other", "other"),
        ("a AND a", "a AND a"),
        ("1 + 1", "one number"),
        ("'a'", "'a'"),
    ],
)
def test_what_is_not_evaluated_is_refused_by_name(expression: str, named: str) -> None:
    with pytest.raises(EvaluationError) as refused:
        metric_math.evaluate(expression, {"a": series(1)})

    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("stat", "expected"),
    [
        ("Sum", (1, 1, 5, 6, 2, None)),
        ("Average", (1, 1, 2.5, 3, 2, None)),
        ("Maximum", (1, 1, 4, 4, 2, None)),
        ("Minimum", (1, 1, 1, 2, 2, None)),
        ("SampleCount", (1, 1, 2, 2, 1, None)),
    ],
)
def test_statistics_slide_minute_by_minute(stat: str, expected: tuple[float | None, ...]) -> None:
    samples = series(1, None, 4, 2, None, None)

    over_two = over_periods(samples, Statistic(Metric.of("n", "m"), stat, 120))
    over_three = over_periods(samples, Statistic(Metric.of("n", "m"), stat, 180))

    np.testing.assert_array_equal(over_three[:4], series(*expected)[:4])
    np.testing.assert_array_equal(over_two[4:], series(*expected)[4:])


@pytest.mark.parametrize(("stat", "period_s"), [("p99", 60), ("Sum", 10), ("Sum", 90)])
def test_other_statistics_and_periods_are_refused(stat: str, period_s: int) -> None:
    with pytest.raises(EvaluationError, match=r"not evaluated here|whole minutes"):
        Statistic(Metric.of("n", "m"), stat, period_s)


def drawn_states(text: str) -> list[State]:
    return [{"0": OK, "X": ALARM, "-": UNKNOWN}[letter] for letter in text]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ('ALARM("cpu") OR ALARM("disk")', "0XXX"),
        ('ALARM("cpu") AND NOT ALARM("disk")', "0X00"),
        ('(ALARM("cpu") OR ALARM("disk")) AND OK("net")', "0X0X"),
        ('INSUFFICIENT_DATA("net") OR FALSE', "00X0"),
        ("TRUE", "XXXX"),
        ('NOT OK("cpu")', "0X0X"),
    ],
)
def test_rules_of_composites(rule: str, expected: str) -> None:
    children = {"cpu": drawn_states("0X0X"), "disk": drawn_states("00XX"), "net": drawn_states("00-0")}

    assert composite_states(rule, children, 4) == drawn_states(expected)


def test_rule_with_an_unknown_alarm_is_refused() -> None:
    with pytest.raises(EvaluationError, match="'gone'"):
        composite_states('ALARM("gone")', {}, 1)


@pytest.mark.parametrize(
    ("alarm", "suppressor", "acts"),
    [
        ("00XXXX00X", "000000000", [4]),  # waits two minutes for the suppressor; the last one has not waited yet
        ("00XXXX000", "000XX0000", []),  # it comes in time; the alarm ends within the extension
        ("00XXXXXXX", "000XX0000", [8]),  # still rings when the extension of three minutes ends
        ("0XXXXXXXX", "XX0000000", [5]),
        ("XXXXXXXXX", "000000000", [2]),  # nothing came before
        ("000000XXX", "XXXXXXXXX", []),
    ],
)
def test_suppressors_wait_and_extend(alarm: str, suppressor: str, acts: list[int]) -> None:
    assert notified(drawn_states(alarm), drawn_states(suppressor), wait_s=120, extension_s=180) == acts


def test_without_a_suppressor_each_change_to_alarm_is_told_once() -> None:
    assert notified(drawn_states("0XX0X")) == [1, 4]
