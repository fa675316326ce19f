"""One run in several processes, each with a server of its own: half the time on two processors, a quarter on four.

Each process follows the whole behaviour and drives its share of it, so that every lookup finds what it would find in
one process, and the hits are the same. The generations of all jobs lie on each server; their memory is counted once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from loadtest.errors import ExitCode, LoadTestError, ServerGoneError
from loadtest.result import Memory
from loadtest.share import Share
from local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from cache.stats import Counts
    from loadtest.result import Result

    Progress = Callable[[str, float], None]


# Each follows the whole behaviour and has a server beside it: more would gain little.
_AT_MOST: Final = 8
_CONTAINER_BOUND: Final = Path("/sys/fs/cgroup/cpu.max")  # microseconds of processor time, of so many


def processors() -> int:
    """How many processes are worth it: one for each processor that this one may use, a container's bounds included."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a bound ("max")
        quota, period = map(int, _CONTAINER_BOUND.read_text().split())
        usable = min(usable, max(1, quota // period))
    return min(usable, _AT_MOST)


class Run(Protocol):
    """A run of one share; what spawns its process can pickle it."""

    def __call__(self, *, share: Share, progress: Progress) -> Result: ...


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """The result of another process. Its library's counts apart: what counts them holds a lock."""

    result: Result
    library: dict[str, Counts]
    data_reads: int
    bookkeeping_reads: int


def run(part: Run, *, processes: int, progress: Progress = lambda _what, _share: None) -> Result:
    """All shares of a run. The time and the progress are those of the first process, which is this one.

    One that fails, or whose server goes away, ends the run at once.
    """
    context = multiprocessing.get_context("spawn")
    others = _Others()
    try:
        for index in range(1, processes):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_drive, args=(sender, part, Share(index, processes)), daemon=True)
            # Inherited: the first process decides at Ctrl-C, and ends the others.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            process.start()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            sender.close()
            others.add(process, receiver)

        def look(what: str, share: float) -> None:
            others.hear(timeout_s=0)
            progress(what, share)

        result = part(share=Share(0, processes), progress=look)
        try:
            while others.are_running and not result.stopped_because:
                others.hear(timeout_s=None)
        except ServerGoneError as gone:
            result.stopped_because = str(gone)
    finally:
        others.end()
    if result.stopped_because:
        result.remarks.append(f"Only the first of {processes} processes is in it, with its share of the users.")
        return result
    for other in others.parts:
        _add(result, other)
    result.remarks.append(f"{processes} servers, each with its share of the users and companies; memory is their sum.")
    return result


class _Others:
    """The other processes of a run, and what came of those that are done."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self._processes: list[Any] = []
        self._receivers: list[Any] = []  # connections, of those that are not done

    def add(self, process: Any, receiver: Any) -> None:
        self._processes.append(process)
        self._receivers.append(receiver)

    @property
    def are_running(self) -> bool:
        return bool(self._receivers)

    def hear(self, *, timeout_s: float | None) -> None:
        """Takes what they send. Raises the error of one that failed, ServerGoneError if its server went away."""
        for receiver in wait(self._receivers, timeout_s):
            self._receivers.remove(receiver)
            self.parts.append(_received(receiver))

    def end(self) -> None:
        for process in self._processes:
            process.terminate()
            process.join()


def _drive(sender: Connection, part: Run, share: Share) -> None:
    try:
        result = part(share=share, progress=_end_with_the_first)
    except (LoadTestError, LocalError) as error:
        sender.send(error)
        return
    stats: Any = result.stats
    library = {name: stats.counts(name) for name in result.counts.types}
    result.stats = None  # type: ignore[assignment] # put together again by whoever receives it
    sender.send(_Part(result, library, stats.data_reads, stats.bookkeeping_reads))


def _end_with_the_first(_what: str, _share: float) -> None:
    """Ends this process, and so its server, where the first one was killed and could not do so."""
    first = multiprocessing.parent_process()
    if first and not first.is_alive():
        sys.exit(int(ExitCode.ERROR))


def _received(receiver: Any) -> _Part:
    try:
        answer = receiver.recv()
    except EOFError:
        raise LoadTestError("a process of the run ended before its time.") from None
    if isinstance(answer, Exception):
        raise answer
    part: _Part = answer
    if part.result.stopped_because:
        raise ServerGoneError(part.result.stopped_because)
    return part


def _add(result: Result, part: _Part) -> None:
    other = part.result
    for name, counts in part.library.items():
        result.stats.lookup(name, hits=counts.hits, misses=counts.misses)
        result.stats.computed(name, counts.computes, counts.compute_s)
        result.counts.types[name].merge(other.counts.types[name])
    result.stats.lookup(name, data_reads=part.data_reads, bookkeeping_reads=part.bookkeeping_reads)
    result.counts.visits += other.counts.visits
    result.memory = [
        Memory(one.hour, one.used_bytes + two.used_bytes) for one, two in zip(result.memory, other.memory, strict=False)
    ]
    for hour, (computed, invalidations) in other.activity.items():
        seen = result.activity.setdefault(hour, [0, 0])
        seen[0] += computed
        seen[1] += invalidations
    result.warming.add(other.warming)
    result.warming_commands += other.warming_commands
    result.server_lookups += other.server_lookups
    result.commands += other.commands
    result.ran_s = min(result.ran_s, other.ran_s)
