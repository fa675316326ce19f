"""Faults as the library lived through them: the load test in virtual time, on a real server.

A run begins at the midnight before a fault, from the stationary state, and lasts three days. Its counts reach the
scene through the library's own sink for CloudWatch, its INFO as ElastiCache's metrics. What a run does not have (CPU,
connections, the static site, the week before) stays that of ordinary days. Runs take minutes, so they are kept.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cache.catalog import CATALOG
from cache.metrics.cloudwatch import Minutes
from cache.stats import ABSENT, Counts
from loadtest import scenarios, virtual
from scripts.alarms.faults import BEGINS
from scripts.alarms.scene import DAY, Scene
from scripts.alarms.series import Metric, Series, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtest.result import Result
    from scripts.alarms.faults import Fault

FOLDER: Final = Path(__file__).with_name("runs")
DAYS: Final = 3
_STARTS: Final = BEGINS // DAY * DAY
_SAMPLE_S: Final = 300


class RunError(RuntimeError):
    """A run is missing or did not end. Says what to do."""


@dataclass(frozen=True)
class Run:
    """By virtual minute: hits and misses by cache type; the server's memory and evictions, NaN without INFO."""

    hits: dict[str, Series]
    misses: dict[str, Series]
    used_bytes: Series
    evicted: Series

    @classmethod
    def of(cls, result: Result) -> Run:
        if result.stopped_because:
            raise RunError(f"the load test ended before its time: {result.stopped_because}.")
        counted = [types for _, types in result.minutes()]
        hits, misses = (
            {name: np.array([types[name][which] for types in counted], dtype=np.float64) for name in CATALOG.names()}
            for which in (0, 1)
        )
        used, evicted = missing(len(counted)), missing(len(counted))
        before = 0.0
        for sample in result.samples:
            # One sample stands for the minutes since the one before.
            minutes = slice((sample.at_s - _SAMPLE_S) // 60, sample.at_s // 60)
            used[minutes] = sample.info["used_memory"]
            # The server's count begins anew when it is restarted.
            evicted[minutes] = max(sample.info["evicted_keys"] - before, 0) * 60 / _SAMPLE_S
            before = sample.info["evicted_keys"]
        return cls(hits, misses, used, evicted)

    def save(self, path: Path) -> None:
        arrays = {f"hits_{name}": values for name, values in self.hits.items()}
        arrays |= {f"misses_{name}": values for name, values in self.misses.items()}
        np.savez_compressed(
            path,
            used_bytes=self.used_bytes.astype(np.float32),
            evicted=self.evicted.astype(np.float32),
            **{name: values.astype(np.uint16) for name, values in arrays.items()},  # type: ignore[arg-type]
        )

    @classmethod
    def load(cls, path: Path) -> Run:
        try:
            with path.open("rb") as file, np.load(file) as stored:
                arrays = {name: stored[name].astype(np.float64) for name in stored.files}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):  # the last: one whose writing was interrupted
            raise RunError(f"there is no run {path}; drive it with --fresh.") from None
        return cls(
            {name: arrays[f"hits_{name}"] for name in CATALOG.names()},
            {name: arrays[f"misses_{name}"] for name in CATALOG.names()},
            arrays["used_bytes"],
            arrays["evicted"],
        )


def path(folder: Path, fault: Fault, every: Sequence[Fault]) -> Path:
    """Where the run of a fault is kept; faults that inject the same share it."""
    shared = next(other.name for other in every if other.injected == fault.injected)
    return folder / f"{shared}.npz"


def drive(fault: Fault, *, seed: int, users: int | None = None, progress: Callable[[str, float], None]) -> Run:
    """Runs the load test with the fault in it, with as many users as the scenario or with fewer. Minutes."""
    scenario = scenarios.load("expected").changed(days=DAYS)
    if users:
        scenario = scenario.changed(users=users)
    return Run.of(virtual.run(scenario, seed=seed, faults=fault.injected, sample_every_s=_SAMPLE_S, progress=progress))


def put(scene: Scene, run: Run) -> None:
    """Replaces counts, memory and evictions of a scene by those of a run."""
    settings = scene.declared.settings
    minutes = slice(_STARTS, _STARTS + len(run.used_bytes))
    for metric, values in published(settings.names.metric_namespace, run).items():
        scene.metrics[metric][minutes] = values
    for node in scene.nodes:
        scene.node(node, "DatabaseMemoryUsagePercentage")[minutes] = (
            100 * run.used_bytes / settings.node.maxmemory_bytes
        )
        scene.node(node, "Evictions")[minutes] = run.evicted


def published(namespace: str, run: Run) -> dict[Metric, Series]:
    """What the library's sink sends of these counts, by metric."""
    length = len(run.used_bytes)
    sink = Minutes()
    series: dict[Metric, Series] = {}
    for minute in range(length):
        counted = {
            name: Counts(hits=int(run.hits[name][minute]), misses={ABSENT: int(run.misses[name][minute])})
            for name in run.hits
        }
        sink.add(minute * 60, counted)
        for datum in sink.data(minute * 60):
            dimensions = {one["Name"]: one["Value"] for one in datum["Dimensions"]}
            metric = Metric.of(namespace, datum["MetricName"], **dimensions)
            series.setdefault(metric, missing(length))[minute] = datum["Value"]
        sink.sent(minute * 60)
    return series
