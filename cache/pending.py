"""Invalidations that the server has not confirmed, and those that a new primary may not have seen. No I/O."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from cache import commands, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cache.clock import Clock
    from cache.commands import Command

_log = logging.getLogger("cache")

# Above this many, one change of the epoch is cheaper and invalidates no more than it must for long.
MAX_MATCH_INVALIDATIONS: Final = 10_000
# A primary that dies may lose what it had not replicated. ElastiCache's replicas lag by less than a second as a
# rule; ten leave room for one that was behind.
REAPPLY_S: Final = 10.0

# Without the jobs' generations no stored score matches: every user's scores are invalid at once.
_NEW_EPOCH: Final = commands.delete(keys.JOB_GENERATIONS)


class Pending:
    """Deletions by command, each kept once. Safe to share between threads.

    Those of match scores are bounded: past `MAX_MATCH_INVALIDATIONS` they become one new epoch of all scores. Those of
    single values are bounded by the companies and users there are. `on_doubt` is called when another server may have
    become the primary.
    """

    def __init__(
        self,
        clock: Clock,
        on_pending: Callable[[int], None] | None = None,
        on_doubt: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._on_pending = on_pending
        self._on_doubt = on_doubt
        self._waiting: dict[Command, None] = {}
        self._applying: tuple[Command, ...] = ()
        self._recent: dict[Command, float] = {}
        self.reset_lock()

    def reset_lock(self) -> None:
        """After a fork, when another thread may have held it."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._applying)

    def add(self, deletions: Iterable[Command]) -> None:
        with self._lock:
            self._waiting |= dict.fromkeys(deletions)
            if len(self._waiting) > MAX_MATCH_INVALIDATIONS:
                self._waiting = dict.fromkeys(_bounded(self._waiting))
        self._tell()

    def begin(self) -> tuple[Command, ...]:
        """What the caller is to apply now, and then `applied` or `failed`; nothing while another caller does."""
        with self._lock:
            if self._applying:
                return ()
            # Taken out, so that one that is added while these are on their way is not taken for applied.
            self._applying, self._waiting = tuple(self._waiting), {}
            return self._applying

    def applied(self) -> None:
        with self._lock:
            done, self._applying = self._applying, ()
        self.confirmed(done)
        self._tell()

    def failed(self) -> None:
        with self._lock:
            self._waiting = dict.fromkeys([*self._applying, *self._waiting])
            self._applying = ()

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

    def primary_may_have_changed(self) -> None:
        """What was confirmed in the last seconds before this must be applied again."""
        with self._lock:
            again, self._recent = self._recent, {}
            self._waiting = dict.fromkeys([*again, *self._waiting])
        self._on_doubt()
        if again:
            self._tell()

    def _tell(self) -> None:
        if self._on_pending is None:
            return
        try:
            self._on_pending(len(self._waiting))
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
