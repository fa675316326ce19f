"""Lookups of single values at one instant, asked together.

A flow of the library for each of them costs more than the lookup itself. So all of them are one step, made of the
library's commands, and hits are decoded by its codec and counted here; what several ask for at one instant is read
once for all of them. Whoever misses goes on in the library's own flow, from the replies that it would have got: the
flow counts the miss and fills it.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from cache import codec, commands, keys
from cache.commands import Send
from loadtest.calls import flow_of, text_of
from loadtest.pipeline import Task
from loadtest.scenarios import MINUTE_S
from loadtest.traffic import CacheCall, Call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.commands import Command, Flow, Reply
    from loadtest.driver import Driver


class _Asked:
    """Lookups of one cache type at one instant: of what, for which rows, with which sizes (-1: the planned one)."""

    __slots__ = ("rows", "sizes", "subjects")

    def __init__(self) -> None:
        self.subjects: list[Any] = []
        self.rows: list[int] = []
        self.sizes: list[int] = []


class _Seen:
    """What is not counted yet of one cache type: the rows of hits, and the keys that no flow counts."""

    __slots__ = ("bookkeeping_reads", "data_reads", "hits")

    def __init__(self) -> None:
        self.hits: list[int] = []
        self.data_reads = self.bookkeeping_reads = 0


class Looks:
    """The lookups of one instant, by subject: a user, a company, or (user, job).

    `starts_sessions`: whoever has no session is sent to a login.
    """

    def __init__(self, driver: Driver) -> None:
        self.starts_sessions = False
        self._driver = driver
        self._asked: dict[str, _Asked] = {}
        self._seen = {name: _Seen() for name in driver.result.counts.types}
        self._minute = 0  # of what was seen: counted once for each minute, since one by one would take longer

    def add(self, cache_type: str, subjects: Sequence[Any], rows: Sequence[int], sizes: Sequence[int]) -> None:
        """Lookups of one value each, counted for `rows`."""
        asked = self._asked.get(cache_type)
        if asked is None:
            asked = self._asked[cache_type] = _Asked()
        asked.subjects += subjects
        asked.rows += rows
        asked.sizes += sizes

    def tasks(self) -> list[Task]:
        """What carries out those that were added. They are forgotten here."""
        if not self._asked:
            return []
        asked, self._asked = self._asked, {}
        return [Task(self._flow(asked), done=_go_on)]

    def count(self) -> None:
        """Counts what was seen and is not counted yet; to be called at the end, too."""
        for name, seen in self._seen.items():
            self._driver.result.counts.types[name].add_hits(seen.hits, self._minute)
            self._driver.flows.stats.lookup(
                name, hits=len(seen.hits), data_reads=seen.data_reads, bookkeeping_reads=seen.bookkeeping_reads
            )
            self._seen[name] = _Seen()

    def _flow(self, asked: dict[str, _Asked]) -> Flow[tuple[Task, ...]]:
        """Its result is what is left to do: the flows of those that missed."""
        minute = self._driver.result.ran_s // MINUTE_S
        if minute != self._minute:
            self.count()
            self._minute = minute
        distinct = {name: list(dict.fromkeys(lookups.subjects)) for name, lookups in asked.items()}
        batches = [self._commands(name, subjects) for name, subjects in distinct.items()]
        replies = yield Send(tuple(chain.from_iterable(batches)))
        missed: list[Task] = []
        start = 0
        for (name, subjects), batch in zip(distinct.items(), batches, strict=True):
            answers = replies[start : start + len(batch)]
            start += len(batch)
            missed += self._answered(name, subjects, asked[name], answers)
        return tuple(missed)

    def _commands(self, name: str, subjects: list[Any]) -> list[Command]:
        match name:
            case "session":
                ttl_s = self._driver.flows.catalog.session.ttl_s
                return [commands.get_and_extend(key, ttl_s) for key in map(keys.session, subjects)]
            case "ijp":
                return [commands.mget(list(map(keys.ijp, subjects)))]
            case "company":
                return [commands.mget(list(map(keys.company, subjects)))]
            case _:
                read = self._driver.flows.layout.read
                return [command for user, job in subjects for command in read(user, (job,))]

    def _answered(self, name: str, subjects: list[Any], asked: _Asked, replies: list[Reply]) -> list[Task]:
        """Notes the hits; gives the tasks of those that missed."""
        answers, reads = replies, 1
        if name == "match":
            reads = len(replies) // len(subjects)
            answers = [replies[start : start + reads] for start in range(0, len(replies), reads)]
        elif name != "session":
            answers = replies[0]
        is_hit = self._are_hits(name, subjects, answers)
        seen, missed = self._seen[name], []
        if all(is_hit):
            seen.hits += asked.rows
        else:
            missing = {
                subject: answer for subject, answer, good in zip(subjects, answers, is_hit, strict=True) if not good
            }
            for subject, row, size in zip(asked.subjects, asked.rows, asked.sizes, strict=True):
                if subject in missing:
                    self._driver.result.counts.types[name].add(row, 0, 1, self._minute)
                    missed.append(self._missed(name, subject, size, missing[subject]))
                else:
                    seen.hits.append(row)
        # The flow of each that missed counts its own reads.
        read = len(subjects) - len(missed)
        seen.data_reads += read
        seen.bookkeeping_reads += (reads - 1) * read
        return missed

    def _are_hits(self, name: str, subjects: list[Any], answers: list[Any]) -> list[bool]:
        now = self._driver.clock.now()
        match name:
            case "session":
                return [raw is not None and _is_session(raw, now) for raw in answers]
            case "match":
                parse = self._driver.flows.layout.parse
                pairs = zip(subjects, answers, strict=True)
                return [bool(parse((job,), replies, now).found) for (_, job), replies in pairs]
            case _:
                return [raw is not None and codec.decode(raw) is not codec.UNDECODABLE for raw in answers]

    def _missed(self, name: str, subject: Any, size: int, answer: Any) -> Task:
        flows, origins = self._driver.flows, self._driver.origins
        task: Task
        match name:
            case "match":
                user, job = subject
                task = Task(flows.match_scores(user, (job,)), partial(origins.scores, user))
            case "session":
                task = Task(flows.get_session(subject))
                if self.starts_sessions:
                    task.then = (Task(flows.start_session(subject, origins.session)),)
            case _:
                call, value = (Call.IJP, origins.ijp) if name == "ijp" else (Call.COMPANY, origins.company)
                flow = flow_of(CacheCall(call, subject, subject), flows, origins)
                task = Task(flow, (lambda: value) if size < 0 else partial(text_of, size))
        next(task.flow)  # it asks what has been asked
        task.answer, task.sends = (answer if name == "match" else [answer]), 1
        return task


def _is_session(raw: bytes, now: float) -> bool:
    decoded = codec.decode_session(raw)
    return decoded is not None and decoded[0] > now


def _go_on(task: Task) -> None:
    task.then = task.answer
