"""Metrics as one value a minute, and CloudWatch's statistics over periods of them.

Each minute is one sample, as the nodes and the application publish them. A sum of sums, a maximum of maxima and a
minimum of minima are then exact, and an average is one of equally weighted minutes. Percentiles are not: they are
refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

# NaN is a minute without data.
Series = npt.NDArray[np.float64]
MINUTE_S: Final = 60
STATISTICS: Final = ("Average", "Maximum", "Minimum", "SampleCount", "Sum")


class EvaluationError(ValueError):
    """An alarm uses something that is not evaluated here. Names it."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One series of CloudWatch. `dimensions` in the order of their names."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, namespace: str, name: str, **dimensions: str) -> Metric:
        return cls(namespace, name, tuple(sorted(dimensions.items())))


Metrics = dict[Metric, Series]


@dataclass(frozen=True, slots=True)
class Statistic:
    """What an alarm asks of a metric."""

    metric: Metric
    stat: str
    period_s: int

    def __post_init__(self) -> None:
        if self.stat not in STATISTICS:
            raise EvaluationError(
                f"{self.metric.name}: statistic {self.stat!r} is not evaluated here. Known: {', '.join(STATISTICS)}."
            )
        if self.period_s % MINUTE_S or self.period_s < MINUTE_S:
            raise EvaluationError(
                f"{self.metric.name}: the period is {self.period_s} s; only whole minutes are evaluated here."
            )

    @property
    def minutes(self) -> int:
        return self.period_s // MINUTE_S


def over_periods(samples: Series, statistic: Statistic) -> Series:
    """For each minute, the statistic over the period that ends with it; NaN where the period has no sample.

    CloudWatch evaluates an alarm every minute, over a window that slides along:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation-window.html (read 2026-11).
    """
    minutes = statistic.minutes
    present = ~np.isnan(samples)
    counts = _sliding_sum(present.astype(np.float64), minutes)
    result: Any
    match statistic.stat:
        case "SampleCount":
            result = counts
        case "Sum":
            result = _sliding_sum(np.where(present, samples, 0), minutes)
        case "Average":
            result = _sliding_sum(np.where(present, samples, 0), minutes) / np.maximum(counts, 1)
        case "Maximum":
            result = _windows(np.where(present, samples, -np.inf), minutes, -np.inf).max(axis=1)
        case _:
            result = _windows(np.where(present, samples, np.inf), minutes, np.inf).min(axis=1)
    return np.where(counts > 0, result, np.nan)


def missing(minutes: int) -> Series:
    return np.full(minutes, np.nan)


def lookup(metrics: Mapping[Metric, Series], metric: Metric, minutes: int) -> Series:
    """The metric's series; nothing but gaps if nobody publishes it."""
    found = metrics.get(metric)
    return missing(minutes) if found is None else found


def _sliding_sum(values: Series, minutes: int) -> Series:
    totals = np.concatenate(([0.0], np.cumsum(values)))
    ends = np.arange(1, len(values) + 1)
    difference: Series = totals[ends] - totals[np.maximum(ends - minutes, 0)]
    return difference


def _windows(values: Series, minutes: int, before: float) -> Series:
    padded = np.concatenate((np.full(minutes - 1, before), values))
    view: Series = np.lib.stride_tricks.sliding_window_view(padded, minutes)
    return view
