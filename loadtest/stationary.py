"""The history that leaves the cache as it would be after years of this traffic: what to write, and when.

A cold start needs more than two TTLs to forget itself; a cache filled at once is wrong the other way (nothing expires
for a whole TTL). In the stationary state an entry is there with the probability P / (P + A) of `theory`, and was
written at a time that is even over its life in even time (`traffic.Rhythm`): for a TTL of whole days the rate of
writes at each time of the day is the rate of visits then.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from loadtest import renewal, theory
from loadtest.scenarios import DAY_S, HOUR_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtest.population import Population
    from loadtest.scenarios import Scenario
    from loadtest.traffic import Rhythm

_WARMED_EVERY_HOURS: Final = 23  # a TTL of 24 h, renewed by the last hourly run before it ends


@dataclass(frozen=True, slots=True, order=True)
class Write:
    """One write of the history, `age_s` seconds before the start: what, for whom, and which slots' scores."""

    age_s: int
    what: str  # "company", "ijp", "scores" or "warm"
    subject: int
    slots: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Writes from the oldest to the newest, and how long ago each user logged in last (seconds)."""

    writes: list[Write]
    last_login_age_s: dict[int, int]


def history(scenario: Scenario, population: Population, rhythm: Rhythm, seed: int, start_s: float = 0.0) -> History:
    """The history before a start `start_s` seconds after a midnight."""
    rng = random.Random(seed * 1_000_003 - 2)
    draw = _Draw(scenario, population, rhythm, rng, start_s)
    logins = {user: draw.age(rng.expovariate(rate)) for user, rate in enumerate(population.visits_per_day.tolist())}
    writes = [*draw.companies(), *draw.preferences(), *draw.warmed(logins), *draw.scores()]
    return History(sorted(writes, reverse=True), logins)


@dataclass(slots=True)
class _Draw:
    scenario: Scenario
    population: Population
    rhythm: Rhythm
    rng: random.Random
    start_s: float

    def age(self, even_days: float) -> int:
        """Seconds before the start that lie this much even time before it; at least one step of the grid."""
        step = self.scenario.resolution_s
        seconds = self.start_s - self.rhythm.clock(self.rhythm.even(self.start_s) - even_days * DAY_S)
        return max(step, int(seconds // step) * step)

    def written(self, removals: float, ttl_days: float) -> float:
        """Age in even days of an entry that is there: density e^(-kappa a) on (0, T)."""
        if removals <= 0:
            return self.rng.random() * ttl_days
        return -math.log1p(self.rng.random() * math.expm1(-removals * ttl_days)) / removals

    def companies(self) -> Iterator[Write]:
        """Renewed by hand at the rate nu, an entry's age since its last write has the density e^(-nu a)."""
        ttl = self.scenario.catalog.company.ttl_s / DAY_S
        nu = self.scenario.company_refreshes_per_day
        life = float(renewal.renewed_life(nu, ttl))
        for company, rate in enumerate(theory.company_rates(self.scenario, self.population).tolist()):
            arrivals = rate + nu
            if arrivals and self.rng.random() < life / (life + 1 / arrivals):
                yield Write(self.age(self.written(nu, ttl)), "company", company)

    def preferences(self) -> Iterator[Write]:
        ttl = self.scenario.catalog.ijp.ttl_s / DAY_S
        changes = theory.visit(self.scenario).change_follows
        rates = self.population.visits_per_day
        lives = renewal.renewed_life(rates * changes, ttl)
        for user, (rate, life) in enumerate(zip(rates.tolist(), lives.tolist(), strict=True)):
            if self.rng.random() < life / (life + 1 / rate):
                yield Write(self.age(self.written(rate * changes, ttl)), "ijp", user)

    def scores(self) -> Iterator[Write]:
        """What visits filled: the personal part of the list, all of it without warming."""
        scenario = self.scenario
        ttl = scenario.catalog.match.ttl_s / DAY_S
        rates = self.population.visits_per_day
        changes = theory.visit(scenario).change_follows
        misses = theory.unwarmed_misses(scenario, rates)
        gone = scenario.vacancy_turnover_per_day + scenario.job_updates_per_day
        # Writes of a list come at the rate `rate * miss`; the list itself goes by the user's changes alone.
        there = np.minimum(1.0, rates * misses * renewal.life(rates * changes, ttl))
        for user, (rate, is_there) in enumerate(zip(rates.tolist(), there.tolist(), strict=True)):
            if self.rng.random() >= is_there:
                continue
            age = self.written(rate * changes, ttl)
            slots = self.population.lists[user]
            if scenario.warming != "off":
                slots = slots[slots >= scenario.popular_jobs]
            share = math.exp(-gone * age)
            kept = tuple(slot for slot in slots.tolist() if self.rng.random() < share)
            if kept:
                yield Write(self.age(age), "scores", user, kept)

    def warmed(self, logins: dict[int, int]) -> Iterator[Write]:
        """The last run that renewed each user's scores, at a full hour; for those given up, their last one ever."""
        scenario = self.scenario
        if scenario.warming == "off":
            return
        ttl = scenario.catalog.match.ttl_s
        given_up_after = scenario.warming_active_days * DAY_S
        for user, login in logins.items():
            since = max(0, login - given_up_after)
            age = since + self.rng.randrange(1, _WARMED_EVERY_HOURS + 1) * HOUR_S
            age -= age % HOUR_S
            if age < ttl:
                yield Write(age, "warm", user)
