"""Weeks of traffic in minutes: drives the behaviour through the library on a real server whose clock moves along.

The rules: one clock for library, driver and server; it moves to the time of the next operation and never further, and
only while nothing is in flight; what happens at one instant is in flight together; the history before the start is
written in time order under the moving clock, through the library.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from cache.stats import Stats
from cache.warming import Warmer, WarmingCounts
from loadtest import intervals, stationary
from loadtest import population as populations
from loadtest.calls import flow_of
from loadtest.driver import START_EPOCH_S, Driver, numbers, server_at
from loadtest.errors import ScenarioError, ServerGoneError
from loadtest.pipeline import Task
from loadtest.result import Sample
from loadtest.scenarios import DAY_S, HOUR_S
from loadtest.share import ALL
from loadtest.traffic import Action, Behaviour, CacheCall, Call, Operation, Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from loadtest.clocks import DeletingClock, ServerClock
    from loadtest.faults import Fault
    from loadtest.pipeline import Pipeline
    from loadtest.population import Population
    from loadtest.result import Result
    from loadtest.scenarios import Scenario
    from loadtest.share import Share
    from loadtest.traffic import Stream

_STORES: Final = {Call.GET_SESSION: Call.START_SESSION, Call.COMPANY: Call.SET_COMPANY}
_OF_COMPANIES: Final = (Call.COMPANY, Call.SET_COMPANY)
_ABOUT_COMPANIES: Final = (Action.OPEN_JOB, Action.REFRESH_COMPANY)  # a company may be another share's than its user
_INVALIDATING: Final = (Action.CHANGE_PREFERENCES, Action.UPDATE_JOB, Action.REPLACE_VACANCY)
# The strategy's own loop computes 16 million scores a day at 10,000 users: it is run on this many.
EVERYTHING_USERS: Final = 500


def run(
    scenario: Scenario,
    *,
    seed: int,
    layout: str = "hash",
    faults: Sequence[Fault] = (),
    sample_every_s: int | None = None,
    precision: float | None = None,
    move_server_clock: bool | None = None,
    share: Share = ALL,
    progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> Result:
    """Runs a scenario to its end on a server of its own.

    With `precision` (a fraction of 1) it ends after the first virtual day at which the interval of every cache type is
    no wider than so much to either side; if the scenario's days are too few for that, `remarks` say so.
    `sample_every_s` asks for the server's INFO that often, as `Result.samples`. `move_server_clock=False` deletes keys
    at their virtual deadlines instead; None does so only where it must. Of the traffic, `share` is driven.
    `progress(what, share)` is told how far it is.
    If the server goes away, the result says so in `stopped_because` and holds what was counted until then.
    """
    for fault in faults:
        if fault.at_s >= scenario.days * DAY_S:
            raise ScenarioError(
                f"the fault {fault} comes after {fault.at_s / DAY_S:g} days, and the run ends after {scenario.days}; "
                "give it an earlier time, or the run more --days."
            )
    people = populations.draw(scenario, seed)
    history = stationary.history(scenario, people, Behaviour(scenario, people, seed).rhythm, seed)
    oldest = max((write.age_s for write in history.writes), default=0)
    with server_at(START_EPOCH_S - oldest, move_server_clock=move_server_clock) as (clock, pipeline):
        driver = _Driver(scenario, people, seed, layout, clock, pipeline, share)
        driver.plan(faults, sample_every_s)
        driver.write_history(history, progress)
        driver.run(progress, precision)
        return driver.result


class _Driver(Driver):
    def __init__(
        self,
        scenario: Scenario,
        people: Population,
        seed: int,
        layout: str,
        clock: ServerClock | DeletingClock,
        pipeline: Pipeline,
        share: Share,
    ) -> None:
        super().__init__(scenario, people, seed, layout, clock, pipeline, share)
        self._scenario = scenario
        self._behaviour = Behaviour(scenario, people, seed)
        self._platform = Platform(scenario, people)
        self._warmer = Warmer(self.flows, everything=scenario.warming == "everything")
        self._is_warming_stopped = False
        self._commands_before = self._lookups_before = 0  # the run: those of the history
        self._appointments: list[tuple[int, int, Callable[[], None]]] = []

    # -- before the start --------------------------------------------------------------------------------------

    def write_history(self, history: stationary.History, progress: Callable[[str, float], None]) -> None:
        """Leaves the server in the stationary state, and the counts at nothing."""
        started = time.perf_counter()
        self._platform.last_login.update(
            {user: START_EPOCH_S - age for user, age in history.last_login_age_s.items() if self.share.owns(user)}
        )
        for done, (age, together) in enumerate(groupby(history.writes, key=attrgetter("age_s"))):
            writes = [write for write in together if self.share.owns(write.subject)]
            self.clock.move(START_EPOCH_S - age)
            warm = [write.subject for write in writes if write.what == "warm"]
            if warm:
                self._warm(warm)
            self.pipeline.run([self._history_task(write) for write in writes if write.what != "warm"])
            if done % 256 == 0:
                progress("writing the stationary state", 1 - age / (history.writes[0].age_s or 1))
        self.clock.move(START_EPOCH_S)
        self.flows.stats = self.result.stats = Stats()
        self._commands_before, self._lookups_before = self.pipeline.commands_sent, self.server_lookups()
        self.result.history_wall_s = time.perf_counter() - started

    def _history_task(self, write: stationary.Write) -> Task:
        user = write.subject
        if write.what == "company":
            return self.task(CacheCall(Call.SET_COMPANY, -1, write.subject))
        if write.what == "ijp":
            # By a lookup: an update would invalidate the user's scores.
            return Task(flow_of(CacheCall(Call.IJP, user), self.flows, self.origins), partial(self._origin, Call.IJP))
        flow = self.flows.match_scores(user, write.slots)  # at the start, each slot's job has the slot's number
        return Task(flow, partial(self.origins.scores, user))

    # -- the run -----------------------------------------------------------------------------------------------

    def run(self, progress: Callable[[str, float], None], precision: float | None = None) -> None:
        started = time.perf_counter()
        end = self._scenario.days * DAY_S
        self.sample_memory(0)
        try:
            day = 1
            for now, operations in instants(self._streams(end), end):
                if now >= day * DAY_S:
                    if precision and intervals.widest(self.result.counts) <= precision:
                        end = day * DAY_S
                        break
                    day = now // DAY_S + 1
                self._keep_appointments(now)
                self.move(now)
                self._instant(now, operations)
                if now % HOUR_S == 0:
                    self.sample_memory(now // HOUR_S)
                    progress("virtual time", now / end)
            self._keep_appointments(end)
            self.move(end)
            self.sample_memory(end // HOUR_S)
            self.result.server_lookups = self.server_lookups() - self._lookups_before
        except ServerGoneError as gone:
            self.result.stopped_because = str(gone)
            return
        finally:
            self.result.wall_s = time.perf_counter() - started
            self.result.commands = self.pipeline.commands_sent - self._commands_before
        self.check_counts()
        self.result.scenario = self._scenario.changed(days=end // DAY_S)
        if precision:
            self.result.precision = precision
            self.result.remarks += intervals.imprecise(self.result.counts, precision)
        progress("virtual time", 1.0)

    def _streams(self, end: int) -> Iterator[Stream]:
        """What this share has to follow: the platform, its own users, the job pages of the others."""
        yield self._behaviour.platform()
        for user in range(self._scenario.users):
            yield self._behaviour.user(user) if self.share.owns(user) else self._pages_of_other(user, end)

    def _pages_of_other(self, user: int, end: int) -> Stream:
        """Another share's user, as far as this share's companies are looked up."""
        owns, company_of = self.share.owns, self._platform.company_of
        at = delay = 0
        for gap, operation in self._behaviour.user(user):
            at += gap
            delay += gap
            is_asked_here = operation.action is Action.OPEN_JOB and owns(company_of(operation.subject))
            if is_asked_here or at >= end:  # behind the end, nobody looks for a page that may never come
                yield delay, operation
                delay = 0

    def _instant(self, now: int, operations: Sequence[Operation]) -> None:
        # What is stored at this instant is there for who asks for it behind; whatever else is asked for does not wait.
        stored: dict[tuple[Call | None, int], Task] = {}
        tasks: list[Task] = []
        for operation in operations:
            if operation.action is Action.WARM:
                self._warm_active()
                continue
            for call in self._calls(operation, now):
                task = self.task(call)
                about = call.subject if call.call in _OF_COMPANIES else call.user
                if call.call in _STORES.values():
                    stored[call.call, about] = task
                before = stored.get((_STORES.get(call.call), about))
                if before is None:
                    tasks.append(task)
                else:
                    before.then += (task,)
        self.pipeline.run(tasks)

    def _calls(self, operation: Operation, now: int) -> list[CacheCall]:
        """Those of this share. Jobs are invalidated by each."""
        action, user, _ = operation
        if action is Action.LOGIN:
            self.result.counts.visits[user] += 1
        elif action in _INVALIDATING and (user >= 0 or self.share.is_first):
            self._active(now)[1] += 1
        calls = self._platform.calls(operation, START_EPOCH_S + now)
        if self.share.of == 1 or action not in _ABOUT_COMPANIES:
            return calls
        owns = self.share.owns
        return [call for call in calls if owns(call.subject if call.call in _OF_COMPANIES else call.user)]

    def session_done(self, call: CacheCall, task: Task) -> None:
        super().session_done(call, task)
        if task.answer is None:  # the token has expired: the page sends the user to the login
            self.pipeline.call(self.flows.start_session(call.user, self.origins.session))

    def _active(self, now: int) -> list[int]:
        return self.result.activity.setdefault(now // HOUR_S, [0, 0])

    # -- appointments: samples and faults -----------------------------------------------------------------------

    def plan(self, faults: Sequence[Fault], sample_every_s: int | None) -> None:
        """What is to happen besides the behaviour; at one instant, before it."""
        self.result.faults = tuple(sorted(faults))
        for fault in self.result.faults:
            begin, end = self._fault(fault)
            self._appoint(fault.at_s, begin)
            if end and fault.until_s is not None:
                self._appoint(fault.until_s, end)
        if sample_every_s:
            for at_s in range(sample_every_s, self._scenario.days * DAY_S + 1, sample_every_s):
                self._appoint(at_s, partial(self._sample, at_s))

    def _appoint(self, at_s: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._appointments, (at_s, len(self._appointments), act))

    def _keep_appointments(self, now: int) -> None:
        while self._appointments and self._appointments[0][0] <= now:
            at_s, _, act = heapq.heappop(self._appointments)
            self.move(at_s)
            act()

    def _fault(self, fault: Fault) -> tuple[Callable[[], None], Callable[[], None] | None]:
        """What begins it, and what ends it."""
        if fault.kind == "flush":
            return self._flush, None
        if fault.kind == "storm":
            return self._invalidate_all_jobs, None
        if fault.kind == "warming-stopped":
            return partial(self._stop_warming, stop=True), partial(self._stop_warming, stop=False)
        if fault.kind == "node-lost":
            return partial(self._lose_node, lost=True), partial(self._lose_node, lost=False)
        name = fault.cache_type or ""
        ttl_s = self._scenario.catalog[name].ttl_s
        return partial(self._set_ttl, name, max(1, ttl_s // 2)), partial(self._set_ttl, name, ttl_s)

    def _set_ttl(self, name: str, ttl_s: int) -> None:
        self.flows.catalog = self.flows.catalog.changed(ttl_s={name: ttl_s})

    def _flush(self) -> None:
        self.pipeline.send([("FLUSHALL", "SYNC")])

    def _invalidate_all_jobs(self) -> None:
        self.pipeline.run([Task(self.flows.invalidate_job_matches(job)) for job in self._platform.jobs()])

    def _stop_warming(self, *, stop: bool) -> None:
        self._is_warming_stopped = stop

    def _lose_node(self, *, lost: bool) -> None:
        """A new node is empty: what was to be invalidated in the meantime is gone too."""
        self.pipeline.is_down = lost
        if not lost:
            self._flush()
            self.flows.pending.applied(self.flows.pending.begin())

    def _sample(self, at_s: int) -> None:
        if not self.pipeline.is_down:
            text = self.text_info("everything")
            self.result.samples.append(Sample(at_s, dict(numbers(text))))

    # -- warming -----------------------------------------------------------------------------------------------

    def _warm_active(self) -> None:
        if self._scenario.warming == "off" or self._is_warming_stopped or self.pipeline.is_down:
            return
        before, computed = self.pipeline.commands_sent, self.result.warming.computed
        self.result.warming = self._warm(self._platform.active_users(self.clock.now()), self.result.warming)
        self.move(self.result.ran_s)  # the server's clock creeps on by a millisecond in so many commands of a large run
        self.result.warming_commands += self.pipeline.commands_sent - before
        self.result.warming_runs += 1
        self._active(self.result.ran_s)[0] += self.result.warming.computed - computed

    def _warm(self, users: Sequence[int], counts: WarmingCounts | None = None) -> WarmingCounts:
        counts = counts or WarmingCounts()
        target = self.pipeline.call(self._warmer.begin(self._platform.popular(), counts))
        chunks = self._warmer.chunks(users, target, counts)
        self.pipeline.run_apart(Task(chunk, self.origins.scores_of_users) for chunk in chunks)
        return counts


def instants(streams: Iterable[Stream], end: int) -> Iterator[tuple[int, list[Operation]]]:
    """All streams merged, as (second, its operations), up to `end`; at one instant in the order of the streams."""
    due: dict[int, list[tuple[int, Operation, Stream]]] = defaultdict(list)
    for place, stream in enumerate(streams):
        delay, operation = next(stream)
        due[delay].append((place, operation, stream))
    seconds = list(due)
    heapq.heapify(seconds)
    while seconds[0] < end:
        now = heapq.heappop(seconds)
        operations: list[Operation] = []
        for place, following, stream in sorted(due.pop(now)):
            delay, operation = 0, following
            while not delay:
                operations.append(operation)
                delay, operation = next(stream)
            if now + delay not in due:
                heapq.heappush(seconds, now + delay)
            due[now + delay].append((place, operation, stream))
        yield now, operations
