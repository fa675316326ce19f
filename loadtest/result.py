"""What a run measured."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING

from cache.warming import WarmingCounts
from loadtest.scenarios import MINUTE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cache.stats import Stats
    from loadtest.counts import Counts
    from loadtest.faults import Fault
    from loadtest.population import Population
    from loadtest.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server's INFO said at a virtual second after the start: its numbers, by their names in INFO."""

    at_s: int
    info: dict[str, float]


@dataclass(frozen=True, slots=True)
class Memory:
    """The server's memory at one virtual hour; `used_bytes` without what an empty server needs."""

    hour: int
    used_bytes: int


@dataclass(slots=True)
class Result:
    """What a run measured."""

    scenario: Scenario
    population: Population | None  # None for recorded traffic, of which no model is known
    seed: int
    layout: str
    counts: Counts
    stats: Stats
    clock_note: str
    server_version: str
    faults: tuple[Fault, ...] = ()
    memory: list[Memory] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    # {virtual hour: [scores computed by warming, invalidations of users and jobs]}
    activity: dict[int, list[int]] = field(default_factory=dict)
    warming: WarmingCounts = field(default_factory=WarmingCounts)
    warming_commands: int = 0
    warming_runs: int = 0
    server_lookups: int = 0  # 0 where the server went away before it was asked
    commands: int = 0
    history_wall_s: float = 0.0
    wall_s: float = 0.0
    notes: dict[str, str] = field(default_factory=dict)  # by cache type: why its row is as it is
    remarks: list[str] = field(default_factory=list)  # about the run as a whole
    precision: float | None = None  # the half width of every interval that was asked for
    is_live: bool = False  # in real time, by Locust
    # Where the run ended before its time: why, and after how many virtual seconds.
    stopped_because: str | None = None
    ran_s: int = 0

    @property
    def span(self) -> str:
        """How long it was, for people."""
        return f"{self.wall_s:.0f} s in real time" if self.is_live else f"{self.scenario.days} virtual days"

    def minutes(self) -> Iterator[tuple[int, dict[str, tuple[int, int]]]]:
        """(virtual minute, {cache type: (hits, misses)}) of every minute that the run reached, in order."""
        nothing = [0, 0]
        for minute in range(-(-self.ran_s // MINUTE_S)):
            seen = {name: counted.by_minute.get(minute, nothing) for name, counted in self.counts.types.items()}
            yield minute, {name: (hits, lookups - hits) for name, (hits, lookups) in seen.items()}


def versions(server: str) -> dict[str, str]:
    """What took part in a run. `server` is what the server says of itself."""
    packages = ("roleferry-cache", "redis", "hiredis", "orjson", "numpy")
    return {"python": platform.python_version(), "server": server} | {
        package: metadata.version(package) for package in packages
    }
