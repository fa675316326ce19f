"""Rising steps of load at a fixed schedule: who is to act when, what came of it, where it broke. Knows no Locust.

The schedule is open: operations are due at fixed times, however slow the server answers, and each one's latency counts
from the time at which it was due (coordinated omission: Tene, How NOT to measure latency, 2013).
"""

from __future__ import annotations

import random
from bisect import bisect
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hdrh.histogram import HdrHistogram

from loadtest import theory
from loadtest.traffic import CacheCall, Call

if TYPE_CHECKING:
    from loadtest.population import Population
    from loadtest.scenarios import Scenario

# {cache type: (hits, lookups)}
Hits: TypeAlias = dict[str, tuple[int, int]]

_LONGEST_US: Final = 60_000_000
PERCENTILES: Final = (50.0, 95.0, 99.0, 99.9)
# Below this share of the asked rate, a step was not reached.
REACHED: Final = 0.99
# Nor if more than this share of its lookups went unanswered: a page that does without the cache is soon done.
UNANSWERED: Final = 0.001
# From this share of a core on, a processor is said to be full.
_FULL: Final = 0.9


def histogram() -> HdrHistogram:
    """Latencies from 1 µs to a minute, to three digits."""
    return HdrHistogram(1, _LONGEST_US, 3)


def added(some: Hits, others: Hits) -> Hits:
    """The sums by cache type."""
    return {
        name: (
            some.get(name, (0, 0))[0] + others.get(name, (0, 0))[0],
            some.get(name, (0, 0))[1] + others.get(name, (0, 0))[1],
        )
        for name in {**some, **others}
    }


@dataclass(slots=True)
class Schedule:
    """One process's part of the steps: `rates` are operations per second of this process, one step after another.

    Between two steps nothing is due for `pause_s`: a process that judges the steps as well takes a tenth of a second
    for one, which is not to be counted as latency of the next.
    """

    rates: list[float]
    step_s: float
    began: float
    pause_s: float
    _step: int = 0
    _slot: int = 0

    def begin_of(self, step: int) -> float:
        return self.began + step * (self.step_s + self.pause_s)

    def end_of(self, step: int) -> float:
        return self.begin_of(step) + self.step_s

    def next_due(self, now: float) -> tuple[int, float] | None:
        """(step, time at which the next operation is due); None behind the last step.

        What a step could not begin before its end is left out: it is missing from the step's achieved rate.
        """
        while self._step < len(self.rates):
            due, end = self.begin_of(self._step) + self._slot / self.rates[self._step], self.end_of(self._step)
            if due < end and now < end:
                self._slot += 1
                return self._step, due
            self._step, self._slot = self._step + 1, 0
        return None


class Mix:
    """Calls in the proportions of the scenario's visits, by people as often as they visit."""

    def __init__(self, scenario: Scenario, people: Population, seed: int) -> None:
        mean = theory.visit(scenario)
        weights = {
            Call.GET_SESSION: mean.session_lookups,
            Call.MATCH_SCORES: mean.list_views,
            Call.COMPANY: mean.jobs_opened,
            Call.IJP: mean.list_views + mean.preference_pages,
            Call.START_SESSION: 1.0,
            Call.UPDATE_IJP: mean.changes,
        }
        self._calls = list(weights)
        self._bounds = list(accumulate(weights.values()))
        self._users = list(accumulate(people.visits_per_day.tolist()))
        self._people = people
        self._rng = random.Random(seed)

    def next(self) -> CacheCall:
        rng = self._rng
        call = self._calls[bisect(self._bounds, rng.random() * self._bounds[-1])]
        user = min(bisect(self._users, rng.random() * self._users[-1]), len(self._users) - 1)
        jobs = self._people.lists[user].tolist()
        if call is Call.MATCH_SCORES:
            return CacheCall(call, user, jobs=tuple(jobs))
        if call is Call.COMPANY:
            return CacheCall(call, user, int(self._people.slot_company[rng.choice(jobs)]))
        return CacheCall(call, user)


@dataclass(slots=True)
class Tally:
    """What one process did: latencies by (step, operation); by step, its processor time and its lookups."""

    latencies: dict[tuple[int, str], HdrHistogram] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)
    hits: dict[int, Hits] = field(default_factory=dict)
    unanswered: dict[int, int] = field(default_factory=dict)

    def add(self, step: int, name: str, latency_us: float) -> None:
        found = self.latencies.get((step, name))
        if found is None:
            found = self.latencies[step, name] = histogram()
        found.record_value(min(max(1, int(latency_us)), _LONGEST_US))

    def packed(self) -> dict[str, Any]:
        """For the way to the master; sums since the start, so that a lost report does no harm."""
        return {
            "latencies": [(step, name, found.encode()) for (step, name), found in self.latencies.items()],
            "cpu_s": self.cpu_s,
            "hits": self.hits,
            "unanswered": self.unanswered,
        }

    def merge_packed(self, packed: dict[str, Any]) -> None:
        for step, name, text in packed["latencies"]:
            self.latencies.setdefault((step, name), histogram()).decode_and_add(text)
        for step, seconds in packed["cpu_s"].items():
            self.cpu_s[int(step)] = max(self.cpu_s.get(int(step), 0.0), seconds)
        for step, hits in packed["hits"].items():
            self.hits[int(step)] = added(self.hits.get(int(step), {}), hits)
        for step, count in packed["unanswered"].items():
            self.unanswered[int(step)] = self.unanswered.get(int(step), 0) + count


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one step. Rates are operations a second, latencies µs from the due time, CPU shares of one core."""

    asked: float
    achieved: float
    latency_us: dict[str, int]  # by percentile, over all operations
    operations: dict[str, dict[str, int]]  # by operation: count, and latencies by percentile
    generator_cpu: float | None
    server_cpu: dict[str, float]  # by node; empty where the server does not tell
    hits: Hits
    unanswered: float  # share of the lookups that no server answered

    def shortfall(self, limit_ms: float) -> str | None:
        """Why this step was not reached; None if it was."""
        reasons = []
        if self.achieved < REACHED * self.asked:
            reasons.append(f"{self.achieved:,.0f} were achieved")
        if self.unanswered > UNANSWERED:
            reasons.append(f"{100 * self.unanswered:.1f} % of the lookups were not answered")
        if self.latency_us["p99"] > limit_ms * 1000:
            reasons.append(f"p99 was {self.latency_us['p99'] / 1000:.1f} ms, over {limit_ms:g} ms")
        return ", ".join(reasons) or None

    def is_reached(self, limit_ms: float) -> bool:
        return self.shortfall(limit_ms) is None


def step_of(tally: Tally, number: int, asked: float, seconds: float, server_cpu: dict[str, float]) -> Step:
    both = histogram()
    operations = {}
    for (step, name), found in sorted(tally.latencies.items()):
        if step == number:
            both.add(found)
            operations[name] = {"count": found.get_total_count()} | percentiles(found)
    cpu_s = tally.cpu_s.get(number)
    hits = tally.hits.get(number, {})
    lookups = sum(lookups for _, lookups in hits.values())
    return Step(
        asked=asked,
        achieved=both.get_total_count() / seconds,
        latency_us=percentiles(both),
        operations=operations,
        generator_cpu=None if cpu_s is None else cpu_s / seconds,
        server_cpu=server_cpu,
        hits=hits,
        unanswered=tally.unanswered.get(number, 0) / lookups if lookups else 0.0,
    )


def percentiles(found: HdrHistogram) -> dict[str, int]:
    return {f"p{point:g}": found.get_value_at_percentile(point) for point in PERCENTILES}


def conclusion(steps: list[Step], limit_ms: float, stopped_because: str | None = None) -> str:
    """A few sentences: the rate that was held, and what ended it. `stopped_because` says why the run broke off."""
    if stopped_because and not steps:
        return f"PARTIAL: {stopped_because}, before a step was over. Nothing is known."
    held = [step for step in steps if step.is_reached(limit_ms)]
    best = f"Held: {max(step.asked for step in held):,.0f} operations a second." if held else "No step was held."
    broken = next((step for step in steps if not step.is_reached(limit_ms)), None)
    if stopped_because and broken is None:
        return f"PARTIAL: {stopped_because}. {best} What lies beyond is not known."
    if broken is None:
        return f"{best} Nothing broke; ask for more with --steps."
    hints = []
    if (broken.generator_cpu or 0) > _FULL:
        hints.append(" The load generator's own processor was full: give it more with --processes or workers.")
    if full := [name for name, share in broken.server_cpu.items() if share > _FULL]:
        hints.append(f" The server's processor was full: {', '.join(full)}.")
    return f"{best} SHORTFALL at {broken.asked:,.0f} a second: {broken.shortfall(limit_ms)}.{''.join(hints)}"
