"""What goes wrong, put into the metrics of ordinary days.

How hit rates fall and recover is modelled here from the theory of the load test; the rehearsal replaces these models
by what the library did on a real server, where it is asked to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cache.catalog import CATALOG
from infra.alarms import HITS, MISSES
from loadtest import scenarios
from scripts.alarms.scene import DAY, HOUR, RELEASE_MINUTES, Scene, predicted

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.alarms.series import Series

# A Tuesday at ten, when a week of ordinary days has made the baseline.
BEGINS: Final = 8 * DAY + 10 * HOUR
DAYS: Final = 12


@dataclass(frozen=True)
class Fault:
    """Lasts from BEGINS to `lasts` minutes later, when it is repaired; what follows from it may last longer."""

    name: str
    what: str
    lasts: int
    put: Callable[[Scene, slice], None]
    # What the baseline's function does meanwhile: it "runs", has "failed" or is "disabled".
    baseline: str = "runs"
    # Only nodes that burst have CPU credits.
    needs_credits: bool = False

    def scene(self, ordinary: Scene) -> Scene:
        """A scene of its own with the fault in it."""
        scene = Scene(ordinary.declared, ordinary.minutes, {key: one.copy() for key, one in ordinary.metrics.items()})
        during = slice(BEGINS, BEGINS + self.lasts)
        self.put(scene, during)
        running = np.ones(scene.minutes)
        running[during] = self.baseline == "runs"
        scene.publish_baseline(every=running, failing=self.baseline == "failed")
        return scene


def spoil(scene: Scene, cache_type: str, kept: Series) -> None:
    """Of the hits of each minute from BEGINS on, only the share `kept` remains; the others become misses."""
    hits, misses = scene.count(cache_type, HITS), scene.count(cache_type, MISSES)
    after = slice(BEGINS, BEGINS + len(kept))
    lost = np.round(hits[after] * (1 - kept))
    hits[after] -= lost
    misses[after] += lost


def all_faults() -> tuple[Fault, ...]:
    return (*_of_the_cache(), *_of_the_nodes(), *_of_the_rest())


def _of_the_cache() -> tuple[Fault, ...]:
    return (
        Fault(
            "warming-stopped", "The hourly warming stops; a day later all it wrote has expired.", 30 * HOUR, _unwarmed
        ),
        Fault("cache-flushed", "FLUSHALL by hand; warming runs at the next full hour.", 1, _flushed),
        Fault(
            "cold-deployment", "A release cannot read what the one before it wrote; warming is run by hand.", 1, _cold
        ),
        Fault(
            "invalidation-storm", "A job rewrites vacancies for two hours: scores go as fast as they come.", 120, _storm
        ),
        Fault("ttl-halved", "A release halves the TTL of every cache type.", 3 * DAY, _halved),
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
    def nothing(_scene: Scene, _during: slice) -> None:
        """The fault is in the baseline."""

    return (
        Fault("site-uncached", "A release puts query strings on the files' names.", 3 * HOUR, _uncached),
        Fault("bucket-closed", "Somebody removes the bucket's policy.", HOUR, _closed),
        Fault("baseline-denied", "The baseline's role loses its policy.", 6 * HOUR, nothing, "failed"),
        Fault("baseline-disabled", "The baseline's schedule is disabled.", 6 * HOUR, nothing, "disabled"),
    )


def _since(scene: Scene) -> Series:
    """Minutes since the fault began."""
    return np.arange(scene.minutes - BEGINS, dtype=np.float64)


def _unwarmed(scene: Scene, during: slice) -> None:
    without = predicted(warming="off")["match"] / predicted()["match"]
    kept = 1 - (1 - without) * np.minimum(_since(scene) / DAY, 1)
    # Once it runs again, everything is written within the hour.
    kept[during.stop - during.start + HOUR :] = 1
    spoil(scene, "match", kept)


def _flushed(scene: Scene, _during: slice) -> None:
    _emptied(scene, warm_after=HOUR - BEGINS % HOUR)


def _cold(scene: Scene, _during: slice) -> None:
    _emptied(scene, warm_after=10)
    for name in CATALOG.names():
        for metric in (HITS, MISSES):
            scene.count(name, metric)[BEGINS : BEGINS + RELEASE_MINUTES] = np.nan


def _emptied(scene: Scene, *, warm_after: int) -> None:
    """Entries come back as they are asked for, each type at the pace of its visits; warming writes popular scores."""
    since = _since(scene)
    popular = scenarios.load("expected").popular_share
    spoil(scene, "match", np.where(since < warm_after, 0, 1 - (1 - popular) * np.exp(-since / DAY)))
    for name, pace in (("company", DAY), ("ijp", 2 * DAY), ("session", 10)):
        spoil(scene, name, 1 - np.exp(-since / pace))


def _storm(scene: Scene, during: slice) -> None:
    spoil(scene, "match", np.full(during.stop - during.start, 0.2))


def _halved(scene: Scene, _during: slice) -> None:
    before = predicted()
    after = predicted(ttl_s={cache_type.name: cache_type.ttl_s // 2 for cache_type in CATALOG})
    for cache_type in CATALOG:
        gone = np.minimum(_since(scene) * 60 / cache_type.ttl_s, 1)
        spoil(scene, cache_type.name, 1 - gone * (1 - after[cache_type.name] / before[cache_type.name]))


def _nobody(scene: Scene, during: slice) -> None:
    night = slice(during.start + 13 * HOUR, during.start + 21 * HOUR)
    for name in CATALOG.names():
        for metric in (HITS, MISSES):
            scene.count(name, metric)[night] = 0
    scene.site("Requests")[night] = 0


def _unpublished(scene: Scene, during: slice) -> None:
    for name in CATALOG.names():
        for metric in (HITS, MISSES):
            scene.count(name, metric)[during] = np.nan


def _node_lost(scene: Scene, during: slice) -> None:
    for metric, values in scene.metrics.items():
        if ("CacheClusterId", scene.nodes[0]) in metric.dimensions:
            values[during] = np.nan
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


def _closed(scene: Scene, during: slice) -> None:
    scene.site("5xxErrorRate")[during] = 20


def _node_levels(scene: Scene, during: slice, which: int, **levels: float) -> None:
    for name, level in levels.items():
        scene.node(scene.nodes[which], name)[during] = level


def _node_ramp(scene: Scene, during: slice, which: int, name: str, low: float, high: float) -> None:
    scene.node(scene.nodes[which], name)[during] = np.linspace(low, high, during.stop - during.start)
