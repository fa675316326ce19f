"""Invalidations that the server has not confirmed, and those that a new primary may not have seen. No I/O."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from cache import commands, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from cache.clock import Clock
    from cache.commands import Command

_log = logging.getLogger("cache")

# Above this many, one change of the epoch is cheaper and invalidates no more than it must for long.
MAX_MATCH_INVALIDATIONS: Final = 10_000
# A primary that dies may lose what it had not replicated. ElastiCache's replicas lag by less than a second as a
# rule; ten leave room for one that was behind.
REAPPLY_S: Final = 10.0

# Far longer than applying takes: whoever began it was torn out of it, by an exception that a signal's handler raised.
ABANDONED_AFTER_S: Final = 10.0

# Without the jobs' generations no stored score matches: every user's scores are invalid at once.
_NEW_EPOCH: Final = commands.delete(keys.JOB_GENERATIONS)


class Pending:
    """Deletions by command, each kept once. Safe to share between threads.

    `part_of` tells which part of the data a deletion is about: in a cluster its slot. What waits for one part holds up
    nobody who asks for another.

    Those of match scores are bounded: past `MAX_MATCH_INVALIDATIONS` they become one new epoch of all scores. Those of
    single values are bounded by the companies and users there are. `on_doubt` is called when another server may have
    become the primary.
    """

    def __init__(
        self,
        clock: Clock,
        on_pending: Callable[[int], None] | None = None,
        on_doubt: Callable[[], None] = lambda: None,
        part_of: Callable[[Command], int] = lambda _: 0,
    ) -> None:
        self._clock = clock
        self._on_pending = on_pending
        self._on_doubt = on_doubt
        self._part_of = part_of
        self._waiting: dict[int, dict[Command, None]] = {}
        self._applying: dict[int, tuple[Command, ...]] = {}
        self._applying_since = clock.now()
        self._waiting_count = 0
        self._recent: dict[Command, float] = {}
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """In the child: the thread that held the lock, or was applying some of these, is the parent's."""
        self._lock = threading.Lock()
        waiting, self._waiting, self._waiting_count = self._waiting, {}, 0
        self._take_back()
        for deletions in waiting.values():
            self._wait(deletions)

    def __len__(self) -> int:
        return self._waiting_count + sum(map(len, self._applying.values()))

    def parts(self) -> set[int]:
        """The parts of which there are any."""
        with self._lock:
            return {*self._waiting, *self._applying}

    def holds_up(self, parts: Collection[int] | None) -> bool:
        """Whether there are any of these parts; None means all parts."""
        if not self._waiting and not self._applying:  # as a rule
            return False
        return parts is None or any(part in self._waiting or part in self._applying for part in parts)

    def add(self, deletions: Iterable[Command]) -> None:
        with self._lock:
            self._wait(deletions)
        self._tell()

    def begin(self, parts: Collection[int] | None = None) -> tuple[Command, ...]:
        """What the caller is to apply now to these parts, and then `applied` or `failed`.

        Nothing while another caller does that.
        """
        now = self._clock.now()
        with self._lock:
            if now - self._applying_since > ABANDONED_AFTER_S:
                self._take_back()
            chosen = self._waiting.keys() if parts is None else self._waiting.keys() & parts
            if self._applying and (parts is None or not self._applying.keys().isdisjoint(parts)):
                return ()
            # Taken out, so that one that is added while these are on their way is not taken for applied.
            mine = {part: tuple(self._waiting[part]) for part in chosen}
            self._applying_since = now
            self._applying |= mine  # before they leave the others: a fork in between must lose none
            for part in mine:
                del self._waiting[part]
            deletions = tuple(command for each in mine.values() for command in each)
            self._waiting_count -= len(deletions)
            return deletions

    def applied(self, deletions: Iterable[Command]) -> None:
        with self._lock:
            self._end(deletions)
        self.confirmed(deletions)
        self._tell()

    def failed(self, deletions: Iterable[Command]) -> None:
        with self._lock:
            self._wait(deletions)
            self._end(deletions)

    def confirmed(self, deletions: Iterable[Command]) -> None:
        """The server has confirmed these; its successor may not know of them."""
        now = self._clock.now()
        with self._lock:
            for command in deletions:
                self._recent.pop(command, None)
                self._recent[command] = now
            for command in list(self._recent):
                if self._recent[command] > now - REAPPLY_S:
                    break
                del self._recent[command]
            if len(self._recent) > MAX_MATCH_INVALIDATIONS:
                self._recent = dict.fromkeys(_bounded(self._recent), now)

    def primary_may_have_changed(self, of_part: Callable[[int], bool] = lambda _: True) -> None:
        """What was confirmed in the last seconds before this must be applied again, to the parts it happened to."""
        with self._lock:
            again = [command for command in self._recent if of_part(self._part_of(command))]
            for command in again:
                del self._recent[command]
            self._wait(again)
        self._on_doubt()
        if again:
            self._tell()

    def _wait(self, deletions: Iterable[Command]) -> None:
        for command in deletions:
            of_part = self._waiting.setdefault(self._part_of(command), {})
            self._waiting_count += command not in of_part
            of_part[command] = None
        if self._waiting_count > MAX_MATCH_INVALIDATIONS:
            all_of_them = [command for of_part in self._waiting.values() for command in of_part]
            bounded = _bounded(all_of_them)
            if len(bounded) < len(all_of_them):
                self._waiting, self._waiting_count = {}, 0
                self._wait(bounded)

    def _take_back(self) -> None:
        """What nobody is applying any more waits again."""
        for deletions in self._applying.values():
            self._wait(deletions)
        self._applying = {}

    def _end(self, deletions: Iterable[Command]) -> None:
        for command in deletions:
            self._applying.pop(self._part_of(command), None)

    def _tell(self) -> None:
        if self._on_pending is None:
            return
        try:
            self._on_pending(len(self))
        except Exception:  # noqa: BLE001 - the hook is the caller's own: its fault must not become the page's
            _log.exception("cache.on_pending_failed")


def _bounded(deletions: Iterable[Command]) -> list[Command]:
    all_of_them = list(deletions)
    others = [command for command in all_of_them if not _is_of_match(command)]
    if len(all_of_them) - len(others) <= MAX_MATCH_INVALIDATIONS:
        return all_of_them
    return [_NEW_EPOCH, *others]


def _is_of_match(command: Command) -> bool:
    key = str(command[1])
    return key.startswith("match:") or key == keys.JOB_GENERATIONS
