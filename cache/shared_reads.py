"""Callers of one process who read the same at one time share a reply.

Nobody is given the reply to a read that was sent before he called: an invalidation may have been confirmed in between.
So who comes while others read joins a group that gathers until it has its turn, and one of the group reads for all.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from cache.async_link import PerLoop
from cache.commands import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cache.async_cluster_link import AsyncClusterLink
    from cache.async_link import AsyncLink
    from cache.cluster_link import ClusterLink
    from cache.commands import Command, Reply
    from cache.gate import Operation
    from cache.link import Link
    from cache.stats import Stats

    Answer: TypeAlias = list[Reply] | Unavailable
    Group: TypeAlias = list[Answer]  # empty until its read is answered

Turn = TypeVar("Turn", threading.Lock, asyncio.Lock)


class _Queue(Generic[Turn]):
    """Those who read the same. One group has its turn; behind it the next one gathers."""

    def __init__(self, turn: Turn) -> None:
        self.turn: Turn = turn
        self.callers = 0
        self.gathering: Group | None = None

    def close_group(self) -> None:
        """Before its read is sent: whoever calls from here on is of another group."""
        self.gathering = None

    def answered(self, group: Group, answer: Answer) -> None:
        group.append(answer)
        if isinstance(answer, Unavailable):  # those behind have waited as long: one deadline for an operation
            late, self.gathering = self.gathering, None
            if late is not None:
                late.append(answer)


class _Queues(Generic[Turn]):
    """Queues by what is read, each as long as there is somebody in it."""

    def __init__(self, new_turn: Callable[[], Turn], counts: Stats) -> None:
        self._new_turn: Callable[[], Turn] = new_turn
        self._stats = counts
        self._lock = threading.Lock()
        self._queues: dict[Sequence[Command], _Queue[Turn]] = {}

    def join(self, batch: Sequence[Command]) -> tuple[_Queue[Turn], Group]:
        with self._lock:
            queue = self._queues.get(batch)
            if queue is None:
                queue = self._queues[batch] = _Queue(self._new_turn())
            queue.callers += 1
            if queue.gathering is None:
                queue.gathering = []
            return queue, queue.gathering

    def leave(self, batch: Sequence[Command], queue: _Queue[Turn]) -> None:
        with self._lock:
            queue.callers -= 1
            if not queue.callers:
                del self._queues[batch]

    def shared(self, batch: Sequence[Command], answer: Answer) -> Answer:
        """For the others of a group: each lookup counts what it asked for, but the server was asked once."""
        if not isinstance(answer, Unavailable):
            self._stats.not_read(data=1, bookkeeping=len(batch) - 1)
        return answer


class SharedReads:
    """Safe to share between threads."""

    def __init__(self, link: Link | ClusterLink, counts: Stats) -> None:
        self._link = link
        self._stats = counts
        self.reset()

    def reset(self) -> None:
        """After a fork: who was reading is in the parent."""
        self._alone: dict[Sequence[Command], Operation] = {}
        self._queues: _Queues[threading.Lock] = _Queues(threading.Lock, self._stats)

    def send(self, batch: Sequence[Command], operation: Operation) -> Answer:
        """As the link's; the replies may be others', too, and are not to be changed."""
        alone = self._alone
        if alone.setdefault(batch, operation) is not operation:  # each hit passes here, so it takes no lock
            return self._share(batch, operation)
        try:
            return self._link.send(batch, operation)
        finally:
            del alone[batch]

    def _share(self, batch: Sequence[Command], operation: Operation) -> Answer:
        queues = self._queues
        queue, group = queues.join(batch)
        try:
            with queue.turn:
                if group:
                    return queues.shared(batch, group[0])
                queue.close_group()
                answer = self._link.send(batch, operation)
                queue.answered(group, answer)
                return answer
        finally:
            queues.leave(batch, queue)


class AsyncSharedReads:
    """As `SharedReads`, awaited; those of one event loop read together."""

    def __init__(self, link: AsyncLink | AsyncClusterLink, counts: Stats) -> None:
        self._link = link
        self._alone: PerLoop[dict[Sequence[Command], Operation]] = PerLoop(dict)
        self._queues: PerLoop[_Queues[asyncio.Lock]] = PerLoop(lambda: _Queues(asyncio.Lock, counts))

    async def send(self, batch: Sequence[Command], operation: Operation) -> Answer:
        alone = self._alone.here()
        if alone.setdefault(batch, operation) is not operation:
            return await self._share(batch, operation)
        try:
            return await self._link.send(batch, operation)
        finally:
            del alone[batch]

    async def _share(self, batch: Sequence[Command], operation: Operation) -> Answer:
        queues = self._queues.here()
        queue, group = queues.join(batch)
        try:
            async with queue.turn:
                if group:
                    return queues.shared(batch, group[0])
                queue.close_group()
                answer = await self._link.send(batch, operation)
                queue.answered(group, answer)
                return answer
        finally:
            queues.leave(batch, queue)
