"""One virtual-time run against one server: the library's flows as tasks, their outcomes counted, the server asked."""

from __future__ import annotations

import contextlib
import gc
import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cache import commands, keys
from cache.flows import Flows
from cache.stats import Stats
from loadtest.calls import Origins, flow_of
from loadtest.clocks import DeletingClock, ServerClock
from loadtest.counts import Counts
from loadtest.errors import LoadTestError
from loadtest.pipeline import Pipeline, Task
from loadtest.result import Memory, Result
from loadtest.scenarios import MINUTE_S
from loadtest.share import ALL
from loadtest.traffic import CacheCall, Call
from local.faketime import faketime_library
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cache.commands import Command
    from loadtest.population import Population
    from loadtest.scenarios import Scenario
    from loadtest.share import Share

# A Monday, far enough from both ends of the server's 32-bit seconds. Any midnight would do.
START_EPOCH_S: Final = 1_767_571_200  # 2026-01-05T00:00:00Z
_SERVER_ARGUMENTS: Final = ("--latency-tracking", "no")  # its clock stands still: there is none to see
CACHE_TYPE_OF: Final = {
    Call.GET_SESSION: "session",
    Call.MATCH_SCORES: "match",
    Call.IJP: "ijp",
    Call.COMPANY: "company",
}


@contextlib.contextmanager
def server_at(
    begin: int, *, move_server_clock: bool | None = None
) -> Iterator[tuple[ServerClock | DeletingClock, Pipeline]]:
    """A server whose virtual time begins at `begin` (seconds since the epoch), with the clock that moves it.

    `move_server_clock=False` deletes keys at their virtual deadlines instead; None does so only where it must.
    """
    movable = faketime_library() is not None if move_server_clock is None else move_server_clock
    with Valkey(*_SERVER_ARGUMENTS, movable_clock=movable, start_time=begin) as server:
        clock: ServerClock | DeletingClock
        if movable:
            clock = ServerClock(server, begin)
            pipeline = Pipeline(server.unix_socket)
        else:
            clock = DeletingClock(begin)
            pipeline = clock.pipeline = Pipeline(server.unix_socket, on_replies=clock.on_replies)
        # Millions of small objects that no cycle holds: the collector would only walk them again and again.
        gc.disable()
        try:
            yield clock, pipeline
        finally:
            gc.enable()
            pipeline.close()


class Driver:
    """What every virtual-time run has; whoever drives it decides what happens when."""

    def __init__(
        self,
        scenario: Scenario,
        people: Population | None,
        seed: int,
        layout: str,
        clock: ServerClock | DeletingClock,
        pipeline: Pipeline,
        share: Share = ALL,
    ) -> None:
        self.share = share
        self.clock = clock
        self.pipeline = pipeline
        self.origins = Origins(scenario.catalog, seed, START_EPOCH_S)
        self.flows = Flows(catalog=scenario.catalog, layout=layout, clock=clock, counts=Stats())
        self._empty_bytes = self.info("memory")["used_memory"]
        self.result = Result(
            scenario=scenario,
            population=people,
            seed=seed,
            layout=layout,
            counts=Counts.of(scenario.catalog.names(), scenario.users),
            stats=self.flows.stats,
            clock_note=clock.how,
            server_version="Valkey " + self.text_info("server")["valkey_version"],
        )

    def move(self, now: int) -> None:
        """To `now` seconds after the start."""
        self.clock.move(START_EPOCH_S + now)
        self.result.ran_s = now

    def task(self, call: CacheCall, *, row: int | None = None) -> Task:
        """The call's flow; its outcome is counted for the call's user, or for `row`."""
        flow = flow_of(call, self.flows, self.origins)
        if row is not None:
            call = call._replace(counted_for=row)
        match call.call:
            case Call.MATCH_SCORES:
                outcome = Outcome(self, call)
                return Task(flow, partial(self.origins.scores, call.user), outcome.done, sent=outcome.sent)
            case Call.IJP | Call.COMPANY:
                return Task(flow, partial(self._origin, call.call), partial(self._single_done, call))
            case Call.GET_SESSION:
                return Task(flow, None, partial(self.session_done, call))
            case _:
                return Task(flow)

    def count(self, call: CacheCall, hits: int, lookups: int) -> None:
        minute = self.result.ran_s // MINUTE_S
        self.result.counts.types[CACHE_TYPE_OF[call.call]].add(call.row, hits, lookups, minute)

    def _origin(self, call: Call) -> Any:
        return self.origins.ijp if call is Call.IJP else self.origins.company

    def _single_done(self, call: CacheCall, task: Task) -> None:
        # A hit is one round trip. Whoever waited for another's value missed too.
        self.count(call, int(task.sends == 1 and not self.pipeline.is_down), 1)

    def session_done(self, call: CacheCall, task: Task) -> None:
        self.count(call, int(task.answer is not None), 1)

    def text_info(self, section: str) -> dict[str, str]:
        text = self.pipeline.send([("INFO", section)])[0].decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def info(self, section: str) -> dict[str, int]:
        return {name: int(value) for name, value in numbers(self.text_info(section))}

    def server_lookups(self) -> int:
        stats = self.info("stats")
        return stats["keyspace_hits"] + stats["keyspace_misses"]

    def sample_memory(self, hour: int) -> None:
        if not self.pipeline.is_down:
            self.result.memory.append(Memory(hour, self.used_bytes()))

    def used_bytes(self) -> int:
        """Of the server's memory, without what an empty server needs.

        The jobs' generations, which every share has, are the first one's.
        """
        used = self.info("memory")["used_memory"] - self._empty_bytes
        if self.share.is_first:
            return used
        generations: int | None = self.pipeline.send([("MEMORY", "USAGE", keys.JOB_GENERATIONS, "SAMPLES", "0")])[0]
        return used - (generations or 0)

    def check_counts(self) -> None:
        """The run is worth nothing if one of three counts of the same lookups differs."""
        result = self.result
        for name, counted in result.counts.types.items():
            library = result.stats.counts(name)
            mine = counted.total()
            if mine != (library.hits, library.lookups):
                raise LoadTestError(f"{name}: the driver counted {mine}, the library {library}; this is a defect.")
        declared = result.stats.data_reads + result.stats.bookkeeping_reads
        if declared != result.server_lookups:
            raise LoadTestError(
                f"the server counted {result.server_lookups} lookups, the library {declared}; this is a defect."
            )


class Outcome:
    """Counts one batch: what it asked leases for had missed, whether it or another then computed it."""

    __slots__ = ("_call", "_driver", "_misses")

    def __init__(self, driver: Driver, call: CacheCall) -> None:
        self._driver = driver
        self._call = call
        self._misses = 0

    def sent(self, batch: Sequence[Command]) -> None:
        # The first time: later ones ask again for what is waited for.
        self._misses = self._misses or sum(map(commands.leases_asked_for, batch))

    def done(self, _task: Task) -> None:
        lookups = len(self._call.jobs)
        misses = lookups if self._driver.pipeline.is_down else self._misses
        self._driver.count(self._call, lookups - misses, lookups)


def numbers(info: dict[str, str]) -> Iterator[tuple[str, float]]:
    for name, value in info.items():
        with contextlib.suppress(ValueError):
            number = float(value)
            if math.isfinite(number):
                yield name, number
