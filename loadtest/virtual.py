"""Weeks of traffic in minutes: drives the behaviour through the library on a real server whose clock moves along.

The rules: one clock for library, driver and server; it moves to the time of the next operation and never further, and
only while nothing is in flight; what happens at one instant is in flight together; the history before the start is
written in time order under the moving clock, through the library.
"""

from __future__ import annotations

import contextlib
import gc
import heapq
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import count, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from cache import commands
from cache.commands import Send, Unavailable
from cache.flows import Flows
from cache.stats import Stats
from cache.warming import Warmer, WarmingCounts
from loadtest import population as populations
from loadtest import stationary
from loadtest.calls import Origins, flow_of
from loadtest.clocks import DeletingClock, ServerClock
from loadtest.counts import Counts
from loadtest.errors import LoadTestError, ScenarioError, ServerGoneError
from loadtest.pipeline import Pipeline, Task
from loadtest.scenarios import DAY_S, HOUR_S, MINUTE_S
from loadtest.traffic import Action, Behaviour, CacheCall, Call, Operation, Platform
from local.valkey import Valkey, faketime_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cache.commands import Flow
    from loadtest.faults import Fault
    from loadtest.population import Population
    from loadtest.scenarios import Scenario

# A Monday, far enough from both ends of the server's 32-bit seconds. Any midnight would do.
START_EPOCH_S: Final = 1_767_571_200  # 2026-01-05T00:00:00Z
CACHE_TYPE_OF: Final = {
    Call.GET_SESSION: "session",
    Call.MATCH_SCORES: "match",
    Call.IJP: "ijp",
    Call.COMPANY: "company",
}
# The strategy's own loop computes 16 million scores a day at 10,000 users: it is run on this many.
EVERYTHING_USERS: Final = 500


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
    warming: WarmingCounts = field(default_factory=WarmingCounts)
    warming_commands: int = 0
    warming_runs: int = 0
    server_lookups: int = 0
    commands: int = 0
    history_wall_s: float = 0.0
    wall_s: float = 0.0
    # Where the run ended before its time: why, and after how many virtual seconds.
    stopped_because: str | None = None
    ran_s: int = 0

    def minutes(self) -> Iterator[tuple[int, dict[str, tuple[int, int]]]]:
        """(virtual minute, {cache type: (hits, misses)}) of every minute that the run reached, in order."""
        nothing = [0, 0]
        for minute in range(-(-self.ran_s // MINUTE_S)):
            seen = {name: counted.by_minute.get(minute, nothing) for name, counted in self.counts.types.items()}
            yield minute, {name: (hits, lookups - hits) for name, (hits, lookups) in seen.items()}


def run(
    scenario: Scenario,
    *,
    seed: int,
    layout: str = "hash",
    faults: Sequence[Fault] = (),
    sample_every_s: int | None = None,
    move_server_clock: bool | None = None,
    progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> Result:
    """Runs a scenario to its end on a server of its own.

    `sample_every_s` asks for the server's INFO that often, as `Result.samples`. `move_server_clock=False` deletes keys
    at their virtual deadlines instead; None does so only where it must. `progress(what, share)` is told how far it is.
    If the server goes away, the result says so in `stopped_because` and holds what was counted until then.
    """
    for fault in faults:
        if fault.at_s >= scenario.days * DAY_S:
            raise ScenarioError(f"the fault {fault} comes at {fault.at_s} s, behind the run's {scenario.days} days.")
    movable = faketime_library() is not None if move_server_clock is None else move_server_clock
    people = populations.draw(scenario, seed)
    history = stationary.history(scenario, people, Behaviour(scenario, people, seed).rhythm, seed)
    oldest = max((write.age_s for write in history.writes), default=0)
    begin = START_EPOCH_S - oldest
    with Valkey(movable_clock=movable, start_time=begin) as server:
        clock: ServerClock | DeletingClock
        if movable:
            clock = ServerClock(server, begin)
            pipeline = Pipeline(server.unix_socket)
        else:
            clock = DeletingClock(begin)
            pipeline = clock.pipeline = Pipeline(server.unix_socket, clock.on_replies)
        # Millions of small objects that no cycle holds: the collector would only walk them again and again.
        gc.disable()
        try:
            driver = _Driver(scenario, people, seed, layout, clock, pipeline)
            driver.plan(faults, sample_every_s)
            driver.write_history(history, progress)
            driver.run(progress)
            return driver.result
        finally:
            gc.enable()
            pipeline.close()


class _Driver:
    def __init__(
        self,
        scenario: Scenario,
        people: Population,
        seed: int,
        layout: str,
        clock: ServerClock | DeletingClock,
        pipeline: Pipeline,
    ) -> None:
        self._scenario = scenario
        self._clock = clock
        self._pipeline = pipeline
        self._behaviour = Behaviour(scenario, people, seed)
        self._platform = Platform(scenario, people)
        self._origins = Origins(scenario.catalog, seed, START_EPOCH_S)
        self._flows = Flows(catalog=scenario.catalog, layout=layout, clock=clock, counts=Stats())
        self._warmer = Warmer(self._flows, everything=scenario.warming == "everything")
        self._is_warming_stopped = False
        self._appointments: list[tuple[int, int, Callable[[], None]]] = []
        self._empty_bytes = self._info("memory")["used_memory"]
        self.result = Result(
            scenario=scenario,
            population=people,
            seed=seed,
            layout=layout,
            counts=Counts.of(scenario.catalog.names(), scenario.users),
            stats=self._flows.stats,
            clock_note=clock.how,
            server_version="Valkey " + self._text_info("server")["valkey_version"],
        )

    # -- before the start --------------------------------------------------------------------------------------

    def write_history(self, history: stationary.History, progress: Callable[[str, float], None]) -> None:
        """Leaves the server in the stationary state, and the counts at nothing."""
        started = time.perf_counter()
        for user, age in history.last_login_age_s.items():
            self._platform.last_login[user] = START_EPOCH_S - age
        for done, (age, together) in enumerate(groupby(history.writes, key=attrgetter("age_s"))):
            writes = list(together)
            self._clock.move(START_EPOCH_S - age)
            warm = [write.subject for write in writes if write.what == "warm"]
            if warm:
                self._warm(warm)
            self._pipeline.run([self._history_task(write) for write in writes if write.what != "warm"])
            if done % 256 == 0:
                progress("writing the stationary state", 1 - age / (history.writes[0].age_s or 1))
        self._clock.move(START_EPOCH_S)
        self._flows.stats = self.result.stats = Stats()
        self.result.commands = -self._pipeline.commands_sent
        self.result.server_lookups = -self._server_lookups()
        self.result.history_wall_s = time.perf_counter() - started

    def _history_task(self, write: stationary.Write) -> Task:
        user = write.subject
        if write.what == "company":
            return self._task(CacheCall(Call.SET_COMPANY, -1, write.subject))
        if write.what == "ijp":
            # By a lookup: an update would invalidate the user's scores.
            return Task(flow_of(CacheCall(Call.IJP, user), self._flows, self._origins), partial(self._origin, Call.IJP))
        flow = self._flows.match_scores(user, write.slots)  # at the start, each slot's job has the slot's number
        return Task(flow, partial(self._origins.scores, user))

    # -- the run -----------------------------------------------------------------------------------------------

    def run(self, progress: Callable[[str, float], None]) -> None:
        started = time.perf_counter()
        end = self._scenario.days * DAY_S
        self._sample_memory(0)
        try:
            for now, operations in _instants(self._behaviour, self._scenario.users, end):
                self._keep_appointments(now)
                self._move(now)
                self._instant(now, operations)
                if now % HOUR_S == 0:
                    self._sample_memory(now // HOUR_S)
                    progress("virtual time", now / end)
            self._keep_appointments(end)
            self._move(end)
            self._sample_memory(end // HOUR_S)
            self.result.commands += self._pipeline.commands_sent
            self.result.server_lookups += self._server_lookups()
        except ServerGoneError as gone:
            self.result.stopped_because = str(gone)
            return
        finally:
            self.result.wall_s = time.perf_counter() - started
        self._check_counts()
        progress("virtual time", 1.0)

    def _move(self, now: int) -> None:
        self._clock.move(START_EPOCH_S + now)
        self.result.ran_s = now

    def _instant(self, now: int, operations: Sequence[Operation]) -> None:
        # A login is answered before its page asks for the session.
        logins: list[Task] = []
        tasks: list[Task] = []
        for operation in operations:
            if operation.action is Action.WARM:
                if not (self._scenario.warming == "off" or self._is_warming_stopped or self._pipeline.is_down):
                    self._warm_active()
            else:
                if operation.action is Action.LOGIN:
                    self.result.counts.visits[operation.user] += 1
                for call in self._platform.calls(operation, START_EPOCH_S + now):
                    (logins if call.call is Call.START_SESSION else tasks).append(self._task(call))
        self._pipeline.run(logins)
        self._pipeline.run(tasks)

    def _task(self, call: CacheCall) -> Task:
        flow = flow_of(call, self._flows, self._origins)
        match call.call:
            case Call.MATCH_SCORES:
                outcome = _Outcome(self, call)
                return Task(outcome.watched(flow), partial(self._origins.scores, call.user), outcome.done)
            case Call.IJP | Call.COMPANY:
                return Task(flow, partial(self._origin, call.call), partial(self._single_done, call))
            case Call.GET_SESSION:
                return Task(flow, None, partial(self._session_done, call))
            case _:
                return Task(flow)

    def count(self, call: CacheCall, hits: int, lookups: int) -> None:
        minute = int(self._clock.now() - START_EPOCH_S) // MINUTE_S
        self.result.counts.types[CACHE_TYPE_OF[call.call]].add(call.user, hits, lookups, minute)

    def _origin(self, call: Call) -> Any:
        return self._origins.ijp if call is Call.IJP else self._origins.company

    def _single_done(self, call: CacheCall, task: Task) -> None:
        # A hit is one round trip. Whoever waited for another's value missed too.
        self.count(call, int(task.sends == 1 and not self._pipeline.is_down), 1)

    def _session_done(self, call: CacheCall, task: Task) -> None:
        self.count(call, int(task.answer is not None), 1)
        if task.answer is None:  # the token has expired: the page sends the user to the login
            self._pipeline.call(self._flows.start_session(call.user, self._origins.session))

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
            self._move(at_s)
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
        self._flows.catalog = self._flows.catalog.changed(ttl_s={name: ttl_s})

    def _flush(self) -> None:
        self._pipeline.send([("FLUSHALL", "SYNC")])

    def _invalidate_all_jobs(self) -> None:
        self._pipeline.run([Task(self._flows.invalidate_job_matches(job)) for job in self._platform.jobs()])

    def _stop_warming(self, *, stop: bool) -> None:
        self._is_warming_stopped = stop

    def _lose_node(self, *, lost: bool) -> None:
        """A new node is empty: what was to be invalidated in the meantime is gone too."""
        self._pipeline.is_down = lost
        if not lost:
            self._flush()
            self._flows.pending.begin()
            self._flows.pending.applied()

    def _sample(self, at_s: int) -> None:
        if not self._pipeline.is_down:
            text = self._text_info("everything")
            self.result.samples.append(Sample(at_s, dict(_numbers(text))))

    # -- warming -----------------------------------------------------------------------------------------------

    def _warm_active(self) -> None:
        before = self._pipeline.commands_sent
        self.result.warming = self._warm(self._platform.active_users(self._clock.now()), self.result.warming)
        self.result.warming_commands += self._pipeline.commands_sent - before
        self.result.warming_runs += 1

    def _warm(self, users: Sequence[int], counts: WarmingCounts | None = None) -> WarmingCounts:
        counts = counts or WarmingCounts()
        target = self._pipeline.call(self._warmer.begin(self._platform.popular(), counts))
        chunks = self._warmer.chunks(users, target, counts)
        self._pipeline.run_apart(Task(chunk, self._origins.scores_of_users) for chunk in chunks)
        return counts

    # -- the server --------------------------------------------------------------------------------------------

    def _text_info(self, section: str) -> dict[str, str]:
        text = self._pipeline.send([("INFO", section)])[0].decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def _info(self, section: str) -> dict[str, int]:
        return {name: int(value) for name, value in _numbers(self._text_info(section))}

    def _server_lookups(self) -> int:
        stats = self._info("stats")
        return stats["keyspace_hits"] + stats["keyspace_misses"]

    def _sample_memory(self, hour: int) -> None:
        if self._pipeline.is_down:
            return
        used = self._info("memory")["used_memory"] - self._empty_bytes
        self.result.memory.append(Memory(hour, used))

    def _check_counts(self) -> None:
        """The run is worth nothing if one of three counts of the same lookups differs."""
        result = self.result
        for name, counted in result.counts.types.items():
            library = result.stats.counts(name)
            mine = int(counted.hits.sum()), int(counted.lookups.sum())
            if mine != (library.hits, library.lookups):
                raise LoadTestError(f"{name}: the driver counted {mine}, the library {library}; this is a defect.")
        declared = result.stats.data_reads + result.stats.bookkeeping_reads
        if declared != result.server_lookups:
            raise LoadTestError(
                f"the server counted {result.server_lookups} lookups, the library {declared}; this is a defect."
            )


class _Outcome:
    """Counts one batch: what it asked leases for had missed, whether it or another then computed it."""

    __slots__ = ("_call", "_driver", "_misses")

    def __init__(self, driver: _Driver, call: CacheCall) -> None:
        self._driver = driver
        self._call = call
        self._misses = 0

    def watched(self, flow: Flow[Any]) -> Flow[Any]:
        answer: Any = None
        while True:
            try:
                step = flow.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(step, Send):
                # The first time: later ones ask again for what is waited for.
                self._misses = self._misses or sum(map(commands.leases_asked_for, step.commands))
            answer = yield step
            if isinstance(answer, Unavailable):
                self._misses = len(self._call.jobs)

    def done(self, _task: Task) -> None:
        lookups = len(self._call.jobs)
        self._driver.count(self._call, lookups - self._misses, lookups)


def _numbers(info: dict[str, str]) -> Iterator[tuple[str, float]]:
    for name, value in info.items():
        with contextlib.suppress(ValueError):
            yield name, float(value)


def _instants(behaviour: Behaviour, users: int, end: int) -> Iterator[tuple[int, list[Operation]]]:
    """All streams merged, as (second, its operations), up to `end`. At one instant, the platform comes first."""
    order = count()
    queue: list[tuple[int, int, int, Operation, Iterator[tuple[int, Operation]]]] = []
    streams = [(-1, behaviour.platform()), *((user, behaviour.user(user)) for user in range(users))]
    for who, stream in streams:
        delay, operation = next(stream)
        queue.append((delay, who, next(order), operation, stream))
    heapq.heapify(queue)
    while queue[0][0] < end:
        now = queue[0][0]
        operations: list[Operation] = []
        while queue[0][0] == now:
            _, who, _, operation, stream = queue[0]
            operations.append(operation)
            delay, following = next(stream)
            heapq.heapreplace(queue, (now + delay, who, next(order), following, stream))
        yield now, operations
