"""The same behaviour before a cache of a few dicts: no server, no library, no closed form of a hit rate.

The third opinion, beside `theory` and `virtual`. It takes the stationary start and the streams of one seed, so that a
run on the server has the same lookups, and must have the same hits. What happens at one instant is in flight together:
what a miss computes is stored behind all lookups of that instant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from cache.catalog import SESSION_MAX_LIFETIME_S
from cache.warming import HORIZON_S
from loadtest import population as populations
from loadtest import stationary
from loadtest.counts import Counts
from loadtest.scenarios import DAY_S, MINUTE_S
from loadtest.traffic import Action, Behaviour, Call, Platform
from loadtest.virtual import instants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from loadtest.population import Population
    from loadtest.scenarios import Scenario
    from loadtest.traffic import CacheCall

_LONG_AGO: Final = -(10**12)  # no deadline of an entry that is there


def run(
    scenario: Scenario, *, seed: int, progress: Callable[[str, float], None] = lambda _what, _share: None
) -> tuple[Counts, Population]:
    """Hits and lookups of a scenario, and who made them."""
    people = populations.draw(scenario, seed)
    behaviour = Behaviour(scenario, people, seed)
    history = stationary.history(scenario, people, behaviour.rhythm, seed)
    cache = _Cache(scenario)
    for age, writes in groupby(history.writes, key=attrgetter("age_s")):
        cache.now = -age
        cache.write(list(writes))
    platform = Platform(scenario, people)
    platform.last_login.update({user: -age for user, age in history.last_login_age_s.items()})
    end = scenario.days * DAY_S
    cache.counts = Counts.of(scenario.catalog.names(), scenario.users)
    for now, operations in instants(behaviour.streams(), end):
        cache.now = now
        for operation in operations:
            if operation.action is Action.WARM:
                cache.warm(platform.active_users(now), platform.popular())
                progress("simulating", now / end)
                continue
            for call in platform.calls(operation, now):
                cache.act(call)
        cache.store_computed()
    return cache.counts, people


@dataclass(slots=True)
class _Scores:
    """One user's: `{job: (deadline, the job's version)}`; the list that was warmed last, and until when it holds."""

    of_jobs: dict[int, tuple[int, int]] = field(default_factory=dict)
    warmed: dict[int, int] | None = None
    due: int = 0


class _Cache:
    """Deadlines instead of values. A score holds up to its deadline, all else to the end of that second."""

    def __init__(self, scenario: Scenario) -> None:
        self._everything = scenario.warming == "everything"
        self._warms = scenario.warming != "off"
        self._popular = range(scenario.popular_jobs)
        self._ttl_s = {each.name: each.ttl_s for each in scenario.catalog}
        self._scores: dict[int, _Scores] = {}
        self._job_versions: dict[int, int] = {}
        self._companies: dict[int, int] = {}
        self._preferences: dict[int, int] = {}
        self._sessions: dict[int, tuple[int, int]] = {}  # deadline, end of the greatest lifetime
        self._computed: list[Callable[[], None]] = []
        self.counts = Counts.of(scenario.catalog.names(), scenario.users)
        self.now = 0

    def write(self, together: list[stationary.Write]) -> None:
        """The history's writes of one instant; at the start, each slot's job has the slot's number."""
        self.warm([write.subject for write in together if write.what == "warm"], self._popular)
        for write in together:
            if write.what == "company":
                self._companies[write.subject] = self.now + self._ttl_s["company"]
            elif write.what == "ijp":
                self._preferences[write.subject] = self.now + self._ttl_s["ijp"]
            elif write.what == "scores":
                self._look_up_scores(write.subject, write.slots)
        self.store_computed()

    def act(self, call: CacheCall) -> None:
        user = call.user
        match call.call:
            case Call.GET_SESSION:
                self._count(call, "session", self._look_up_session(user))
            case Call.MATCH_SCORES:
                self._count(call, "match", self._look_up_scores(user, call.jobs), len(call.jobs))
            case Call.COMPANY:
                self._count(call, "company", self._look_up(self._companies, call.subject, "company"))
            case Call.IJP:
                self._count(call, "ijp", self._look_up(self._preferences, user, "ijp"))
            case Call.START_SESSION:
                self._start_session(user)
            case Call.END_SESSION:
                self._sessions.pop(user, None)
            case Call.UPDATE_IJP:
                self._preferences[user] = self.now + self._ttl_s["ijp"]
                self._scores.pop(user, None)
            case Call.INVALIDATE_JOB:
                self._job_versions[call.subject] = self._version(call.subject) + 1
            case Call.SET_COMPANY:
                self._companies[call.subject] = self.now + self._ttl_s["company"]

    def _count(self, call: CacheCall, name: str, hits: int, lookups: int = 1) -> None:
        self.counts.types[name].add(call.row, hits, lookups, self.now // MINUTE_S)

    def store_computed(self) -> None:
        for store in self._computed:
            store()
        self._computed.clear()

    def _version(self, job: int) -> int:
        return self._job_versions.get(job, 0)

    def _look_up(self, deadlines: dict[int, int], subject: int, name: str) -> int:
        if deadlines.get(subject, _LONG_AGO) >= self.now:
            return 1
        self._computed.append(lambda: deadlines.__setitem__(subject, self.now + self._ttl_s[name]))
        return 0

    def _start_session(self, user: int) -> None:
        self._sessions[user] = self.now + self._ttl_s["session"], self.now + SESSION_MAX_LIFETIME_S

    def _look_up_session(self, user: int) -> int:
        deadline, ends = self._sessions.get(user, (_LONG_AGO, _LONG_AGO))
        if deadline >= self.now:
            self._sessions[user] = self.now + self._ttl_s["session"], ends
            if ends > self.now:
                return 1
        self._computed.append(lambda: self._start_session(user))
        return 0

    def _look_up_scores(self, user: int, jobs: Iterable[int]) -> int:
        held = self._scores.get(user)
        stored = held.of_jobs if held else {}
        hits, missing = 0, {}
        for job in jobs:
            version = self._version(job)
            deadline, of_version = stored.get(job, (_LONG_AGO, 0))
            if deadline > self.now and of_version == version:
                hits += 1
            else:
                missing[job] = (self.now + self._ttl_s["match"], version)
        if missing:
            self._computed.append(lambda: self._scores.setdefault(user, _Scores()).of_jobs.update(missing))
        return hits

    def warm(self, users: Iterable[int], popular: Iterable[int]) -> None:
        """By the rules of `cache.warming`: while a user's scores hold, only what is new in the list is computed."""
        if not self._warms:
            return
        now, ttl_s = self.now, self._ttl_s["match"]
        target = {job: self._version(job) for job in popular}
        for user in users:
            held = self._scores.setdefault(user, _Scores())
            if held.warmed is not None and held.due > now + HORIZON_S and not self._everything:
                if held.warmed is not target:
                    new = target.items() - held.warmed.items()
                    held.of_jobs.update({job: (held.due, version) for job, version in new})
            else:
                held.due = now + ttl_s
                for job, version in target.items():
                    deadline, of_version = held.of_jobs.get(job, (_LONG_AGO, 0))
                    if deadline > now + ttl_s // 2 and of_version == version and not self._everything:
                        held.due = min(held.due, deadline)
                    else:
                        held.of_jobs[job] = (now + ttl_s, version)
            held.warmed = target
