"""Recorded accesses in virtual time: the same verdict and sizing as for a scenario, from what really happened.

Every get goes through the library's cache-aside call, so what misses is filled; the log's own changes are applied at
their times. The cache is empty when the log begins: the lookups of each cache type's first TTL fill it and are not
judged.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cache import keys
from loadtest import parallel, waves
from loadtest.driver import START_EPOCH_S, Driver, server_at
from loadtest.errors import ScenarioError, ServerGoneError
from loadtest.loglines import IS_COMPANY, IS_GET, list_views
from loadtest.looks import Looks
from loadtest.pipeline import Task
from loadtest.scenarios import DAY_S, HOUR_S, MAX_DAYS, MAX_USERS
from loadtest.share import ALL
from loadtest.traffic import CacheCall, Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.accesslog import AccessLog
    from loadtest.columns import Integers
    from loadtest.loglines import Calls, Group
    from loadtest.result import Result
    from loadtest.scenarios import Scenario
    from loadtest.share import Share

# A line that is this much older than one before it was written by another thread or machine: it counts as of now.
LATE_S: Final = 60.0
_JOBS: Final = ("jobs", -1)  # the subject of a job's invalidation, which is everybody's
CALLS: Final = {
    ("session", "get"): Call.GET_SESSION,
    ("session", "start"): Call.START_SESSION,
    ("session", "end"): Call.END_SESSION,
    ("ijp", "get"): Call.IJP,
    ("ijp", "set"): Call.UPDATE_IJP,
    ("ijp", "update"): Call.UPDATE_IJP,
    ("company", "get"): Call.COMPANY,
    ("company", "set"): Call.SET_COMPANY,
    ("match", "get"): Call.MATCH_SCORES,
}


def run(
    log: AccessLog,
    scenario: Scenario,
    *,
    layout: str = "hash",
    warm_up_s: int | None = None,
    processes: int = 1,
    progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> Result:
    """Replays a log. The scenario gives TTLs, targets and node type; its traffic is the log's.

    `warm_up_s` is how long after the log's start nothing is judged (default: the TTL of each cache type). Several
    `processes` have a server each, and a share of the users and companies: the hits are the same. A log that ends in
    the middle, or a server that goes away, leaves a result that says so.
    """
    part = partial(_run, log, scenario, layout, warm_up_s)
    if processes == 1:
        result = part(share=ALL, progress=progress)
    else:
        result = parallel.run(part, processes=processes, progress=progress)
    if log.is_cut_short:
        result.stopped_because = (
            result.stopped_because or f"{log.path.name} ends in the middle, behind line {log.lines:,}."
        )
    result.remarks = [*_malformed(log), *result.remarks]
    result.notes = _notes(result)
    return result


def _run(
    log: AccessLog,
    scenario: Scenario,
    layout: str,
    warm_up_s: int | None,
    *,
    share: Share,
    progress: Callable[[str, float], None],
) -> Result:
    """What one process does. Its result has one row for each of the people in the log, whoever drives them."""
    with server_at(START_EPOCH_S) as (clock, pipeline):
        driver = Driver(scenario, None, 0, layout, clock, pipeline, share)
        return _Replay(log, scenario, warm_up_s, driver).run(progress)


class _Replay:
    def __init__(self, log: AccessLog, scenario: Scenario, warm_up_s: int | None, driver: Driver) -> None:
        self._log = log
        self._scenario = scenario
        self._driver = driver
        self._flows = driver.flows
        self._first_s: float | None = None
        self._now = self._hour = 0  # of the last call that was read
        self._hours_due: deque[int] = deque()
        self._rows: dict[int, int] = {}  # of each person or, for companies nobody is named with, company
        self._looks = Looks(driver)
        self._wave: list[Task] = []
        self._changes: dict[tuple[str, int], Task] = {}  # the last of each entry, in this second
        for name, counted in driver.result.counts.types.items():
            warm_up = scenario.catalog[name].ttl_s if warm_up_s is None else warm_up_s
            counted.judged_from_minute = -(-warm_up // 60)

    def run(self, progress: Callable[[str, float], None]) -> Result:
        started = time.perf_counter()
        result, driver = self._driver.result, self._driver
        lookups_before = driver.server_lookups()
        try:
            try:
                self._follow(progress)
            finally:
                self._looks.count()
            result.server_lookups = driver.server_lookups() - lookups_before
            driver.check_counts()
        except ServerGoneError as error:
            result.stopped_because = str(error)
        result.wall_s = time.perf_counter() - started
        result.commands = driver.pipeline.commands_sent
        result.scenario = self._described()
        return result

    def _follow(self, progress: Callable[[str, float], None]) -> None:
        for calls in self._log.calls():
            if len(calls.first):
                self._follow_block(calls)
            progress("replaying", self._log.share_read())
        if self._first_s is None:
            raise ScenarioError(
                f"{self._log.path.name} has no line that could be read. {' '.join(_malformed(self._log))}"
            )
        self._carry_out()
        self._sample_until(self._now)
        self._driver.move(self._now)
        self._driver.sample_memory(self._hour + 1)

    def _follow_block(self, calls: Calls) -> None:
        """Drives this process's share. People are numbered, and memory is read, by all calls: alike in each process."""
        at = self._seconds(calls)
        hours = np.unique(at // HOUR_S)
        self._hours_due += hours[hours > self._hour].tolist()
        self._now, self._hour = int(at[-1]), int(hours[-1])
        rows, mine = self._rows_of(calls), self._mine(calls)
        if len(mine):
            self._looks.starts_sessions = self._log.is_trace
            self._drive(calls, mine, at[mine], rows[mine])

    def _drive(self, calls: Calls, mine: Integers, at: Integers, rows: Integers) -> None:
        result = self._driver.result
        # What was changed in an earlier block's last second is looked up behind that.
        parts = waves.cut(calls, mine, at, rows, not_at=result.ran_s if self._changes else None)
        others = parts.others
        ends = np.searchsorted(others, parts.starts).tolist()
        groups = zip(calls.groups(mine[others]), rows[others].tolist(), strict=True)
        for number, now in enumerate(parts.seconds):
            if now > result.ran_s:
                self._carry_out()
                self._sample_until(now)
                self._driver.move(now)
            elif _JOBS in self._changes:
                self._carry_out()
            for name, starts, *columns in parts.singles:
                start, stop = starts[number], starts[number + 1]
                if start < stop:
                    self._looks.add(name, *(column[start:stop] for column in columns))
            for group, row in islice(groups, ends[number + 1] - ends[number]):
                for view in list_views(group) if len(group.items) > 1 else (group,):
                    self._add(view, row)

    def _seconds(self, calls: Calls) -> Integers:
        """When each call is carried out, in seconds after the first one."""
        time_s = calls.lines.time_s[calls.first]
        if self._first_s is None:
            self._first_s = float(time_s[0])
        logged = (time_s - self._first_s).astype(np.int64)
        at = np.maximum.accumulate(np.concatenate([[self._now], logged]))[1:]
        late = np.flatnonzero(at - logged > LATE_S)
        if len(late):
            line = calls.lines.number[calls.first[late[0]]]
            raise ScenarioError(
                f"{self._log.path.name}, line {line:,}: {(at - logged)[late[0]]:,} s older than a line before it. "
                "Sort the file by its timestamps first (sort -t, -k1,1n)."
            )
        far = np.flatnonzero(logged > MAX_DAYS * DAY_S)
        if len(far):
            line = calls.lines.number[calls.first[far[0]]]
            raise ScenarioError(
                f"{self._log.path.name}, line {line:,}: {logged[far[0]] / DAY_S:,.0f} days after the first line; at "
                f"most {MAX_DAYS:,} are replayed. Correct its time, or leave the line out."
            )
        return at

    def _rows_of(self, calls: Calls) -> Integers:
        """The row that each lookup is counted for; -1 for a change."""
        _, call, user, item, *_ = (column[calls.first] for column in calls.lines)
        lookups = np.flatnonzero(IS_GET[call])
        who, place = np.unique(np.where(user < 0, -2 - item, user)[lookups], return_inverse=True)
        rows = np.full(len(call), -1)
        rows[lookups] = np.array([self._rows.setdefault(each, len(self._rows)) for each in who.tolist()])[place]
        if len(self._rows) > MAX_USERS:
            raise ScenarioError(
                f"{self._log.path.name} has more than {MAX_USERS:,} users, or companies that nobody is named with, in "
                f"its first {self._log.lines:,} lines. Replay the lines of a part of them, such as every tenth."
            )
        return rows

    def _mine(self, calls: Calls) -> Integers:
        """Which of the calls this process drives. Jobs are invalidated by each."""
        _, call, user, item, *_ = (column[calls.first] for column in calls.lines)
        is_of_company = IS_COMPANY[call]
        is_of_job = (user < 0) & ~is_of_company
        share = self._driver.share
        return np.flatnonzero(is_of_job | (np.where(is_of_company, item, user) % share.of == share.index))

    def _sample_until(self, now: int) -> None:
        """Reads the memory at each hour that has begun."""
        while self._hours_due and self._hours_due[0] * HOUR_S <= now:
            hour = self._hours_due.popleft()
            self._driver.move(hour * HOUR_S)
            self._driver.sample_memory(hour)

    def _carry_out(self) -> None:
        tasks = [*self._looks.tasks(), *self._wave]
        if tasks:
            self._driver.pipeline.run(tasks)
            self._wave = []
            self._changes.clear()

    def _add(self, group: Group, row: int) -> None:
        """What one second holds is in flight together, except what follows a change of the same entry."""
        subject = _subject(group)
        if subject == _JOBS:
            # Scores that are being filled might be given the generation that comes after it.
            self._carry_out()
        before = self._changes.get(subject)
        is_lookup = group.operation == "get"
        if is_lookup and len(group.items) < 2 and before is None:
            self._looks.add(group.cache_type, [_single(group)], [row], [-1])
            return
        task = self._task(group, row)
        if before is None:
            self._wave.append(task)
        else:
            before.then += (task,)
        if not is_lookup:
            self._changes[subject] = task

    def _task(self, group: Group, row: int) -> Task:
        driver, flows, user, items = self._driver, self._flows, group.user, group.items
        if group.cache_type == "match" and group.operation == "set":
            return Task(flows.set_scores(user, driver.origins.scores(user, items)))
        if group.operation == "invalidate":
            return Task(self._invalidation(group))
        call = CALLS[group.cache_type, group.operation]
        return driver.task(CacheCall(call, user, items[0] if items else 0, jobs=tuple(items)), row=row)

    def _invalidation(self, group: Group) -> Any:
        if group.cache_type == "company":
            return self._flows.invalidate(keys.company(group.items[0]))
        if group.cache_type == "ijp":
            return self._flows.invalidate(keys.ijp(group.user))
        if group.user >= 0:
            return self._flows.invalidate_user_matches(group.user)
        return self._flows.invalidate_job_matches(group.items[0])

    def _described(self) -> Scenario:
        """The scenario as this log has it."""
        log, people = self._log, sum(who >= 0 for who in self._rows)
        return self._scenario.changed(
            name=f"replay of {log.path.name}",
            title=f"{log.lines:,} recorded lines, with the TTLs and targets of {self._scenario.name}",
            users=max(1, people),
            days=max(1, -(-self._driver.result.ran_s // DAY_S)),
            warming="off",
            resolution_s=1,
        )


def _malformed(log: AccessLog) -> list[str]:
    if not log.malformed:
        return []
    return [f"{log.malformed:,} malformed lines were left out, the first: {'; '.join(log.examples)}."]


def _notes(result: Result) -> dict[str, str]:
    return {
        name: f"nothing to judge: the log has no {name} lookups behind the first "
        f"{counted.judged_from_minute / 60:g} h, in which the empty cache fills"
        for name, counted in result.counts.types.items()
        if not counted.lookups.sum()
    }


def _subject(group: Group) -> tuple[str, int]:
    if group.cache_type == "company":
        return "company", group.items[0]
    if group.user < 0:
        return _JOBS
    # An update of the preferences removes the user's scores too.
    return "session" if group.cache_type == "session" else "user", group.user


def _single(group: Group) -> Any:
    """What a lookup of one value is about, as `Looks` has it."""
    if group.cache_type == "match":
        return group.user, group.items[0]
    return group.items[0] if group.cache_type == "company" else group.user
