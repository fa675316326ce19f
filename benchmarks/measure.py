"""How to measure on a machine that is never quite quiet: interleaved rounds, medians, differences within one run."""

from __future__ import annotations

import inspect
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Final

import redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_WARM_UP_CALLS: Final = 10


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number with what it must reach. `low` and `high` hold the middle half of the rounds."""

    benchmark: str
    what: str
    unit: str
    value: float
    low: float
    high: float
    bound: float | None = None
    at_least: bool = False
    peers: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def is_reached(self) -> bool | None:
        """None where there is nothing to reach."""
        if self.bound is None:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def figure(
    benchmark: str,
    what: str,
    unit: str,
    rounds: Sequence[float],
    *,
    bound: float | None = None,
    at_least: bool = False,
    peers: Mapping[str, float | str] | None = None,
) -> Figure:
    """The median of `rounds` and their spread."""
    low, high = (quantiles(rounds, n=4)[0], quantiles(rounds, n=4)[2]) if len(rounds) > 1 else (rounds[0], rounds[0])
    return Figure(benchmark, what, unit, median(rounds), low, high, bound, at_least, peers or {})


def interleaved(calls: Mapping[str, Callable[[], Any]], *, rounds: int, calls_per_round: int) -> dict[str, list[float]]:
    """`{name: median µs of each round}`. Each round has all of them in turn, so that noise falls on all alike."""
    medians: dict[str, list[float]] = {name: [] for name in calls}
    clock = time.perf_counter_ns
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(_WARM_UP_CALLS):
                call()
            taken = []
            for _ in range(calls_per_round):
                began = clock()
                call()
                taken.append(clock() - began)
            medians[name].append(median(taken) / 1000)
    return medians


async def interleaved_async(
    calls: Mapping[str, Callable[[], Any]], *, rounds: int, calls_per_round: int
) -> dict[str, list[float]]:
    """As `interleaved`, of async functions."""
    medians: dict[str, list[float]] = {name: [] for name in calls}
    clock = time.perf_counter_ns
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(_WARM_UP_CALLS):
                await call()
            taken = []
            for _ in range(calls_per_round):
                began = clock()
                await call()
                taken.append(clock() - began)
            medians[name].append(median(taken) / 1000)
    return medians


def added(medians: Mapping[str, list[float]], name: str, base: str) -> list[float]:
    """µs more than `base`, round by round."""
    return [mine - other for mine, other in zip(medians[name], medians[base], strict=True)]


def ratios(medians: Mapping[str, list[float]], name: str, base: str) -> list[float]:
    """Times `base`, round by round."""
    return [mine / other for mine, other in zip(medians[name], medians[base], strict=True)]


async def settle(result: Any) -> Any:
    """The result of a peer's method, whether it has to be awaited or not."""
    return await result if inspect.isawaitable(result) else result


@contextmanager
def one_processor(port: int) -> Iterator[None]:
    """Puts this process and the server on one processor, where the system allows it.

    Then no round trip waits for another processor to wake up, which takes longer than the work that is measured and
    changes from run to run.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    with redis.Redis(port=port) as client:
        server = int(client.info("server")["process_id"])
    processor = {max(before)}
    _put(os.getpid(), processor)
    _put(server, processor)
    try:
        yield
    finally:
        _put(os.getpid(), before)
        _put(server, before)


def _put(process: int, processors: set[int]) -> None:
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(int(thread.name), processors)
