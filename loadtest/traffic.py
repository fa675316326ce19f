"""What people do, as seeded streams of `(delay_s, operation)` that know neither a clock nor a server.

A user's stream: visits, each a login, the jobs list, more pages, perhaps a logout. The platform's stream: vacancies
replaced, jobs updated, companies refreshed, the hourly warming. `Platform` turns an operation into the cache calls
that RoleFerry's pages make for it.
"""

from __future__ import annotations

import math
import random
from bisect import bisect
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from loadtest.scenarios import DAY_S, DAY_STARTS_AT_HOUR, HOUR_S, NIGHT_HOURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtest.population import Population
    from loadtest.scenarios import Scenario


class Action(Enum):
    LOGIN = auto()
    VIEW_LIST = auto()
    OPEN_JOB = auto()  # subject: the slot
    READ_PREFERENCES = auto()
    CHANGE_PREFERENCES = auto()
    LOGOUT = auto()
    REPLACE_VACANCY = auto()  # subject: the slot
    UPDATE_JOB = auto()  # subject: the slot
    REFRESH_COMPANY = auto()  # subject: the company
    WARM = auto()


class Operation(NamedTuple):
    """Who does what; for the platform's own operations `user` is -1."""

    action: Action
    user: int
    subject: int = 0


Stream: TypeAlias = "Iterator[tuple[int, Operation]]"  # without end: seconds since the one before, what happens


class Rhythm:
    """Day and night: turns time in which events are evenly spread into time of the day, and back."""

    def __init__(self, night_share: float) -> None:
        self._night_rate = night_share * 24 / NIGHT_HOURS
        self._day_rate = (1 - night_share) * 24 / (24 - NIGHT_HOURS)
        night_before = DAY_STARTS_AT_HOUR * HOUR_S
        day_ends = night_before + (24 - NIGHT_HOURS) * HOUR_S
        self._corners = (
            (0.0, 0.0, self._night_rate),
            (night_before, night_before * self._night_rate, self._day_rate),
            (day_ends, night_before * self._night_rate + (day_ends - night_before) * self._day_rate, self._night_rate),
        )

    def even(self, time_s: float) -> float:
        """Seconds of even time at `time_s` after a midnight."""
        day, rest = divmod(time_s, DAY_S)
        start, even_start, rate = next(c for c in reversed(self._corners) if rest >= c[0])
        return day * DAY_S + even_start + (rest - start) * rate

    def clock(self, even_s: float) -> float:
        """The inverse of `even`."""
        day, rest = divmod(even_s, DAY_S)
        start, even_start, rate = next(c for c in reversed(self._corners) if rest >= c[1])
        return day * DAY_S + start + ((rest - even_start) / rate if rate else 0.0)


@dataclass
class Behaviour:
    """The streams of one scenario, population and seed."""

    scenario: Scenario
    population: Population
    seed: int
    rhythm: Rhythm = field(init=False)

    def __post_init__(self) -> None:
        self.rhythm = Rhythm(self.scenario.night_share)
        self._positions = list(accumulate(self.population.position_weights.tolist()))
        self._slots = list(accumulate(self.population.slot_weights.tolist()))

    def streams(self) -> Iterator[Stream]:
        """The platform's, then everybody's."""
        yield self.platform()
        yield from map(self.user, range(self.scenario.users))

    def user(self, user: int, start_s: float = 0.0) -> Stream:
        """An endless stream of one user; `start_s` is the time of the day at which it begins."""
        rng = random.Random(self.seed * 1_000_003 + user)
        rate_per_s = float(self.population.visits_per_day[user]) / DAY_S
        now_s = start_s
        while True:
            visit_s = self.rhythm.clock(self.rhythm.even(now_s) + rng.expovariate(rate_per_s))
            delay = self._on_grid(visit_s - now_s)
            for gap, operation in self._visit(user, rng):
                delay += gap
                yield delay, operation
                now_s += delay
                delay = 0

    def platform(self) -> Stream:
        """An endless stream of what happens beside the users; the hour's warming comes at the hour."""
        scenario = self.scenario
        rng = random.Random(self.seed * 1_000_003 - 1)
        rates = tuple(
            (action, per_day * count / DAY_S, count)
            for action, per_day, count in (
                (Action.REPLACE_VACANCY, scenario.vacancy_turnover_per_day, scenario.jobs),
                (Action.UPDATE_JOB, scenario.job_updates_per_day, scenario.jobs),
                (Action.REFRESH_COMPANY, scenario.company_refreshes_per_day, scenario.companies),
            )
        )
        total = sum(rate for _, rate, _ in rates)
        now = last = 0
        exact = 0.0
        next_hour = HOUR_S
        while True:
            exact += rng.expovariate(total) if total else HOUR_S
            now = self._on_grid(exact)
            while next_hour <= now:
                yield next_hour - last, Operation(Action.WARM, -1)
                last = next_hour
                next_hour += HOUR_S
            if total:
                action, _, count = rng.choices(rates, [rate for _, rate, _ in rates])[0]
                yield now - last, Operation(action, -1, rng.randrange(count))
                last = now

    def _visit(self, user: int, rng: random.Random) -> Iterator[tuple[int, Operation]]:
        scenario = self.scenario
        yield 0, Operation(Action.LOGIN, user)
        yield 0, Operation(Action.VIEW_LIST, user)
        while rng.random() < scenario.continues:
            kind = rng.random()
            gap = self._page_time(rng)
            if kind < scenario.list_page_share:
                yield gap, Operation(Action.VIEW_LIST, user)
            elif kind < scenario.list_page_share + scenario.job_page_share:
                yield gap, Operation(Action.OPEN_JOB, user, self._job(user, rng))
            else:
                yield gap, Operation(Action.READ_PREFERENCES, user)
                if rng.random() < scenario.preferences_change_share:
                    yield self._page_time(rng), Operation(Action.CHANGE_PREFERENCES, user)
        if rng.random() < scenario.logout_share:
            yield self._page_time(rng), Operation(Action.LOGOUT, user)

    def _job(self, user: int, rng: random.Random) -> int:
        if rng.random() < self.scenario.search_share:
            return min(bisect(self._slots, rng.random()), len(self._slots) - 1)
        position = min(bisect(self._positions, rng.random()), len(self._positions) - 1)
        return int(self.population.lists[user, position])

    def _page_time(self, rng: random.Random) -> int:
        """At least one step of the grid, so that one user's pages never fall together."""
        sigma = self.scenario.page_time_sigma
        mu = math.log(self.scenario.seconds_per_page) - sigma * sigma / 2
        return max(self._on_grid(rng.lognormvariate(mu, sigma)), self.scenario.resolution_s)

    def _on_grid(self, seconds: float) -> int:
        step = self.scenario.resolution_s
        return round(seconds / step) * step


class Call(Enum):
    """A call of the cache library, by what it is for."""

    START_SESSION = auto()
    GET_SESSION = auto()
    END_SESSION = auto()
    MATCH_SCORES = auto()  # jobs
    COMPANY = auto()  # subject: the company
    IJP = auto()
    UPDATE_IJP = auto()
    INVALIDATE_JOB = auto()  # subject: the job
    SET_COMPANY = auto()  # subject: the company


class CacheCall(NamedTuple):
    call: Call
    user: int
    subject: int = 0
    jobs: tuple[int, ...] = ()
    counted_for: int = -1  # row of the counts where it is not the user's

    @property
    def row(self) -> int:
        return self.user if self.counted_for < 0 else self.counted_for


PAGE_REQUESTS: Final = {
    # API requests of a page. Each one looks up the session before its own data.
    Action.VIEW_LIST: 2,  # the list, the preferences shown beside it
    Action.OPEN_JOB: 2,  # the job with its score, its company
    Action.READ_PREFERENCES: 1,
    Action.CHANGE_PREFERENCES: 1,
}


class Platform:
    """RoleFerry's state beside the cache: which vacancy is in which slot, who was here when."""

    def __init__(self, scenario: Scenario, population: Population) -> None:
        self._scenario = scenario
        self._population = population
        self._job_of_slot = list(range(scenario.jobs))
        self._next_job = scenario.jobs
        self.last_login: dict[int, float] = {}

    def popular(self) -> list[int]:
        """The jobs that warming knows, most popular first."""
        return self._job_of_slot[: self._scenario.popular_jobs]

    def jobs(self) -> list[int]:
        """All open vacancies."""
        return list(self._job_of_slot)

    def active_users(self, now: float) -> list[int]:
        since = now - self._scenario.warming_active_days * DAY_S
        return [user for user, login in self.last_login.items() if login > since]

    def jobs_of(self, user: int) -> tuple[int, ...]:
        """The list that the user sees now."""
        return tuple(map(self._job_of_slot.__getitem__, self._population.lists[user].tolist()))

    def company_of(self, slot: int) -> int:
        """The employer of the vacancies in a slot."""
        return int(self._population.slot_company[slot])

    def calls(self, operation: Operation, now: float) -> list[CacheCall]:
        """The cache calls of one operation, in their order. WARM has none here: the driver runs it."""
        if operation.user < 0:
            return self._own(operation)
        action, user, subject = operation
        session = CacheCall(Call.GET_SESSION, user)
        match action:
            case Action.LOGIN:
                self.last_login[user] = now
                return [CacheCall(Call.START_SESSION, user)]
            case Action.VIEW_LIST:
                jobs = CacheCall(Call.MATCH_SCORES, user, jobs=self.jobs_of(user))
                return [session, jobs, session, CacheCall(Call.IJP, user)]
            case Action.OPEN_JOB:
                score = CacheCall(Call.MATCH_SCORES, user, jobs=(self._job_of_slot[subject],))
                return [session, score, session, CacheCall(Call.COMPANY, user, self.company_of(subject))]
            case Action.READ_PREFERENCES:
                return [session, CacheCall(Call.IJP, user)]
            case Action.CHANGE_PREFERENCES:
                return [session, CacheCall(Call.UPDATE_IJP, user)]
            case _:
                return [CacheCall(Call.END_SESSION, user)]

    def _own(self, operation: Operation) -> list[CacheCall]:
        action, _, subject = operation
        if action is Action.REPLACE_VACANCY:
            closed = self._job_of_slot[subject]
            self._job_of_slot[subject] = self._next_job
            self._next_job += 1
            return [CacheCall(Call.INVALIDATE_JOB, -1, closed)]  # nobody asks for it again: its generation may go
        if action is Action.UPDATE_JOB:
            return [CacheCall(Call.INVALIDATE_JOB, -1, self._job_of_slot[subject])]
        if action is Action.REFRESH_COMPANY:
            return [CacheCall(Call.SET_COMPANY, -1, subject)]
        return []
