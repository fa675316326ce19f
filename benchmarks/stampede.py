"""A stampede: 8 processes of 25 callers each ask for one missing value that takes 200 ms to compute."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import Figure, figure
from benchmarks.peers import having
from benchmarks.peers.library import AsyncLibrary, Library
from benchmarks.workloads import score
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

_COMPUTE_S: Final = 0.2
# Time for all processes to get ready before they begin at the same moment.
_GET_READY_S: Final = 0.3


def stampede(*, quick: bool) -> list[Figure]:
    """Per caller from the common start to its answer, and how many of them computed."""
    rounds, processes, callers = (1, 2, 5) if quick else (5, 8, 25)
    peers = having("get_or_compute")
    computes: dict[str, list[float]] = {peer.name: [] for peer in peers}
    waits_ms: dict[str, list[list[float]]] = {peer.name: [] for peer in peers}
    with Valkey() as server, _Crowd(server.port, processes, callers) as crowd:
        for each in range(rounds):
            for peer in peers:
                answers = crowd.ask(peer.name, f"report:{peer.name}:{each}")
                computes[peer.name].append(sum(computed for computed, _ in answers))
                waits_ms[peer.name].append([wait_s * 1000 for _, waits_s in answers for wait_s in waits_s])
    figures = []
    for ours in (Library.name, AsyncLibrary.name):
        for what, unit, bound, rounds_of in (
            ("computes", "", 1, computes),
            ("median wait", "ms", 220, {name: [median(waits) for waits in each] for name, each in waits_ms.items()}),
            ("99th percentile", "ms", 260, {name: [_p99(waits) for waits in each] for name, each in waits_ms.items()}),
        ):
            others = {
                name: median(each) for name, each in rounds_of.items() if name not in (Library.name, AsyncLibrary.name)
            }
            figures.append(figure("stampede", f"{what}, {ours}", unit, rounds_of[ours], bound=bound, peers=others))
    return figures


def _p99(waits: Sequence[float]) -> float:
    return quantiles(waits, n=100, method="inclusive")[98]


class _Crowd:
    """Processes that wait for orders; each has its own clients, as the processes of a web server have."""

    def __init__(self, port: int, processes: int, callers: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(processes):
            here, there = spawn.Pipe()
            process = spawn.Process(target=_process, args=(there, port, callers), daemon=True)
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    def __enter__(self) -> _Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()  # which ends its process
        for process in self._processes:
            process.join()

    def ask(self, peer: str, key: str) -> list[tuple[int, list[float]]]:
        """(computes, seconds that each caller waited) of each process."""
        for i, pipe in enumerate(self._pipes):  # a key of its own: the crowd connects, the first time
            pipe.send((peer, f"ready:{peer}:{i}", time.monotonic()))
        for pipe in self._pipes:
            pipe.recv()
        begin_at = time.monotonic() + _GET_READY_S
        for pipe in self._pipes:
            pipe.send((peer, key, begin_at))
        return [pipe.recv() for pipe in self._pipes]


def _process(pipe: Connection, port: int, callers: int) -> None:
    """Carries out orders until the pipe is closed."""
    classes = {peer.name: peer for peer in having("get_or_compute")}
    made: dict[str, Any] = {}
    with asyncio.Runner() as runner, suppress(EOFError):
        while True:
            name, key, begin_at = pipe.recv()
            if name not in made:
                made[name] = classes[name](port)
            if classes[name].is_async:
                pipe.send(runner.run(_tasks(made[name], key, callers, begin_at)))
            else:
                pipe.send(_threads(made[name], key, callers, begin_at))
    # The clients end with their process.


def _threads(peer: Any, key: str, callers: int, begin_at: float) -> tuple[int, list[float]]:
    computes: list[None] = []

    def compute() -> dict[str, Any]:
        computes.append(None)
        time.sleep(_COMPUTE_S)
        return score(1, 1)

    def call(_: int) -> float:
        time.sleep(max(begin_at - time.monotonic(), 0))
        peer.get_or_compute(key, compute)
        return time.monotonic() - begin_at

    with ThreadPoolExecutor(callers) as pool:
        waits = list(pool.map(call, range(callers)))
    return len(computes), waits


async def _tasks(peer: Any, key: str, callers: int, begin_at: float) -> tuple[int, list[float]]:
    computes: list[None] = []

    async def compute() -> dict[str, Any]:
        computes.append(None)
        await asyncio.sleep(_COMPUTE_S)
        return score(1, 1)

    async def call() -> float:
        await asyncio.sleep(max(begin_at - time.monotonic(), 0))
        await peer.get_or_compute(key, compute)
        return time.monotonic() - begin_at

    waits = await asyncio.gather(*[call() for _ in range(callers)])
    return len(computes), waits
