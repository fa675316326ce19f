"""The metrics of a stack, minute by minute from a Monday at midnight (UTC): ordinary days, which faults then change.

Traffic has the catalogue's expected rates by day and night, a weekly rhythm, slow swings and chance; hit rates are
those that the load test's theory predicts for the scenario `expected`. What else the nodes and CloudFront report is
at levels that a node of this size shows, with what belongs to every week: warming each hour, a snapshot each night, a
release each Wednesday. Assumed, where nothing else is said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from cache.catalog import CATALOG
from infra import alarms as infra_alarms
from infra import baseline_function
from loadtest import population, scenarios, theory
from scripts.alarms.series import Metric, Metrics, Series, missing

if TYPE_CHECKING:
    from cache.catalog import CacheType
    from infra.recorded import Declared

HOUR: Final = 60
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
MONDAY: Final = datetime(2026, 1, 5, tzinfo=UTC)
DAY_STARTS, DAY_ENDS = 7 * HOUR, 23 * HOUR
# Monday to Sunday. Assumed: job search is a matter of working days.
WEEKDAYS: Final = (1.1, 1.1, 1.1, 1.05, 1.0, 0.8, 0.75)
# How far traffic swings around its rhythm within hours (standard deviation of the logarithm). Assumed.
SWING: Final = 0.1
RELEASE_MINUTE: Final = 2 * DAY + 14 * HOUR
RELEASE_MINUTES: Final = 2
BASELINE_MINUTE: Final = 5
# The data of `expected` at 10,000 users, as `make validate` measures it.
ORDINARY_BYTES: Final = 68_000_000


@dataclass
class Scene:
    """`metrics` may be changed until `publish_baseline` reads the counts."""

    declared: Declared
    minutes: int
    metrics: Metrics = field(default_factory=dict)

    def copy(self) -> Scene:
        return Scene(self.declared, self.minutes, {metric: series.copy() for metric, series in self.metrics.items()})

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.declared.settings.node_ids

    def count(self, cache_type: str, name: str) -> Series:
        """Hits or misses of a cache type by the minute."""
        return self.metrics[self._counted(cache_type, name)]

    def set_counts(self, cache_type: str, hits: Series, misses: Series) -> None:
        self.metrics[self._counted(cache_type, infra_alarms.HITS)] = hits
        self.metrics[self._counted(cache_type, infra_alarms.MISSES)] = misses

    def node(self, node: str, name: str) -> Series:
        """A node's metric, to be changed in place."""
        return next(
            series
            for metric, series in self.metrics.items()
            if metric.name == name and ("CacheClusterId", node) in metric.dimensions
        )

    def site(self, name: str) -> Series:
        """A metric of the static site, to be changed in place."""
        return self.metrics[self.site_metric(name)]

    def site_metric(self, name: str) -> Metric:
        distribution = self.declared.outputs["distribution_id"]
        return Metric.of("AWS/CloudFront", name, DistributionId=distribution, Region="Global")

    def publish_baseline(self, *, every: Series | None = None, failing: bool = False) -> None:
        """What the hourly function would have published, by its own code.

        Where `every` is 0 it does not: it is not called, or raises an error if `failing`.
        """
        function = self.declared.one("Function").inputs
        variables = function["environment"]["variables"]
        least = {name: int(value) for name, value in json.loads(variables["LEAST_LOOKUPS"]).items()}
        totals = {
            (name, metric): np.concatenate(([0.0], np.nancumsum(self.count(name, metric))))
            for name in least
            for metric in (infra_alarms.HITS, infra_alarms.MISSES)
        }
        baselines = {name: missing(self.minutes) for name in least}
        runs, errors = missing(self.minutes), missing(self.minutes)
        for minute in range(BASELINE_MINUTE, self.minutes, HOUR):
            if every is not None and not every[minute]:
                if failing:
                    runs[minute] = errors[minute] = 1
                continue
            runs[minute], errors[minute] = 1, 0
            start, end = (
                max(0, int((when - MONDAY).total_seconds() // 60))
                for when in baseline_function.week(MONDAY + timedelta(minutes=minute))
            )
            sums = {key: float(total[end] - total[start]) for key, total in totals.items()}
            for name, value in baseline_function.hit_rates(sums, least).items():
                baselines[name][minute] = value
        for name, values in baselines.items():
            self.metrics[Metric.of(variables["NAMESPACE"], infra_alarms.BASELINE, CacheType=name)] = values
        self.metrics[Metric.of("AWS/Lambda", "Invocations", FunctionName=function["name"])] = runs
        self.metrics[Metric.of("AWS/Lambda", "Errors", FunctionName=function["name"])] = errors

    def _counted(self, cache_type: str, name: str) -> Metric:
        return Metric.of(self.declared.settings.names.metric_namespace, name, CacheType=cache_type)


def ordinary(declared: Declared, *, days: int, seed: int) -> Scene:
    """Days without a fault. One seed gives one scene."""
    rng = np.random.default_rng(seed)
    scene = Scene(declared, days * DAY)
    scenario = scenarios.load("expected")
    rates = theory.predict(scenario, population.draw(scenario, 1))
    rhythm = _rhythm(scene.minutes) * _swings(scene.minutes, rng)
    for cache_type in scenario.catalog:
        # A list view that misses has its popular part, which warming keeps; any other lookup stands alone.
        views, lost = 1, 1.0
        if cache_type.name == "match":
            views, lost = scenario.list_length, 1 - scenario.popular_share
        visits = rng.poisson(_expected(cache_type, scene.minutes) * rhythm / views)
        whole = rng.binomial(visits, 1 - (1 - rates[cache_type.name]) / lost)
        misses = np.round((visits - whole) * views * lost)
        scene.set_counts(cache_type.name, (visits * views - misses).astype(np.float64), misses.astype(np.float64))
    _restart(scene)
    for node in scene.nodes:
        _node(scene, node, rhythm, rng)
    _site(scene, rhythm, rng)
    return scene


def weekly(minutes: int, start: int, length: int) -> Series:
    """1 in the `length` minutes from `start` of each week, else 0."""
    return ((np.arange(minutes) - start) % WEEK < length).astype(np.float64)


def daily(minutes: int, start: int, length: int) -> Series:
    return ((np.arange(minutes) - start) % DAY < length).astype(np.float64)


def by_day(minutes: int) -> Series:
    return daily(minutes, DAY_STARTS, DAY_ENDS - DAY_STARTS)


def _expected(cache_type: CacheType, minutes: int) -> Series:
    day = by_day(minutes)
    return day * cache_type.lookups_per_minute_day + (1 - day) * cache_type.lookups_per_minute_night


def _rhythm(minutes: int) -> Series:
    """Around 1: the weekday, and within the day a rise to the afternoon."""
    time = np.arange(minutes)
    weekday = np.array(WEEKDAYS)[time // DAY % 7]
    hours = (time % DAY - DAY_STARTS) / (DAY_ENDS - DAY_STARTS)
    hump = np.where(by_day(minutes) > 0, 1 + 0.15 * np.sin(np.pi * (2 * hours - 0.5)), 1)
    rhythm: Series = weekday * hump
    return rhythm


def _swings(minutes: int, rng: np.random.Generator) -> Series:
    knots = np.arange(0, minutes + 2 * HOUR, HOUR)
    swings: Series = np.exp(np.interp(np.arange(minutes), knots, rng.normal(0, SWING, len(knots))))
    return swings


def _restart(scene: Scene) -> None:
    """A release restarts the application: for two minutes nobody publishes counts."""
    gap = weekly(scene.minutes, RELEASE_MINUTE, RELEASE_MINUTES) > 0
    for name in CATALOG.names():
        for metric in (infra_alarms.HITS, infra_alarms.MISSES):
            scene.count(name, metric)[gap] = np.nan


def _node(scene: Scene, node: str, rhythm: Series, rng: np.random.Generator) -> None:
    """What ElastiCache reports of a node, https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/CacheMetrics.html."""
    minutes, node_type = scene.minutes, scene.declared.settings.node
    warming = (np.arange(minutes) % HOUR < 2).astype(np.float64)
    # Taken from a replica; a node alone takes it itself.
    snapshot = daily(minutes, 3 * HOUR, 5) * (node == scene.nodes[-1])

    def noise(spread: float) -> Series:
        drawn: Series = rng.normal(0, spread, minutes)
        return drawn

    memory = 100 * ORDINARY_BYTES / node_type.maxmemory_bytes
    free = node_type.maxmemory_bytes * 0.9 - ORDINARY_BYTES
    levels = {
        "EngineCPUUtilization": 2 + 3 * rhythm + 25 * warming + noise(0.5),
        "DatabaseMemoryUsagePercentage": memory + 0.1 * rhythm + noise(0.01),
        "Evictions": np.zeros(minutes),
        "ReplicationLag": np.abs(0.05 + 0.5 * warming + 2 * snapshot + noise(0.02)),
    }
    host = {
        "CPUUtilization": 5 + 4 * rhythm + 15 * warming + 20 * snapshot + noise(1),
        "CurrConnections": 400 + 50 * rhythm + noise(5),
        "SwapUsage": np.full(minutes, 20e6),
        "FreeableMemory": free - 0.2 * free * snapshot,
    }
    if node_type.burstable:
        host["CPUCreditBalance"] = np.full(minutes, 576.0)
    for name, values in levels.items():
        scene.metrics[Metric.of("AWS/ElastiCache", name, CacheClusterId=node)] = np.maximum(values, 0)
    for name, values in host.items():
        scene.metrics[Metric.of("AWS/ElastiCache", name, CacheClusterId=node, CacheNodeId="0001")] = values


def _site(scene: Scene, rhythm: Series, rng: np.random.Generator) -> None:
    """A release changes the fingerprinted files, so that the edges fetch each once again."""
    minutes = scene.minutes
    released = weekly(minutes, RELEASE_MINUTE, 15)
    requests = rng.poisson(300 * np.where(by_day(minutes) > 0, rhythm, 0.2 * rhythm)).astype(np.float64)
    errors, refused = (rng.binomial(requests.astype(np.int64), share) for share in (0.0002, 0.01))
    levels = {
        "Requests": requests,
        "CacheHitRate": np.clip(95 - 25 * released + rng.normal(0, 1, minutes), 0, 100),
        "5xxErrorRate": 100 * errors / np.maximum(requests, 1),
        "403ErrorRate": 100 * refused / np.maximum(requests, 1),
    }
    for name, values in levels.items():
        scene.metrics[scene.site_metric(name)] = values
