"""Alarms over short histories: one mapping of values by id for each period, None for a value that is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scripts.alarms import metric_math
from scripts.alarms.evaluation import State, states

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.alarms.declared import MetricAlarm
    from scripts.alarms.series import Series


def rings(alarm: MetricAlarm, history: Sequence[Mapping[str, float | None]]) -> bool:
    """Whether the alarm is in ALARM after the last of the periods; before the first, nothing was published."""
    return states(alarm, _evaluated(alarm.expression, history), step=1)[-1] is State.ALARM


def point(expression: str, values: Mapping[str, float | None]) -> float | None:
    """The expression at one period; None where CloudWatch has no point."""
    value = float(_evaluated(expression, [values])[0])
    return None if np.isnan(value) else value


def _evaluated(expression: str, history: Sequence[Mapping[str, float | None]]) -> Series:
    series = {
        identifier: np.array([np.nan if values[identifier] is None else values[identifier] for values in history])
        for identifier in history[0]
    }
    return metric_math.evaluate(expression, {name: values.astype(np.float64) for name, values in series.items()})
