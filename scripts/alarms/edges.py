"""Each alarm alone, at its edges: threshold, guard, M of N, missing data."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from scripts.alarms.evaluation import State, states, values
from scripts.alarms.scene import DAY
from scripts.alarms.series import MINUTE_S, Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scripts.alarms.declared import MetricAlarm
    from scripts.alarms.expectations import Edge, Levels


def problems(alarm: MetricAlarm, name: str, edges: Mapping[str, Edge]) -> list[str]:
    """Where the alarm, `name` without the stack's prefix, does not do what is expected; one sentence each."""
    edge = next((edge for pattern, edge in edges.items() if fnmatchcase(name, pattern)), None)
    if edge is None:
        return [f"{name}: nothing is expected of it at its edges; add it to the expectations."]
    return [f"{name}: {problem}" for problem in _problems(alarm, edge)]


def _problems(alarm: MetricAlarm, edge: Edge) -> Iterator[str]:
    course = _states(alarm, edge.usual, edge.bad, edge.usual)
    if State.ALARM in course[:DAY]:
        yield f"rings at {_text(edge.usual)}, which is usual."
    rang, cleared = _first(course[DAY : 2 * DAY], State.ALARM), _first(course[2 * DAY :], State.OK)
    if rang != edge.rings_after:
        yield f"rings {_when(rang)} of {_text(edge.bad)}, not after {edge.rings_after} min."
    if rang is not None and cleared != edge.clears_after:
        yield f"clears {_when(cleared)} of {_text(edge.usual)}, not after {edge.clears_after} min."
    for levels in edge.quiet:
        if State.ALARM in _states(alarm, levels):
            yield f"rings at {_text(levels)}."
    for levels in edge.rings:
        if State.ALARM not in _states(alarm, levels):
            yield f"does not ring at {_text(levels)}."
    if edge.bad and State.ALARM in _states(alarm, edge.usual, {}):
        yield "rings without data."


def _states(alarm: MetricAlarm, *days: Levels) -> list[State]:
    minutes = len(days) * DAY
    metrics: Metrics = {}
    for statistic in alarm.metrics.values():
        levels = [day.get(statistic.metric.name, np.nan) for day in days]
        metrics[statistic.metric] = np.repeat(np.array(levels, dtype=np.float64), DAY)
    return states(alarm, values(alarm, metrics, minutes), step=alarm.period_s // MINUTE_S)


def _first(course: list[State], wanted: State) -> int | None:
    """Minutes until the state is reached."""
    return course.index(wanted) + 1 if wanted in course else None


def _text(levels: Levels) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in levels.items()) or "no data"


def _when(minutes: int | None) -> str:
    return "never because" if minutes is None else f"after {minutes} min"
