"""The states of alarms, minute by minute, as CloudWatch decides them: M of N, missing data, composites, suppressors.

A few seconds to minutes of delay, until a metric arrives at CloudWatch, are not part of it.
"""

from __future__ import annotations

import ast
import operator
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scripts.alarms import metric_math
from scripts.alarms.series import MINUTE_S, EvaluationError, Series, lookup, over_periods

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scripts.alarms.declared import CompositeAlarm, MetricAlarm
    from scripts.alarms.series import Metric

# CloudWatch looks at more points than it evaluates, so that late ones count. How many more depends on the period and is
# not documented; in the documented examples it is two.
EXTRA_POINTS: Final = 2
_WITHIN, _BREACHING, _MISSING = 0, 1, 2
COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


class State(StrEnum):
    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


@cache
def judge(points: bytes, datapoints: int, periods: int, treat_missing: str) -> State | None:
    """The state after `points`, the evaluation range with the newest last; None keeps the state as it was.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html (read 2026-11): the
    newest points that are there are evaluated, also from farther back; only what is then still wanting is filled in.
    Where missing data stays missing and nothing speaks against an alarm, a breach rings once it is old enough.
    """
    there = [point for point in reversed(points) if point != _MISSING][:periods]
    breaching = sum(there)
    if breaching >= datapoints:
        return State.ALARM
    if len(there) == periods or treat_missing == "notBreaching":
        return State.OK
    if treat_missing == "breaching":
        return State.ALARM if breaching + periods - len(there) >= datapoints else State.OK
    if breaching < len(there):
        return State.OK
    if treat_missing == "ignore":
        return None
    oldest = points.find(_BREACHING)
    return State.ALARM if oldest >= 0 and len(points) - oldest >= datapoints else State.INSUFFICIENT_DATA


def values(alarm: MetricAlarm, metrics: Mapping[Metric, Series], minutes: int) -> Series:
    """What the alarm compares with its threshold, for the period that ends with each minute."""
    return metric_math.evaluate(
        alarm.expression,
        {
            identifier: over_periods(lookup(metrics, statistic.metric, minutes), statistic)
            for identifier, statistic in alarm.metrics.items()
        },
    )


def states(alarm: MetricAlarm, compared: Series, *, step: int) -> list[State]:
    """The alarm's state after each point of `compared`; the points of one evaluation are `step` apart.

    Before the first point everything is missing.
    """
    breaching = COMPARISONS[alarm.comparison](compared, alarm.threshold)
    points = np.where(np.isnan(compared), _MISSING, np.where(breaching, _BREACHING, _WITHIN)).astype(np.uint8)
    reach = alarm.periods + EXTRA_POINTS
    padded = np.concatenate((np.full(step * reach, _MISSING, dtype=np.uint8), points))
    ranges = np.stack([padded[step * (back + 1) :][: len(points)] for back in range(reach)], axis=1)
    result = [State.OK] * len(points)
    for at in np.flatnonzero(np.logical_or.reduce(ranges != _WITHIN, axis=1)):
        before = result[at - 1] if at else State.INSUFFICIENT_DATA
        result[at] = judge(ranges[at].tobytes(), alarm.datapoints, alarm.periods, alarm.missing) or before
    return result


def evaluate(
    alarms: Sequence[MetricAlarm], composites: Sequence[CompositeAlarm], metrics: Mapping[Metric, Series], minutes: int
) -> dict[str, list[State]]:
    """The state of every alarm after each minute, by its name."""
    result = {
        alarm.name: states(alarm, values(alarm, metrics, minutes), step=alarm.period_s // MINUTE_S) for alarm in alarms
    }
    for composite in composites:
        result[composite.name] = composite_states(composite.rule, result, minutes)
    return result


def composite_states(rule: str, children: Mapping[str, Sequence[State]], minutes: int) -> list[State]:
    """A composite's state after each minute: ALARM where its rule holds, else OK.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-combining.html (read 2026-11).
    """
    holds = _rule(ast.parse(_as_python(rule), mode="eval").body, children, minutes)
    return [State.ALARM if held else State.OK for held in holds]


def notified(
    alarmed: Sequence[State], suppressor: Sequence[State] | None = None, *, wait_s: int = 0, extension_s: int = 0
) -> list[int]:
    """The minutes at which the actions of ALARM are taken.

    Without a suppressor: when the alarm goes into ALARM. With one, not while it is in ALARM, nor in the extension after
    it, nor while its alarm is waited for; then at the end of that time, if the alarm still rings.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create_Composite_Alarm_Suppression.html (2026-11).
    """
    result: list[int] = []
    if State.ALARM not in alarmed:
        return result
    told = True
    rang = suppressed = False
    quiet_until = -1.0
    for minute, state in enumerate(alarmed):
        rings = state is State.ALARM
        suppresses = suppressor is not None and suppressor[minute] is State.ALARM
        if rings and not rang:
            told = False
            if suppressor is not None:
                quiet_until = max(quiet_until, minute + wait_s / MINUTE_S)
        if suppressed and not suppresses:
            quiet_until = minute + extension_s / MINUTE_S
        if rings and not told and not suppresses and minute >= quiet_until:
            told = True
            result.append(minute)
        rang, suppressed = rings, suppresses
    return result


def _as_python(rule: str) -> str:
    # The rule's words are Python's in capitals. No name of an alarm has spaces around such a word.
    for word in ("AND", "OR", "NOT"):
        rule = f" {rule} ".replace(f" {word} ", f" {word.lower()} ").replace(f"({word} ", f"({word.lower()} ").strip()
    return rule


def _rule(node: ast.expr, children: Mapping[str, Sequence[State]], minutes: int) -> Sequence[bool]:
    match node:
        case ast.Call(func=ast.Name(id="ALARM" | "OK" | "INSUFFICIENT_DATA" as wanted), args=[ast.Constant() as name]):
            child = children.get(str(name.value))
            if child is None:
                raise EvaluationError(
                    f"the rule of a composite alarm names {name.value!r}, which is no alarm of the stack."
                )
            return [state == wanted for state in child]
        case ast.BoolOp(op=op, values=parts):
            combine = all if isinstance(op, ast.And) else any
            return [combine(held) for held in zip(*(_rule(part, children, minutes) for part in parts), strict=True)]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return [not held for held in _rule(operand, children, minutes)]
        case ast.Name(id="TRUE" | "FALSE" as constant):
            return [constant == "TRUE"] * minutes
    raise EvaluationError(f"{ast.unparse(node)} in the rule of a composite alarm is not evaluated here.")
