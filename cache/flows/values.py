"""Single values: computed by one caller at a time, written through, invalidated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cache import codec, commands, keys, stats
from cache.commands import Compute, Send, SharedRead, Unavailable, WaitForLease
from cache.flows.base import LEASE_LOOK_AGAIN_S, LEASE_MS, Base, in_order

if TYPE_CHECKING:
    from cache.codec import Json
    from cache.commands import Command, Flow, Reply

# Entries that were written together should not expire together. Only shorter: nothing outlives its stated TTL.
MAX_JITTER: Final = 0.05


class ValueFlows(Base):
    """Values under keys of their own."""

    def get_or_compute(self, name: str, key: str, ttl_s: int, *, none_ttl_s: int | None = None) -> Flow[Json]:
        """Steps `Compute()` at most once. A computed None is stored for `none_ttl_s`, not at all if that is 0."""
        if self._leases.is_wanted(key):  # it was missing a moment ago; the look at its lease reads it, too
            self.stats.lookup(name, misses={stats.ABSENT: 1})
            return (yield from self._fill_under_lease(name, key, ttl_s, none_ttl_s))
        entry = self._near.begin(name, key) if self._near else None
        replies = yield SharedRead((commands.get(key),) if entry is None else (commands.get(key), commands.pttl(key)))
        if isinstance(replies, Unavailable):
            self.stats.lookup(name, misses={stats.UNAVAILABLE: 1})
            return (yield from self._compute(name))
        raw, bookkeeping_reads = replies[0], len(replies) - 1
        value = _decoded(raw)
        if value is not codec.UNDECODABLE:
            self.stats.lookup(name, hits=1, data_reads=1, bookkeeping_reads=bookkeeping_reads)
            if self._near and entry is not None:
                self._near.keep_one(entry, value, left_ms=replies[1])
            return value
        reason = stats.ABSENT if raw is None else stats.UNDECODABLE
        self.stats.lookup(name, misses={reason: 1}, data_reads=1, bookkeeping_reads=bookkeeping_reads)
        if raw is not None and codec.is_newer(raw):
            return (yield from self._compute(name))
        return (yield from self._fill_under_lease(name, key, ttl_s, none_ttl_s))

    def set_value(self, name: str, key: str, value: Json, ttl_s: int) -> Flow[bool]:
        """Stores what the caller knows to be current; computes in flight are refused from now on."""
        return (yield from self._write_through(name, key, codec.encode(value), self._shortened(ttl_s)))

    def invalidate(self, key: str) -> Flow[bool]:
        return (yield from self._invalidate(commands.delete(key, keys.lease(key))))

    def _compute(self, name: str) -> Flow[Json]:
        value, took_s = yield from self._timed(name, Compute())
        self.stats.computed(name, 1, took_s)
        return value

    def _fill_under_lease(self, name: str, key: str, ttl_s: int, none_ttl_s: int | None) -> Flow[Json]:
        if self._computed_by_caller(keys.lease(key)) is not None:
            return (yield from self._compute(name))
        # Of a crowd in one process the first asks for the lease; the others watch it from the start.
        is_taken = not self._leases.want(key)
        try:
            return (yield from self._fill_or_wait(name, key, ttl_s, none_ttl_s, is_taken=is_taken))
        finally:
            self._leases.leave(key)

    def _fill_or_wait(self, name: str, key: str, ttl_s: int, none_ttl_s: int | None, *, is_taken: bool) -> Flow[Json]:
        lease, token = keys.lease(key), self.nonce()
        give_up_at = self.stats.monotonic() + self._patience_s
        has_waited = False
        while True:
            if not is_taken:
                taken = yield from self._take_lease(lease, token, key)
                if isinstance(taken, Unavailable):
                    return (yield from self._compute(name))
                is_holder, value = taken
                if value is not codec.UNDECODABLE:
                    return value
                if is_holder:
                    return (yield from self._compute_and_fill(name, key, ttl_s, none_ttl_s, token))
            left_s = give_up_at - self.stats.monotonic()
            if left_s <= 0:
                return (yield from self._compute(name))
            if not has_waited:
                has_waited = True
                self.stats.waited(name, 1)
            # What somebody else has put in the place of a lease is never free; whoever asks for it sees what it is.
            at_most_s = min(left_s, LEASE_MS / 1000)
            look = commands.mget([lease, key])
            seen = yield WaitForLease(LEASE_LOOK_AGAIN_S, lease=lease, look=look, at_most_s=at_most_s)
            value = _decoded(seen[1]) if seen else codec.UNDECODABLE
            if value is not codec.UNDECODABLE:
                return value
            is_taken = False

    def _take_lease(self, lease: str, token: bytes, key: str) -> Flow[tuple[bool, Json] | Unavailable]:
        """(whether the caller holds the lease, the value or UNDECODABLE): where there is a value, nobody needs it."""
        try:
            replies = yield Send((commands.take_lease(lease, token, LEASE_MS), commands.get(key)))
        except BaseException:
            yield from self._release(lease, token)
            raise
        if isinstance(replies, Unavailable):
            return replies
        self.stats.bookkept(2)
        is_holder, value = bool(replies[0]), _decoded(replies[1])
        if is_holder and value is not codec.UNDECODABLE:
            yield from self._release(lease, token)
            is_holder = False
        return is_holder, value

    def _compute_and_fill(self, name: str, key: str, ttl_s: int, none_ttl_s: int | None, token: bytes) -> Flow[Json]:
        lease = keys.lease(key)
        self._leases.hold(lease, token, commands.renew(lease, token, LEASE_MS))
        try:
            with self._computing(lease):
                value = yield from self._compute(name)
            is_negative = value is None and none_ttl_s is not None
            keep_s = none_ttl_s if is_negative else self._shortened(ttl_s)
            if not keep_s:
                yield from self._release(lease, token)
                return value
            replies = yield Send((commands.fill(key, lease, token, codec.encode(value), keep_s),))
        except BaseException:  # cancellation too: waiters must not wait for a lease that nobody works on
            yield from self._release(lease, token)
            raise
        self.forget_near((key,))
        if isinstance(replies, Unavailable):  # perhaps for the fill alone, as while a slot moves: nobody need wait
            self.stats.dropped(name, 1)
            yield from self._release(lease, token)
            return value
        self._leases.drop(lease, token)
        self.stats.bookkept(1)
        if not replies[0]:
            self.stats.refused(name, 1)
        return value

    def _write_through(
        self,
        name: str,
        key: str,
        value: bytes,
        ttl_s: int,
        *,
        also_forget: tuple[Command, ...] = (),
        saves: bool = False,
        keeps_old: bool = False,
    ) -> Flow[bool]:
        """True: no reader gets an older value from now on. With `saves`, steps `Compute()` under the lease.

        The old value goes before the new one is stored (unless `keeps_old`): whoever dies in between leaves nothing
        stale behind. Where another write overtook this one, its value is kept, unless nobody can know which of the two
        was saved last. What ends otherwise than by storing ends by invalidating.
        """
        lease, token = keys.lease(key), self.nonce()
        forget = (commands.delete(key, lease), *also_forget)
        force = commands.force_lease(lease, token, LEASE_MS)
        is_done = False
        began = self.stats.monotonic()
        try:
            # In a round trip before the one that stores: held up on its way, that one finds the lease of a newer write.
            replies: list[Reply] | Unavailable = yield Send((force,) if keeps_old else (force, commands.delete(key)))
            if saves:
                self._leases.hold(lease, token, commands.renew(lease, token, LEASE_MS))
                with self._computing(lease):
                    yield Compute()
            if not isinstance(replies, Unavailable):
                replies = yield from in_order((commands.fill(key, lease, token, value, ttl_s),), also_forget)
            if not isinstance(replies, Unavailable):
                self.stats.bookkept(1)
                # A lease does not end so soon: whoever took it has stored, will store or has removed what is newer.
                is_soon = self.stats.monotonic() - began < LEASE_MS / 2_000
                is_done = bool(replies[0]) or (is_soon and not saves)
        except BaseException:
            yield from self._invalidate(*forget)
            raise
        finally:
            self._leases.drop(lease, token)
        if is_done:
            self.pending.confirmed(also_forget)
            self.forget_near(str(command[1]) for command in forget)
            return True
        if isinstance(replies, Unavailable):
            self.stats.dropped(name, 1)
        return (yield from self._invalidate(*forget))

    def _shortened(self, ttl_s: int) -> int:
        return max(1, ttl_s - int(ttl_s * MAX_JITTER * self._jitter()))


def _decoded(raw: bytes | None) -> Json:
    """The value, or UNDECODABLE."""
    return codec.UNDECODABLE if raw is None else codec.decode(raw)
