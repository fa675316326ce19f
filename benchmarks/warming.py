"""Warming: scores stored per second by one process, encoding included, computing not."""

from __future__ import annotations

import asyncio
import socket
import time
from itertools import count, islice
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks import workloads
from benchmarks.measure import Figure, figure, settle
from benchmarks.peers import having
from benchmarks.peers.library import NAME
from cache.codec import PACKED_BYTES
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEPTHS: Final = (50, 100, 250, 500, 1000, 2500)
_REPLY: Final = len(b"+OK\r\n")


class RawSets:
    """The most that SET allows: commands encoded beforehand, written to a socket, replies counted and not read.

    Each stores as many bytes as a packed score has, under the caching strategy's key, without a TTL. While one batch is
    being answered the next one is on its way.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def best_depth(self, users: Iterator[int], scores: int) -> int:
        """The commands per batch that store most per second."""
        return min(_DEPTHS, key=lambda depth: min(self.store(users, scores, depth) for _ in range(3)))

    def store(self, users: Iterator[int], scores: int, depth: int) -> float:
        """Stores 100 scores for each of the next users. The seconds that it took."""
        batches = list(_encoded(users, scores, depth))
        began = time.perf_counter()
        for i, batch in enumerate(batches):
            self._socket.sendall(batch)
            if i:
                self._await(depth)
        self._await(scores - depth * (len(batches) - 1))
        return time.perf_counter() - began

    def _await(self, replies: int) -> None:
        left = replies * _REPLY
        while left:
            left -= len(self._socket.recv(min(left, 1 << 16)))


def _encoded(users: Iterator[int], scores: int, depth: int) -> Iterator[bytes]:
    some = islice(users, scores // workloads.JOBS_PER_USER)
    keys = [workloads.key(user, job).encode() for user in some for job in workloads.job_list()]
    for first in range(0, len(keys), depth):
        yield b"".join(
            b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, PACKED_BYTES, b"x" * PACKED_BYTES)
            for key in keys[first : first + depth]
        )


def warm(*, quick: bool) -> list[Figure]:
    """A million scores in rounds; in each round everybody stores scores of new users."""
    return asyncio.run(_warm(rounds=2, users_per_round=20) if quick else _warm(rounds=10, users_per_round=1000))


async def _warm(rounds: int, users_per_round: int) -> list[Figure]:
    scores = users_per_round * workloads.JOBS_PER_USER
    # Peers take up to fifty times as long and are not what is judged: a tenth of the scores does.
    fewer = max(users_per_round // 10, 1)
    users = count(1)
    with Valkey() as server:
        raw = RawSets(server.port)
        depth = raw.best_depth(users, scores // 2)
        peers = [peer(server.port) for peer in having("warm")]
        rates: dict[str, list[float]] = {peer.name: [] for peer in peers}
        rates_raw = []
        for _ in range(rounds):
            rates_raw.append(scores / raw.store(users, scores, depth))
            for peer in peers:
                some = users_per_round if peer.name == NAME else fewer
                rates[peer.name].append(await _rate(peer, users, some))
        for peer in peers:
            await settle(peer.close())
        raw.close()
    others: dict[str, float | str] = {name: median(per_s) for name, per_s in rates.items() if name != NAME}
    best_raw = f"raw SETs, {depth} deep"
    against = [mine / sets for mine, sets in zip(rates[NAME], rates_raw, strict=True)]
    return [
        figure("warm", "scores stored", "per second", rates[NAME], peers={best_raw: median(rates_raw), **others}),
        figure("warm", "the same", f"× {best_raw}", against, bound=1.0, at_least=True),
    ]


async def _rate(peer: Any, users: Iterator[int], number: int) -> float:
    jobs = workloads.job_list()
    scores = {user: workloads.scores(user, jobs) for user in islice(users, number)}
    began = time.perf_counter()
    await settle(peer.warm(scores))
    return number * len(jobs) / (time.perf_counter() - began)
