"""What a scenario would give with other TTLs, warming and traffic, by the model alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from loadtest import flip, residents, theory
from loadtest import population as populations
from loadtest.scenarios import DAY_S, HOUR_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtest.population import Population
    from loadtest.scenarios import Scenario

TTLS_S: Final = {
    "match": (6 * HOUR_S, 12 * HOUR_S, DAY_S, 2 * DAY_S, 7 * DAY_S),
    "company": (7 * DAY_S, 14 * DAY_S, 30 * DAY_S, 60 * DAY_S),
    "ijp": (DAY_S, 7 * DAY_S, 14 * DAY_S, 30 * DAY_S, 60 * DAY_S),
    "session": (5 * 60, 15 * 60, 30 * 60),
}
SESSIONS_PER_USER_DAY: Final = (0.15, 0.5, 1.0, 3.0)
_LONGEST_TTL_S: Final = 90 * DAY_S


@dataclass(frozen=True, slots=True)
class Cell:
    """The prediction for one cache type with one change of its TTL, the warming and the traffic."""

    cache_type: str
    ttl_s: int
    warming: str
    sessions_per_user_day: float
    hit_rate: float
    meets_target: bool
    memory_bytes: int  # of all cache types together


@dataclass(frozen=True, slots=True)
class Row:
    """One cache type as the scenario has it; `change` is the smallest one that would meet a missed target."""

    name: str
    target: float
    predicted: float
    meets_target: bool
    entries: float
    memory_bytes: int
    change: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A scenario by the model: its rows, its memory, and the cells around it.

    `limited` holds the hit rates under a memory limit, and `unused_days` after how long unused entries are evicted.
    """

    scenario: Scenario
    layout: str
    rows: list[Row]
    memory_bytes: int
    cells: list[Cell]
    limited: dict[str, float] | None = None
    unused_days: float | None = None


def plan(scenario: Scenario, *, layout: str = "hash", maxmemory_bytes: int | None = None) -> Plan:
    people = populations.draw(scenario, 1, at_most=flip.SAMPLE)
    predicted = theory.predict(scenario, people)
    there = residents.of(scenario, people, layout=layout)
    rows = []
    for cache_type in scenario.catalog:
        name, target = cache_type.name, cache_type.target_hit_rate
        held = there[name]
        is_met = predicted[name] >= target
        change = None if is_met else _smallest_change(scenario, people, name)
        memory = round(held.entries * held.entry_bytes)
        rows.append(Row(name, target, predicted[name], is_met, held.entries, memory, change))
    limited, unused = (
        (None, None) if maxmemory_bytes is None else residents.limited(scenario, people, maxmemory_bytes, layout=layout)
    )
    return Plan(
        scenario=scenario,
        layout=layout,
        rows=rows,
        memory_bytes=residents.memory_bytes(scenario, there),
        cells=list(_cells(scenario, people, layout)),
        limited=limited,
        unused_days=unused,
    )


def _cells(scenario: Scenario, now: Population, layout: str) -> Iterator[Cell]:
    for sessions in SESSIONS_PER_USER_DAY:
        people = replace(now, visits_per_day=now.visits_per_day * (sessions / scenario.sessions_per_user_day))
        for name, ttls_s in TTLS_S.items():
            for ttl_s in sorted({*ttls_s, scenario.catalog[name].ttl_s}):
                for warming in ("due", "off") if name == "match" else (scenario.warming,):
                    changed = scenario.changed(
                        ttl_s=scenario.ttl_s | {name: ttl_s}, warming=warming, sessions_per_user_day=sessions
                    )
                    rate = getattr(theory, name)(changed, people)
                    memory = residents.memory_bytes(changed, residents.of(changed, people, layout=layout))
                    meets = rate >= scenario.catalog[name].target_hit_rate
                    yield Cell(name, ttl_s, warming, sessions, rate, meets, memory)


def _smallest_change(scenario: Scenario, people: Population, name: str) -> str:
    """First what the platform chooses (TTL, warming), then what it would take of the traffic."""
    predict, target = getattr(theory, name), scenario.catalog[name].target_hit_rate

    def is_met(ttl_s: int, warming: str = scenario.warming) -> bool:
        changed = scenario.changed(ttl_s=scenario.ttl_s | {name: ttl_s}, warming=warming)
        return bool(predict(changed, people) >= target)

    now_s = scenario.catalog[name].ttl_s
    if name == "match" and scenario.warming == "off" and is_met(now_s, "due"):
        return "warming off → due"
    if is_met(_LONGEST_TTL_S):
        low, high = now_s, _LONGEST_TTL_S
        unit = HOUR_S if now_s >= HOUR_S else 60
        while high - low > unit:
            middle = (low + high) // 2
            low, high = (low, middle) if is_met(middle) else (middle, high)
        return f"ttl_s.{name} {duration(now_s)} → {duration(-(-high // unit) * unit)}"
    found = flip.smallest(scenario, people, name)
    return str(found) if found else "no single change within reason"


def duration(seconds: int) -> str:
    """As `30 d`, `36 h` or `15 min`."""
    for unit_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (60, "min")):
        if seconds % unit_s == 0:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"
