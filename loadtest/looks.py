"""Lookups of single values at one instant, asked together.

A flow of the library for each of them costs more than the lookup itself. So all of them are one step, made of the
library's commands, and hits are decoded by its codec and counted here. Whoever misses goes on in the library's own
flow, from the replies that it would have got: the flow counts the miss and fills it.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from cache import codec, commands, keys
from cache.commands import Send
from loadtest.pipeline import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.commands import Command, Flow, Reply
    from loadtest.driver import Driver
    from loadtest.loglines import Group


class Looks:
    """The lookups of one instant. `task_of` gives the library's own flow for one, which counts for its row."""

    def __init__(self, driver: Driver, task_of: Callable[[Group, int], Task]) -> None:
        self._driver = driver
        self._task_of = task_of
        self._asked: dict[str, list[tuple[Group, int]]] = {}

    def add(self, group: Group, row: int) -> None:
        """A lookup of one value, counted for `row`."""
        self._asked.setdefault(group.cache_type, []).append((group, row))

    def tasks(self) -> list[Task]:
        """What carries out those that were added. They are forgotten here."""
        if not self._asked:
            return []
        asked, self._asked = self._asked, {}
        return [Task(self._flow(asked), done=_go_on)]

    def _flow(self, asked: dict[str, list[tuple[Group, int]]]) -> Flow[tuple[Task, ...]]:
        """Its result is what is left to do: the flows of those that missed."""
        batches = {name: self._commands(name, lookups) for name, lookups in asked.items()}
        replies = yield Send(tuple(chain.from_iterable(batches.values())))
        missed: list[Task] = []
        start = 0
        for name, lookups in asked.items():
            answers = replies[start : start + len(batches[name])]
            start += len(batches[name])
            missed += self._answered(name, lookups, answers)
        return tuple(missed)

    def _commands(self, name: str, lookups: list[tuple[Group, int]]) -> list[Command]:
        match name:
            case "session":
                ttl_s = self._driver.flows.catalog.session.ttl_s
                return [commands.get_and_extend(keys.session(group.user), ttl_s) for group, _ in lookups]
            case "ijp":
                return [commands.mget([keys.ijp(group.user) for group, _ in lookups])]
            case "company":
                return [commands.mget([keys.company(group.items[0]) for group, _ in lookups])]
            case _:
                read = self._driver.flows.layout.read
                return [command for group, _ in lookups for command in read(group.user, group.items)]

    def _answered(self, name: str, lookups: list[tuple[Group, int]], replies: list[Reply]) -> list[Task]:
        """Counts the hits; gives the tasks of those that missed."""
        layout, now = self._driver.flows.layout, self._driver.clock.now()
        missed: list[Task] = []
        rows: list[int] = []
        reads = 1
        if name == "match":
            reads = len(replies) // len(lookups)
            for start, (group, row) in zip(range(0, len(replies), reads), lookups, strict=True):
                answer = replies[start : start + reads]
                if layout.parse(group.items, answer, now).found:
                    rows.append(row)
                else:
                    missed.append(self._missed(group, row, answer))
        else:
            is_hit = _is_session if name == "session" else _is_value
            for (group, row), raw in zip(lookups, replies if name == "session" else replies[0], strict=True):
                if raw is not None and is_hit(raw, now):
                    rows.append(row)
                else:
                    missed.append(self._missed(group, row, [raw]))
        self._driver.count_hits(name, rows, bookkeeping_reads=(reads - 1) * len(rows))
        return missed

    def _missed(self, group: Group, row: int, replies: list[Reply]) -> Task:
        task = self._task_of(group, row)
        next(task.flow)  # it asks what has been asked
        task.answer, task.sends = replies, 1
        return task


def _is_session(raw: bytes, now: float) -> bool:
    decoded = codec.decode_session(raw)
    return decoded is not None and decoded[0] > now


def _is_value(raw: bytes, _now: float) -> bool:
    return codec.decode(raw) is not codec.UNDECODABLE


def _go_on(task: Task) -> None:
    task.then = task.answer
