"""What goes wrong, put into the metrics of ordinary days.

Where the answer of the cache is the question, a run of the load test gives it (`injected`, see measured.py). The other
faults are what their causes make of the metrics: every lookup misses, nothing is published, a level is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cache.catalog import CATALOG
from infra.alarms import HITS, MISSES
from loadtest.faults import Fault as Injected
from scripts.alarms.scene import DAY, HOUR, RELEASE_MINUTES, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scripts.alarms.series import Series

# A Tuesday at 10:20, when a week of ordinary days has made the baseline and the hour's warming is over.
BEGINS: Final = 8 * DAY + 10 * HOUR + 20
DAYS: Final = 11
# A run of the load test begins at the midnight before.
RUN_AT_S: Final = BEGINS % DAY * 60


@dataclass(frozen=True)
class Fault:
    """Lasts from BEGINS to `lasts` minutes later, when it is repaired; what follows from it may last longer."""

    name: str
    what: str
    lasts: int
    put: Callable[[Scene, slice], None]
    # What the load test is told to do at virtual seconds of its run; none: the fault needs no run.
    injected: tuple[Injected, ...] = ()
    # What the baseline's function does meanwhile: it "runs", has "failed" or is "disabled".
    baseline: str = "runs"
    # Only nodes that burst have CPU credits.
    needs_credits: bool = False

    def add_to(self, scene: Scene) -> None:
        """Puts the fault into a scene, whose counts may already be those of a run, and publishes the baseline."""
        during = slice(BEGINS, BEGINS + self.lasts)
        self.put(scene, during)
        running = np.ones(scene.minutes)
        running[during] = self.baseline == "runs"
        scene.publish_baseline(every=running, failing=self.baseline == "failed")


def spoil(scene: Scene, cache_type: str, kept: Series) -> None:
    """Of the hits of each minute from BEGINS on, only the share `kept` remains; the others become misses."""
    hits, misses = scene.count(cache_type, HITS), scene.count(cache_type, MISSES)
    after = slice(BEGINS, BEGINS + len(kept))
    lost = np.round(hits[after] * (1 - kept))
    hits[after] -= lost
    misses[after] += lost


def all_faults() -> tuple[Fault, ...]:
    return (*_of_the_cache(), *_of_the_nodes(), *_of_the_rest())


def _nothing(_scene: Scene, _during: slice) -> None:
    """All of the fault is in the run, or in the baseline."""


def _of_the_cache() -> tuple[Fault, ...]:
    return (
        Fault(
            "warming-stopped",
            "The hourly warming does not run for 30 hours.",
            30 * HOUR,
            _nothing,
            (Injected(RUN_AT_S, "warming-stopped", RUN_AT_S + 30 * 3_600),),
        ),
        Fault("cache-flushed", "Somebody sends FLUSHALL.", 1, _nothing, (Injected(RUN_AT_S, "flush"),)),
        Fault(
            "cold-deployment",
            "A release cannot read what the one before it wrote.",
            RELEASE_MINUTES,
            _unpublished,
            # What cannot be read is as good as gone.
            (Injected(RUN_AT_S, "flush"),),
        ),
        Fault(
            "invalidation-storm",
            "A job updates all vacancies every five minutes, for two hours.",
            2 * HOUR,
            _nothing,
            tuple(Injected(RUN_AT_S + minute * 60, "storm") for minute in range(0, 2 * HOUR, 5)),
        ),
        Fault(
            "ttl-halved",
            "A release halves the TTL of every cache type.",
            3 * DAY,
            _nothing,
            tuple(Injected(RUN_AT_S, "ttl-halved", None, name) for name in CATALOG.names()),
        ),
        *(_key_bug(name) for name in CATALOG.names()),
        Fault("quiet-night", "Nobody comes between 23:00 and 07:00.", DAY, _nobody),
        Fault("telemetry-lost", "The application may not publish metrics any more.", 3 * HOUR, _unpublished),
    )


def _key_bug(cache_type: str) -> Fault:
    return Fault(
        f"key-bug-{cache_type}",
        f"A release asks for {cache_type} by a wrong key: every lookup misses.",
        3 * HOUR,
        lambda scene, during: spoil(scene, cache_type, np.zeros(during.stop - during.start)),
    )


def _of_the_nodes() -> tuple[Fault, ...]:
    return (
        Fault(
            "group-lost",
            "Every node fails: nothing answers for five minutes, then an empty cache.",
            5,
            _group_lost,
            (Injected(RUN_AT_S, "node-lost", RUN_AT_S + 5 * 60),),
        ),
        Fault("node-lost", "The primary fails; its replica takes over in a minute, a new node comes.", 15, _node_lost),
        Fault("memory-filling", "A kind of entry without a TTL: memory is full after 20 hours.", 26 * HOUR, _filling),
        Fault(
            "expensive-command",
            "Somebody runs KEYS in a loop on the primary.",
            30,
            lambda scene, during: _node_levels(scene, during, 0, EngineCPUUtilization=98, CPUUtilization=56),
        ),
        Fault(
            "connection-leak",
            "A client is made for each request and never closed.",
            2 * HOUR,
            lambda scene, during: _node_ramp(scene, during, 0, "CurrConnections", 400, 5_000),
        ),
        Fault(
            "busy-node",
            "Four hours of twice the planned traffic.",
            4 * HOUR,
            lambda scene, during: _node_levels(scene, during, 0, EngineCPUUtilization=75, CPUUtilization=60),
        ),
        Fault(
            "credits-spent",
            "A day of load under the CPU alarm that the node's credits do not carry.",
            DAY,
            _spent,
            needs_credits=True,
        ),
        Fault(
            "replication-stalled",
            "The replica falls behind for 40 minutes.",
            40,
            lambda scene, during: _node_levels(scene, during, -1, ReplicationLag=20),
        ),
        Fault(
            "swapping",
            "Somebody set reserved-memory-percent to 0: a snapshot swaps.",
            30,
            lambda scene, during: _node_levels(scene, during, 0, SwapUsage=2e9, FreeableMemory=5e7),
        ),
    )


def _of_the_rest() -> tuple[Fault, ...]:
    return (
        Fault("site-uncached", "A release puts query strings on the files' names.", 3 * HOUR, _uncached),
        Fault("site-failing", "S3 answers with errors.", HOUR, _failing),
        Fault("bucket-closed", "Somebody removes the bucket's policy.", HOUR, _closed),
        Fault("baseline-denied", "The baseline's role loses its policy.", 6 * HOUR, _nothing, baseline="failed"),
        Fault("baseline-disabled", "The baseline's schedule is disabled.", 6 * HOUR, _nothing, baseline="disabled"),
    )


def _unpublished(scene: Scene, during: slice) -> None:
    for name in CATALOG.names():
        for metric in (HITS, MISSES):
            scene.count(name, metric)[during] = np.nan


def _nobody(scene: Scene, during: slice) -> None:
    night = slice(during.start + 13 * HOUR, during.start + 21 * HOUR)
    for name in CATALOG.names():
        for metric in (HITS, MISSES):
            scene.count(name, metric)[night] = 0
    scene.site("Requests")[night] = 0


def _silent(scene: Scene, during: slice, nodes: Sequence[str]) -> None:
    for metric, values in scene.metrics.items():
        if any(("CacheClusterId", node) in metric.dimensions for node in nodes):
            values[during] = np.nan


def _group_lost(scene: Scene, during: slice) -> None:
    _silent(scene, during, scene.nodes)


def _node_lost(scene: Scene, during: slice) -> None:
    _silent(scene, during, scene.nodes[:1])
    for name in CATALOG.names():
        spoil(scene, name, np.zeros(1))


def _filling(scene: Scene, during: slice) -> None:
    share = np.linspace(0, 1.3, during.stop - during.start)
    full = share >= 1
    for node in scene.nodes:
        memory = scene.node(node, "DatabaseMemoryUsagePercentage")
        memory[during] = np.minimum(memory[during] + 100 * share, 100)
        scene.node(node, "Evictions")[during] = np.where(full, 500.0, 0)
    # What is evicted first was least used; the longer it lasts, the more is missed.
    for name in CATALOG.names():
        spoil(scene, name, np.where(full, 1 - 0.5 * np.clip((share - 1) / 0.3, 0, 1), 1))


def _spent(scene: Scene, during: slice) -> None:
    """Two busy vCPUs spend 120 credits an hour; the node earns 24 an hour and keeps 576 at most."""
    load = 0.44
    _node_levels(scene, during, 0, CPUUtilization=100 * load)
    hours = np.arange(scene.minutes - during.start) / HOUR
    lasted = (during.stop - during.start) / HOUR
    left = np.maximum(576 - (120 * load - 24) * np.minimum(hours, lasted), 0)
    balance = scene.node(scene.nodes[0], "CPUCreditBalance")
    balance[during.start :] = np.minimum(left + 24 * np.maximum(hours - lasted, 0), 576)


def _uncached(scene: Scene, during: slice) -> None:
    scene.site("CacheHitRate")[during] = 40


def _failing(scene: Scene, during: slice) -> None:
    scene.site("5xxErrorRate")[during] = 20


def _closed(scene: Scene, during: slice) -> None:
    """S3 refuses CloudFront; what the edges and the browsers have is still served."""
    scene.site("403ErrorRate")[during] = 20


def _node_levels(scene: Scene, during: slice, which: int, **levels: float) -> None:
    for name, level in levels.items():
        scene.node(scene.nodes[which], name)[during] = level


def _node_ramp(scene: Scene, during: slice, which: int, name: str, low: float, high: float) -> None:
    scene.node(scene.nodes[which], name)[during] = np.linspace(low, high, during.stop - during.start)
