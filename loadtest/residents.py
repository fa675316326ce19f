"""How much is in the cache, and what a memory limit would do to the hit rates: from the model of `theory`. Pure.

By PASTA the share of visits that find an entry is the share of time for which it is there, so hit rates and memory
come from one model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cache import keys
from loadtest import renewal, sizing, theory
from loadtest.errors import ScenarioError
from loadtest.scenarios import DAY_S, HOUR_S, NIGHT_HOURS

if TYPE_CHECKING:
    from loadtest.population import Population
    from loadtest.renewal import Floats
    from loadtest.scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Residents:
    """The entries of one cache type: chance to be there, uses per day (what keeps LRU from evicting), bytes of one.

    A sample of users stands for all of them: `weight` says for how many each one does.
    """

    present: Floats
    uses_per_day: Floats
    entry_bytes: int
    weight: float

    @property
    def entries(self) -> float:
        return float(self.present.sum()) * self.weight

    def held_bytes(self, unused_days: float) -> float:
        """Bytes where whatever nobody used for so long is evicted."""
        kept = renewal.sliding_ttl(self.uses_per_day, unused_days)
        return float((self.present * kept).sum()) * self.weight * self.entry_bytes


def of(
    scenario: Scenario, people: Population, *, layout: str = "hash", allocator: str = "jemalloc"
) -> dict[str, Residents]:
    """The resident entries of each cache type; an entry of type match is all that one user has."""
    allocate = sizing.ALLOCATORS[allocator]
    sizes = {each.name: each.item_size_bytes for each in scenario.catalog}
    rate = people.visits_per_day
    weight = scenario.users / len(rate)
    lookups = theory.company_rates(scenario, people)
    company = sizing.string_entry(keys.company(scenario.companies), 1 + sizes["company"], allocate)
    ijp = sizing.string_entry(keys.ijp(scenario.users), 1 + sizes["ijp"], allocate)
    session = sizing.string_entry(keys.session(scenario.users), 5 + sizes["session"], allocate)
    return {
        "match": Residents(
            _has_scores(scenario, rate),
            _uses_of_scores(scenario, rate),
            _scores_bytes(scenario, layout, allocator),
            weight,
        ),
        "company": Residents(theory.company_present(scenario, lookups), lookups, company, 1.0),
        "ijp": Residents(theory.ijp_present(scenario, rate), rate, ijp, weight),
        "session": Residents(_in_session(scenario, rate), rate, session, weight),
    }


def memory_bytes(scenario: Scenario, residents: dict[str, Residents], allocator: str = "jemalloc") -> int:
    """All of it, with the tables and the jobs' generations."""
    allocate = sizing.ALLOCATORS[allocator]
    entries = sum(each.entries for each in residents.values())
    data = sum(each.entries * each.entry_bytes for each in residents.values())
    return round(data) + sizing.tables(round(entries), allocate) + sizing.job_generations(scenario.jobs, allocate)


def limited(
    scenario: Scenario, people: Population, maxmemory_bytes: int, *, layout: str
) -> tuple[dict[str, float], float]:
    """Hit rates with LRU eviction at `maxmemory_bytes`, and the characteristic time in days (infinite: all fits).

    Che's approximation: who was not used for t_C is evicted. A visit's first lookups then miss whatever would have
    been there; what the visit itself wrote stays. Raises ScenarioError for a limit below what is there without data.
    """
    there = of(scenario, people, layout=layout)
    overhead = memory_bytes(scenario, there) - sum(each.entries * each.entry_bytes for each in there.values())
    if maxmemory_bytes <= overhead:
        raise ScenarioError(
            f"--maxmemory is {maxmemory_bytes / 1e6:g} MB; tables and the generations of {scenario.jobs:,} jobs alone "
            f"take {overhead / 1e6:.1f} MB."
        )
    t_c = renewal.characteristic_time(
        lambda unused: sum(each.held_bytes(unused) for each in there.values()), maxmemory_bytes - overhead
    )
    rates = theory.predict(scenario, people)
    del rates["session_first_lookup"]
    mean = theory.visit(scenario)
    visits = people.visits_per_day
    first_lookups = {"match": scenario.list_length, "ijp": 1.0, "company": 1.0, "session": 0.0}
    per_visit = {
        "match": mean.list_views * scenario.list_length + mean.jobs_opened,
        "ijp": mean.list_views + mean.preference_pages,
        "company": 1.0,
        "session": 1.0,
    }
    for name, each in there.items():
        used = each.uses_per_day if name == "company" else visits
        evicted = 1 - renewal.sliding_ttl(each.uses_per_day, t_c)
        lost = float((used * evicted * each.present).sum() / used.sum())
        rates[name] = max(0.0, rates[name] - lost * first_lookups[name] / per_visit[name])
    return rates, t_c


def _has_scores(scenario: Scenario, rate: Floats) -> Floats:
    """A user's hash lives a TTL from its last write, by a visit or by warming."""
    if scenario.warming == "off":
        return renewal.sliding_ttl(rate, scenario.catalog.match.ttl_s / DAY_S)
    present: Floats = 1 - theory.long_absence(scenario, rate)
    return present


def _uses_of_scores(scenario: Scenario, rate: Floats) -> Floats:
    """Warming reads the stamps of active users every hour."""
    if scenario.warming == "off":
        return rate
    active = -np.expm1(-rate * scenario.warming_active_days)
    uses: Floats = rate + active * DAY_S / HOUR_S
    return uses


def _scores_bytes(scenario: Scenario, layout: str, allocator: str) -> int:
    """What one user has: the list, the popular jobs beside it, and closed ones that nobody has removed yet."""
    allocate = sizing.ALLOCATORS[allocator]
    is_warmed = scenario.warming != "off"
    scores = scenario.list_length + (scenario.popular_jobs - scenario.popular_in_list if is_warmed else 0)
    ttl_days = scenario.catalog.match.ttl_s / DAY_S
    scores += round(scores * scenario.vacancy_turnover_per_day * ttl_days / 2)
    if layout == "hash":
        jobs = list(range(scenario.jobs, scenario.jobs + scores))
        return sizing.scores_entry(scenario.users, jobs, allocate, is_warmed=is_warmed)
    return scores * (
        sizing.string_entry(keys.match_score(scenario.users, scenario.jobs), 28, allocate) + sizing.TABLE_BYTES_OF_ENTRY
    )


def _in_session(scenario: Scenario, rate: Floats) -> Floats:
    """Entries at once by day: the visit, and a TTL behind it unless it ended with a logout."""
    lasts_s = (scenario.pages_per_visit - 1) * scenario.seconds_per_page
    lasts_s += (1 - scenario.logout_share) * scenario.catalog.session.ttl_s
    by_day = (1 - scenario.night_share) * 24 / (24 - NIGHT_HOURS)
    there: Floats = renewal.sliding_ttl(rate * by_day, lasts_s / DAY_S)
    return there
