"""Hit rates predicted from a scenario, without a server. Pure.

All cache types follow one renewal argument. An entry lives from its write until its TTL ends or something removes it
(rate kappa): on average `P = (1 - e^(-kappa T)) / kappa`; then it is absent until the next lookup: `A`. Every cycle
has one miss, so misses come at the rate `1 / (P + A)`. Without removals and with Poisson lookups this is the known
fixed-TTL form `h = lambda T / (1 + lambda T)` (Jung, Berger, Balakrishnan: Modeling TTL-based Internet Caches,
INFOCOM 2003; Choungmo Fofack et al., Computer Networks 65, 2014). Writes that renew the TTL (rate nu) stretch the
life to `P = (e^(nu T) - 1) / nu`. Lookups within a visit come in bursts: only the first of them can miss.

Day and night do not matter where T is a whole number of days: any such window has the same expected visits.

What is left out, each under 0.05 points in `expected`: a visit that straddles the end of a TTL, vacancies replaced
while a user was away between 7 and 8 days, repeated searches for one job.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from loadtest.renewal import fixed_ttl, life, over_keys, renewed_life
from loadtest.scenarios import DAY_S, HOUR_S
from loadtest.traffic import PAGE_REQUESTS, Action

if TYPE_CHECKING:
    from loadtest.population import Population
    from loadtest.renewal import Floats
    from loadtest.scenarios import Scenario

_HOUR_DAYS: Final = HOUR_S / DAY_S


@dataclass(frozen=True, slots=True)
class Visit:
    """Mean numbers of one visit; pages after the first are geometric with the shares of the scenario."""

    list_views: float
    jobs_opened: float
    preference_pages: float
    changes: float
    change_follows: float  # probability that a look at the list is followed by a change within the visit
    list_after_change: float  # probability that the list is seen again after a change
    opened_after_change: float  # jobs opened from the list between a change and the next look at the list

    @property
    def times_changed(self) -> float:
        """Changes after which the list was not seen before the next: between two looks, several are as good as one."""
        return self.change_follows / (1 - self.change_follows * self.list_after_change)

    @property
    def session_lookups(self) -> float:
        return (
            PAGE_REQUESTS[Action.VIEW_LIST] * self.list_views
            + PAGE_REQUESTS[Action.OPEN_JOB] * self.jobs_opened
            + PAGE_REQUESTS[Action.READ_PREFERENCES] * self.preference_pages
            + PAGE_REQUESTS[Action.CHANGE_PREFERENCES] * self.changes
        )


def visit(scenario: Scenario) -> Visit:
    more = scenario.pages_per_visit - 1
    onward = scenario.continues
    no_list_yet = 1 - onward * (1 - scenario.list_page_share)
    change_share = scenario.preferences_page_share * scenario.preferences_change_share
    return Visit(
        list_views=1 + more * scenario.list_page_share,
        jobs_opened=more * scenario.job_page_share,
        preference_pages=more * scenario.preferences_page_share,
        changes=more * change_share,
        change_follows=onward * change_share / (1 - onward * (1 - change_share)),
        list_after_change=onward * scenario.list_page_share / no_list_yet,
        opened_after_change=onward * scenario.job_page_share * (1 - scenario.search_share) / no_list_yet,
    )


def predict(scenario: Scenario, population: Population) -> dict[str, float]:
    """Hit rate by cache type, and `session_first_lookup`: the session's with each visit's first lookup a miss."""
    return {
        "match": match(scenario, population),
        "company": company(scenario, population),
        "ijp": ijp(scenario, population),
        "session": session(scenario, population),
        "session_first_lookup": session(scenario, population, first_lookup_misses=True),
    }


def session(scenario: Scenario, _: Population | None = None, *, first_lookup_misses: bool = False) -> float:
    """The login writes the entry; a page after a longer break than the TTL misses, then the user logs in again."""
    mean = visit(scenario)
    lookups = mean.session_lookups
    # The requests of one page go out together: after a long break all of them miss.
    waited_for = lookups - PAGE_REQUESTS[Action.VIEW_LIST]
    misses = waited_for * _break_longer_than(scenario, scenario.catalog.session.ttl_s)
    if first_lookup_misses:
        misses += 1
    return 1 - misses / lookups


def ijp(scenario: Scenario, population: Population) -> float:
    """Written through at each change; the first lookup of a visit misses if nothing was written for a TTL."""
    mean = visit(scenario)
    rate = population.visits_per_day
    miss_share = 1 - ijp_present(scenario, rate)
    lookups = mean.list_views + mean.preference_pages
    return 1 - float((rate * miss_share).sum() / (rate.sum() * lookups))


def ijp_present(scenario: Scenario, rate: Floats) -> Floats:
    """(users,) share of time, and so of visits, for which a user's preferences are there."""
    lives = renewed_life(rate * visit(scenario).change_follows, scenario.catalog.ijp.ttl_s / DAY_S)
    return fixed_ttl(rate, lives)


def company_rates(scenario: Scenario, population: Population) -> Floats:
    """(companies,) lookups per day of each company: through the lists that show it, and through search.

    A population that is a sample of the scenario's users stands for all of them.
    """
    opened = population.visits_per_day.mean() * scenario.users * visit(scenario).jobs_opened
    listed, searched = population.slot_shares, population.slot_weights
    per_slot = opened * ((1 - scenario.search_share) * listed + scenario.search_share * searched)
    per_company = np.zeros(scenario.companies)
    np.add.at(per_company, population.slot_company, per_slot)
    return per_company


def company(scenario: Scenario, population: Population) -> float:
    """Many users look at one company: Poisson. Refreshes by hand renew the TTL."""
    rates = company_rates(scenario, population)
    return over_keys(rates, company_present(scenario, rates))


def company_present(scenario: Scenario, rates: Floats) -> Floats:
    """(companies,) share of time for which each company's data is there."""
    lives = renewed_life(scenario.company_refreshes_per_day, scenario.catalog.company.ttl_s / DAY_S)
    return fixed_ttl(rates + scenario.company_refreshes_per_day, lives)


def match(scenario: Scenario, population: Population) -> float:
    """List views of 100 scores, and single scores of opened jobs."""
    mean = visit(scenario)
    rate = population.visits_per_day
    personal = unwarmed_misses(scenario, rate)
    popular = personal if scenario.warming == "off" else _warmed_misses(scenario, rate)
    single = _opened_misses(scenario, population, rate)
    per_visit = scenario.popular_in_list * popular + scenario.personal_in_list * personal + single
    lookups = mean.list_views * scenario.list_length + mean.jobs_opened
    return 1 - float((rate * per_visit).sum() / (rate.sum() * lookups))


def removals(scenario: Scenario, rate: Floats) -> Floats:
    """Per day: what ends the life of a score before its TTL."""
    return rate * visit(scenario).change_follows + scenario.vacancy_turnover_per_day + scenario.job_updates_per_day


def unwarmed_misses(scenario: Scenario, rate: Floats) -> Floats:
    """Misses per visit and score that only lookups fill.

    From one fill to the next: the visit that filled may go on to a change (probability c), which is followed by
    another look (q: a fill at once) or not (absent until the next visit); else the score lives for P, until its TTL,
    a change in a later visit, or a removal ends it.
    """
    mean = visit(scenario)
    c, q = mean.change_follows, mean.list_after_change
    lives = life(removals(scenario, rate), scenario.catalog.match.ttl_s / DAY_S)
    absent = (1 - rate * c * q * lives) / rate
    cycle = c * (1 - q) / rate + (1 - c) * (lives + absent)
    misses: Floats = 1 / cycle / rate
    return misses


def _warmed_misses(scenario: Scenario, rate: Floats) -> Floats:
    """Misses per visit and popular score: after a long absence, since the last hour's run, after a change."""
    mean = visit(scenario)
    away = long_absence(scenario, rate)
    gone = scenario.vacancy_turnover_per_day + scenario.job_updates_per_day
    since_last_run = 1 - life(gone, _HOUR_DAYS) / _HOUR_DAYS
    return away + (1 - away) * since_last_run + mean.times_changed * mean.list_after_change


def long_absence(scenario: Scenario, rate: Floats) -> Floats:
    """Probability that a visit comes when warming has given the user up and the last warmed scores have expired.

    The last run leaves scores with a rest of life between 0 and a TTL, evenly.
    """
    ttl = scenario.catalog.match.ttl_s / DAY_S
    return np.exp(-rate * scenario.warming_active_days) * life(rate, ttl) / ttl


def _opened_misses(scenario: Scenario, population: Population, rate: Floats) -> Floats:
    """Misses per visit of single scores: searched ones that no list holds, and listed ones right after a change."""
    mean = visit(scenario)
    weights = population.slot_weights
    in_list = weights[population.lists].sum(axis=1)
    known = in_list if scenario.warming == "off" else _known_with_warming(scenario, population, in_list, rate)
    searched = mean.jobs_opened * scenario.search_share * (1 - known)
    misses: Floats = searched + mean.times_changed * mean.opened_after_change
    return misses


def _known_with_warming(scenario: Scenario, population: Population, in_list: Floats, rate: Floats) -> Floats:
    weights = population.slot_weights
    popular = scenario.popular_jobs
    popular_in_list = np.where(population.lists < popular, weights[population.lists], 0).sum(axis=1)
    warmed_only = (weights[:popular].sum() - popular_in_list) * (1 - long_absence(scenario, rate))
    known: Floats = in_list + warmed_only
    return known


def _break_longer_than(scenario: Scenario, seconds: int) -> float:
    """P(time on a page > TTL); an entry lives to the end of its last second, the grid rounds to the nearest step."""
    sigma = scenario.page_time_sigma
    mu = math.log(scenario.seconds_per_page) - sigma * sigma / 2
    edge = seconds + scenario.resolution_s / 2
    return math.erfc((math.log(edge) - mu) / sigma / math.sqrt(2)) / 2
