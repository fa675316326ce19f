"""One thread of each service: renews the leases its process holds, watches those it waits for, applies what is pending.

A thread in asyncio too: an event loop that is busy computing must not lose its lease.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
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
# Waiters are 5 ms or a fortieth of their wait late, at worst: 200 ms of computing become 205.
_LOOK_AGAIN_PART: Final = 1 / 40
_LOOK_AGAIN_S: Final = (0.005, 0.05)


@dataclass(slots=True, eq=False)
class _Watch:
    """All who wait for what one look will tell."""

    lease: str
    began: float
    due: float
    waiters: dict[Callable[[Reply], None], None] = field(default_factory=dict)


class Keeper:
    """Starts its thread when there is something to do, and ends it when there has been nothing for a while."""

    def __init__(self, link: Link | ClusterLink, pending: Pending, counts: Stats) -> None:
        self._link = link
        self._pending = pending
        self._stats = counts
        self.reset()

    def reset(self) -> None:
        """After a fork: the parent's leases are the parent's to renew, and its thread is not here."""
        # Entered as it is: a Condition's own entering, which is Python, keeps it for ever if a signal's handler raises.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._holds: dict[tuple[str, bytes], tuple[Command, float]] = {}
        self._wanted: Counter[str] = Counter()  # by key
        self._watches: dict[Command, _Watch] = {}  # by look
        self._thread: threading.Thread | None = None
        self._sleeps_until = 0.0
        self._pending_due = 0.0
        self._is_closed = False

    def close(self) -> None:
        """Ends the thread; whoever uses the service again starts another one.

        Where others are at work, as in another event loop, it ends by itself when they are done.
        """
        with self._lock:
            if self._is_at_work():
                return
            self._is_closed = True
            self._changed.notify()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=1)
        self._is_closed = False

    # -- what flows ask for ------------------------------------------------------------------------------------

    def hold(self, lease: str, token: bytes, renewal: Command) -> None:
        due = time.monotonic() + _RENEW_EVERY_S
        with self._lock:
            self._holds[lease, token] = renewal, due
            self._wake_up(due)

    def drop(self, lease: str, token: bytes) -> None:
        with self._lock:
            self._holds.pop((lease, token), None)
            now = time.monotonic()
            for watch in self._watches.values():
                if watch.lease == lease:
                    # Seen at once, and by the server's word: what was stored here may have been invalidated since.
                    watch.due = now
                    self._wake_up(now)

    def is_wanted(self, key: str) -> bool:
        return key in self._wanted

    def want(self, key: str) -> bool:
        with self._lock:
            self._wanted[key] += 1
            return self._wanted[key] == 1

    def leave(self, key: str) -> None:
        with self._lock:
            self._wanted[key] -= 1
            if self._wanted[key] <= 0:  # below it after a fork: who wanted it was in the parent
                del self._wanted[key]

    # -- what shells ask for -----------------------------------------------------------------------------------

    def watch(self, wait: WaitForLease, wake: Callable[[Reply], None]) -> Callable[[], None]:
        """Calls `wake` once when the lease is free, with the reply that said so, or None if the server is not there.

        The answer is how to end the watch.
        """
        now = time.monotonic()
        with self._lock:
            watch = self._watches.setdefault(wait.look, _Watch(wait.lease, began=now, due=math.inf))
            watch.due = min(watch.due, now + _LOOK_AGAIN_S[0])
            watch.waiters[wake] = None
            self._wake_up(watch.due)

        def end() -> None:
            with self._lock:
                self._discard(wait.look, wake)

        return end

    def pending_changed(self) -> None:
        if len(self._pending):
            with self._lock:
                self._pending_due = time.monotonic() + _PENDING_EVERY_S
                self._wake_up(self._pending_due)

    def _discard(self, look: Command, wake: Callable[[Reply], None]) -> bool:
        """Whether it had not ended yet."""
        watch = self._watches.get(look)
        if watch is None or wake not in watch.waiters:
            return False
        del watch.waiters[wake]
        if not watch.waiters:
            del self._watches[look]
        return True

    # -- the thread --------------------------------------------------------------------------------------------

    def _wake_up(self, due: float) -> None:
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
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _work_until_idle(self) -> None:
        has_lingered = False
        while True:
            with self._lock:
                now = time.monotonic()
                due = self._next_due()
                if (self._is_closed and not self._is_at_work()) or (due is None and has_lingered):
                    self._thread = None
                    return
                if due is None or due > now:
                    has_lingered = due is None
                    self._sleeps_until = now + _LINGER_S if due is None else min(due, now + _LINGER_S)
                    self._changed.wait(self._sleeps_until - now)
                    continue
                renewals = {held: renewal for held, (renewal, due) in self._holds.items() if due <= now}
                # Whoever begins to wait from here on is told by the next look: this one may be sent before he called.
                looks = {look: list(watch.waiters) for look, watch in self._watches.items() if watch.due <= now}
                pending_is_due = bool(len(self._pending)) and self._pending_due <= now
            if pending_is_due:
                self._pending_due = now + _PENDING_EVERY_S
                self._link.send((), Operation())
            if renewals or looks:
                self._renew_and_look(renewals, looks)

    def _is_at_work(self) -> bool:
        return bool(self._holds or self._watches)

    def _next_due(self) -> float | None:
        dues = [due for _, due in self._holds.values()]
        dues += [watch.due for watch in self._watches.values()]
        if len(self._pending):
            dues.append(self._pending_due)
        return min(dues, default=None)

    def _renew_and_look(
        self, renewals: dict[tuple[str, bytes], Command], looks: dict[Command, list[Callable[[Reply], None]]]
    ) -> None:
        asked_at = time.monotonic()
        replies = self._link.send((*renewals.values(), *looks), Operation())
        now = time.monotonic()
        if is_answered := not isinstance(replies, Unavailable):
            self._stats.bookkept(len(renewals) + sum(len(look) - 1 if look[0] == "MGET" else 1 for look in looks))
        answers = [None] * (len(renewals) + len(looks)) if isinstance(replies, Unavailable) else replies
        kept, seen = answers[: len(renewals)], answers[len(renewals) :]
        with self._lock:
            for (held, renewal), reply in zip(renewals.items(), kept, strict=True):
                if reply == 0:  # lost, and not to be taken back
                    self._holds.pop(held, None)
                elif held in self._holds:
                    # One that failed is tried again soon: the lease still runs.
                    self._holds[held] = renewal, now + (_RENEW_EVERY_S if is_answered else _RENEW_EVERY_S / 5)
            for (look, waiters), reply in zip(looks.items(), seen, strict=True):
                if not is_answered or is_free(look, reply):  # unanswered: they find out for themselves
                    self._end(look, waiters, reply)
                elif (watch := self._watches.get(look)) and watch.due <= asked_at:
                    shortest, longest = _LOOK_AGAIN_S
                    watch.due = now + min(max((now - watch.began) * _LOOK_AGAIN_PART, shortest), longest)

    def _end(self, look: Command, waiters: list[Callable[[Reply], None]], reply: Reply) -> None:
        for wake in waiters:
            if self._discard(look, wake):
                wake(reply)
