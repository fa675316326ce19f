"""The alarms of a stack as its program declares them: from the recorded resources, not from the code behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scripts.alarms.evaluation import COMPARISONS
from scripts.alarms.series import EvaluationError, Metric, Statistic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from infra.recorded import Declared

_RUNBOOK: Final = "Runbook: "
_TREATMENTS: Final = ("breaching", "ignore", "missing", "notBreaching")
# What PutMetricAlarm also takes, and would change what an alarm does.
_NOT_EVALUATED: Final = (
    "evaluateLowSampleCountPercentiles",
    "evaluationCriteria",
    "evaluationWindow",
    "extendedStatistic",
    "metricName",
    "thresholdMetricId",
    "warmUpConfiguration",
)


@dataclass(frozen=True)
class MetricAlarm:
    """One alarm. `expression` is over the ids of `metrics`."""

    name: str
    text: str
    metrics: Mapping[str, Statistic]
    expression: str
    comparison: str
    threshold: float
    datapoints: int
    periods: int
    missing: str

    @property
    def period_s(self) -> int:
        return next(iter(self.metrics.values())).period_s

    @property
    def runbook(self) -> str:
        return self.text.rpartition(_RUNBOOK)[2]


@dataclass(frozen=True)
class CompositeAlarm:
    name: str
    text: str
    rule: str
    suppressor: str | None
    wait_s: int
    extension_s: int

    @property
    def runbook(self) -> str:
        return self.text.rpartition(_RUNBOOK)[2]


@dataclass(frozen=True)
class Alarms:
    """Every alarm of a stack. Composites may name the metric alarms, and composites before them."""

    metric: tuple[MetricAlarm, ...]
    composite: tuple[CompositeAlarm, ...]

    def __iter__(self) -> Iterator[MetricAlarm | CompositeAlarm]:
        return iter((*self.metric, *self.composite))


def alarms(declared: Declared) -> Alarms:
    """Raises EvaluationError for an alarm that is not evaluated here, by its name."""
    return Alarms(
        tuple(_metric_alarm(resource.inputs) for resource in declared.of("MetricAlarm")),
        tuple(_composite(resource.inputs) for resource in declared.of("CompositeAlarm")),
    )


def _metric_alarm(inputs: Mapping[str, Any]) -> MetricAlarm:
    name = inputs["name"]
    used = [key for key in _NOT_EVALUATED if inputs.get(key) is not None]
    if used:
        raise EvaluationError(f"{name}: {', '.join(used)} of a metric alarm is not evaluated here.")
    comparison, missing = inputs["comparisonOperator"], inputs.get("treatMissingData", "missing")
    if comparison not in COMPARISONS:
        raise EvaluationError(f"{name}: {comparison} is not evaluated here. Known: {', '.join(COMPARISONS)}.")
    if missing not in _TREATMENTS:
        raise EvaluationError(f"{name}: treatMissingData is {missing!r}. Known: {', '.join(_TREATMENTS)}.")
    queries = inputs["metricQueries"]
    metrics = {query["id"]: _statistic(query["metric"]) for query in queries if "metric" in query}
    (returned,) = (query for query in queries if query["returnData"])
    if len({statistic.period_s for statistic in metrics.values()}) != 1:
        raise EvaluationError(f"{name}: the metrics of one alarm must have one period.")
    return MetricAlarm(
        name=name,
        text=inputs["alarmDescription"],
        metrics=metrics,
        expression=returned.get("expression", returned["id"]),
        comparison=comparison,
        threshold=inputs["threshold"],
        datapoints=inputs.get("datapointsToAlarm", inputs["evaluationPeriods"]),
        periods=inputs["evaluationPeriods"],
        missing=missing,
    )


def _statistic(metric: Mapping[str, Any]) -> Statistic:
    series = Metric.of(metric["namespace"], metric["metricName"], **metric.get("dimensions", {}))
    return Statistic(series, metric["stat"], metric["period"])


def _composite(inputs: Mapping[str, Any]) -> CompositeAlarm:
    suppressor = inputs.get("actionsSuppressor") or {}
    return CompositeAlarm(
        name=inputs["alarmName"],
        text=inputs["alarmDescription"],
        rule=inputs["alarmRule"],
        suppressor=suppressor.get("alarm"),
        wait_s=suppressor.get("waitPeriod", 0),
        extension_s=suppressor.get("extensionPeriod", 0),
    )
