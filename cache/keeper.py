"""One thread of each service: renews the leases its process holds, watches those it waits for, applies what is pending.

A thread in asyncio too: an event loop that is busy computing must not lose its lease.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cache.commands import Unavailable, is_free
from cache.flows import LEASE_MS
from cache.gate import Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.cluster_link import ClusterLink
    from cache.commands import Command, Reply, WaitForLease
    from cache.link import Link
    from cache.pending import Pending
    from cache.stats import Stats

# Two renewals may fail before a living holder's lease runs out.
_RENEW_EVERY_S: Final = LEASE_MS / 1000 / 3
_PENDING_EVERY_S: Final = 0.25
# Shorter than the first renewal is away: a lease that is held briefly does not wake the thread.
_LINGER_S: Final = _RENEW_EVERY_S * 0.8
# Waiters are at most a fortieth of their wait late: 200 ms of computing become 205 at worst.
_LOOK_AGAIN_PART: Final = 1 / 40
_LOOK_AGAIN_S: Final = (0.002, 0.05)


@dataclass(slots=True, eq=False)
class _Watch:
    lease: str
    look: Command
    wake: Callable[[Reply], None]
    began: float
    due: float


class Keeper:
    """Starts its thread when there is something to do, and ends it when there has been nothing for a while."""

    def __init__(self, link: Link | ClusterLink, pending: Pending, counts: Stats) -> None:
        self._link = link
        self._pending = pending
        self._stats = counts
        self.reset()

    def reset(self) -> None:
        """After a fork: the parent's leases are the parent's to renew, and its thread is not here."""
        self._changed = threading.Condition()
        self._holds: dict[tuple[str, bytes], tuple[Command, float]] = {}
        self._watches: dict[str, list[_Watch]] = {}  # by lease
        self._thread: threading.Thread | None = None
        self._sleeps_until = 0.0
        self._pending_due = 0.0
        self._is_closed = False

    def close(self) -> None:
        """Ends the thread; whoever uses the service again starts another one."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=1)
        self._is_closed = False

    # -- what flows ask for ------------------------------------------------------------------------------------

    def hold(self, lease: str, token: bytes, renewal: Command) -> None:
        due = time.monotonic() + _RENEW_EVERY_S
        with self._changed:
            self._holds[lease, token] = renewal, due
            self._wake_up(due)

    def drop(self, lease: str, token: bytes) -> None:
        with self._changed:
            self._holds.pop((lease, token), None)
            now = time.monotonic()
            for watch in self._watches.get(lease, ()):
                # Seen at once, and by the server's word: what was stored here may have been invalidated since.
                watch.due = now
                self._wake_up(now)

    def is_watched(self, lease: str) -> bool:
        return lease in self._watches

    # -- what shells ask for -----------------------------------------------------------------------------------

    def watch(self, wait: WaitForLease, wake: Callable[[Reply], None]) -> Callable[[], None]:
        """Calls `wake` once when the lease is free, with the reply that said so, or None if the server is not there.

        The answer is how to end the watch.
        """
        now = time.monotonic()
        watch = _Watch(wait.lease, wait.look, wake, began=now, due=now + _LOOK_AGAIN_S[0])
        with self._changed:
            self._watches.setdefault(watch.lease, []).append(watch)
            self._wake_up(watch.due)

        def end() -> None:
            with self._changed:
                self._discard(watch)

        return end

    def pending_changed(self) -> None:
        if len(self._pending):
            with self._changed:
                self._pending_due = time.monotonic() + _PENDING_EVERY_S
                self._wake_up(self._pending_due)

    def _discard(self, watch: _Watch) -> bool:
        """Whether it had not ended yet."""
        watches = self._watches.get(watch.lease, [])
        if watch not in watches:
            return False
        watches.remove(watch)
        if not watches:
            del self._watches[watch.lease]
        return True

    def _end(self, watch: _Watch, reply: Reply) -> None:
        if self._discard(watch):
            watch.wake(reply)

    # -- the thread --------------------------------------------------------------------------------------------

    def _wake_up(self, due: float) -> None:
        if self._is_closed:
            return
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="cache-keeper", daemon=True)
            with suppress(RuntimeError):  # the system has no more of them: whoever comes next tries again
                thread.start()
                self._thread = thread
        elif due < self._sleeps_until:
            self._changed.notify()

    def _work(self) -> None:
        try:
            self._work_until_idle()
        finally:  # however it ended: the next one who needs a thread starts it
            with self._changed:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _work_until_idle(self) -> None:
        has_lingered = False
        while True:
            with self._changed:
                now = time.monotonic()
                due = self._next_due()
                if self._is_closed or (due is None and has_lingered):
                    self._thread = None
                    return
                if due is None or due > now:
                    has_lingered = due is None
                    self._sleeps_until = now + _LINGER_S if due is None else min(due, now + _LINGER_S)
                    self._changed.wait(self._sleeps_until - now)
                    continue
                renewals = {held: renewal for held, (renewal, due) in self._holds.items() if due <= now}
                all_watches = [watch for watches in self._watches.values() for watch in watches]
                looks = {watch.look for watch in all_watches if watch.due <= now}
                watches = [watch for watch in all_watches if watch.look in looks]
                pending_is_due = bool(len(self._pending)) and self._pending_due <= now
            if pending_is_due:
                self._pending_due = now + _PENDING_EVERY_S
                self._link.send((), Operation())
            if renewals or watches:
                self._renew_and_look(renewals, watches)

    def _next_due(self) -> float | None:
        dues = [due for _, due in self._holds.values()]
        dues += [watch.due for watches in self._watches.values() for watch in watches]
        if len(self._pending):
            dues.append(self._pending_due)
        return min(dues, default=None)

    def _renew_and_look(self, renewals: dict[tuple[str, bytes], Command], watches: list[_Watch]) -> None:
        looks = list(dict.fromkeys(watch.look for watch in watches))
        asked_at = time.monotonic()
        replies = self._link.send((*renewals.values(), *looks), Operation())
        now = time.monotonic()
        with self._changed:
            for held, renewal in renewals.items():
                if held in self._holds:
                    # One that failed is tried again soon: the lease still runs.
                    next_s = _RENEW_EVERY_S / 5 if isinstance(replies, Unavailable) else _RENEW_EVERY_S
                    self._holds[held] = renewal, now + next_s
            if isinstance(replies, Unavailable):
                for watch in watches:  # they find out for themselves
                    self._end(watch, None)
                return
            self._stats.bookkept(len(renewals) + sum(len(look) - 1 if look[0] == "MGET" else 1 for look in looks))
            shortest, longest = _LOOK_AGAIN_S
            since = {watch.look: watch.began for watch in sorted(watches, key=lambda watch: -watch.began)}
            seen = dict(zip(looks, replies[len(renewals) :], strict=True))
            for watch in watches:
                if is_free(watch.look, seen[watch.look]):
                    self._end(watch, seen[watch.look])
                elif watch.due <= asked_at:
                    waited_s = now - since[watch.look]
                    watch.due = now + min(max(waited_s * _LOOK_AGAIN_PART, shortest), longest)
