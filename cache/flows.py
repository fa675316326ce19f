"""The operations, as generators that ask for steps and are sent the answers. No I/O, no client, no clock of its own.

Theory of operation
-------------------
*Match scores.* A score may be stored only by a writer who knows the user's and the job's generation from before the
origin was read. A read brings them along; where one is missing it is installed first (`ensure_*`). Invalidating
removes the generation, so a late write is refused (user, layout hash) or hidden (user in layout keys; job). Leases of
single jobs keep two batches from computing one job twice; they are about work, not about truth.

*Single values.* Whoever misses takes the key's lease, computes, and stores with a script that checks the lease. An
invalidation deletes the lease, a plain write takes it over, in a round trip before the one that stores: so a value
computed from older data is refused, and so is a write that timed out here and arrives there after a newer one.
Waiters look again when the lease is free, or when their patience ends: then they compute for themselves and store
nothing.

An outage is an answer (`Unavailable`): lookups miss, computes run, nothing is written. What was to be invalidated
becomes pending, and False is the answer.

*Order.* Commands of one step arrive in their order where they share a cluster slot, as a key and its lease do, and in
any order else. What must follow on another key is a step of its own.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, Protocol

from cache import codec, commands, keys, stats
from cache.catalog import SESSION_MAX_LIFETIME_S
from cache.commands import Compute, Send, Unavailable, WaitForLease
from cache.fences import FORGOTTEN, Fence, Fences, Forgotten
from cache.layouts import LAYOUTS
from cache.pending import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from cache.catalog import CacheType, Catalog
    from cache.clock import Clock
    from cache.codec import Json
    from cache.commands import Command, Flow, Reply
    from cache.layouts import Scores
    from cache.stats import Stats

GENERIC: Final = "generic"  # the name under which `get_with_lock` counts
# Renewed while its holder lives; a dead holder's key is free after this at the latest.
LEASE_MS: Final = 1_500
LEASE_LOOK_AGAIN_S: Final = 0.01
PATIENCE_S: Final = 10.0
# Entries that were written together should not expire together. Only shorter: nothing outlives its stated TTL.
MAX_JITTER: Final = 0.05


def nonce() -> bytes:
    return secrets.token_bytes(codec.GENERATION_BYTES)


class Leases(Protocol):
    """Whoever keeps the leases that this process holds from running out."""

    def hold(self, lease: str, token: bytes, renewal: Command) -> None: ...
    def drop(self, lease: str, token: bytes) -> None: ...


class NearCache(Protocol):
    """Where values of earlier reads lie; `cache.near`."""

    def begin(self, name: str, key: str) -> Any: ...
    def keep(self, entry: Any, values: Mapping[int, Json], left_s: float) -> None: ...
    def keep_one(self, entry: Any, value: Json, *, left_ms: int) -> None: ...
    def forget(self, key: str) -> None: ...


class Unkept:
    """Leases run out by themselves: right where a compute takes no time, as in a simulation."""

    def hold(self, lease: str, token: bytes, renewal: Command) -> None: ...
    def drop(self, lease: str, token: bytes) -> None: ...


class Flows:
    """The operations of one service: what they share is the catalogue, the layout, the clock and the counts.

    `caller` names who calls (a thread or task), `jitter` gives numbers from 0 to 1 that shorten TTLs.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        layout: str,
        clock: Clock,
        counts: Stats,
        new_nonce: Callable[[], bytes] = nonce,
        leases: Leases | None = None,
        pending: Pending | None = None,
        caller: Callable[[], Hashable] = lambda: None,
        jitter: Callable[[], float] = lambda: 0.0,
        patience_s: float = PATIENCE_S,
        near: NearCache | None = None,
    ) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"layout {layout!r} is unknown. Known: {', '.join(LAYOUTS)}.")
        self.catalog = catalog
        self.clock = clock
        self.stats = counts
        self.layout = LAYOUTS[layout]
        self.pending = Pending(clock) if pending is None else pending
        self.fences = Fences(clock)
        self._leases = leases or Unkept()
        self._caller = caller
        self._jitter = jitter
        self.nonce = new_nonce
        self._patience_s = patience_s
        self._near = near

    # -- match scores ------------------------------------------------------------------------------------------

    def get_scores(self, user_id: int, job_ids: Sequence[int]) -> Flow[dict[int, dict[str, Json]]]:
        scores = yield from self._read_scores(user_id, job_ids)
        found = scores.found if scores else {}
        if len(found) == len(job_ids):
            return found
        missing = [job_id for job_id in job_ids if job_id not in found]
        fences: Mapping[int, Fence] = {}
        if scores:
            ours = [job_id for job_id in missing if job_id not in scores.newer]
            fences = yield from self._fence(user_id, ours, scores)
        for job_id in missing:
            # Without a fence nobody can say later whether the write is late: it will be refused.
            self.fences.remember(self._caller(), (user_id, job_id), fences.get(job_id, FORGOTTEN))
        return found

    def match_scores(self, user_id: int, job_ids: Sequence[int]) -> Flow[dict[int, dict[str, Json]]]:
        """Steps `Compute((missing_job_ids,))`; its answer is `{job_id: score}`."""
        if not job_ids:
            return {}
        scores = yield from self._read_scores(user_id, job_ids)
        if scores is None:
            return (yield from self._compute_scores(list(job_ids)))
        missing = [job_id for job_id in job_ids if job_id not in scores.found]
        if not missing:
            return scores.found
        filled = yield from self._fill_scores_under_leases(user_id, missing, scores)
        return scores.found | filled

    def fence(self, user_id: int, job_ids: Sequence[int]) -> Flow[dict[int, Fence]]:
        """The generations in force, to be passed to `set_scores` with what is computed from here on."""
        return (yield from self._fence(user_id, job_ids, None))

    def set_scores(
        self, user_id: int, scores: Mapping[int, dict[str, Json]], fences: Mapping[int, Fence] | None = None
    ) -> Flow[bool]:
        """Each score with its fence, else with what its missed get saw, else with the generations in force now."""
        if fences is not None:
            return (yield from self._write_scores(user_id, scores, fences))
        seen: dict[int, Fence] = {}
        unread = []
        for job_id in scores:
            fence = self.fences.take(self._caller(), (user_id, job_id))
            if fence is None:
                unread.append(job_id)
            elif isinstance(fence, Forgotten):
                self.stats.refused(self.catalog.match.name, 1)
            else:
                seen[job_id] = fence
        if unread:
            fenced = yield from self._fence(user_id, unread, None)
            self.stats.dropped(self.catalog.match.name, len(unread) - len(fenced))
            seen |= fenced
        return (yield from self._write_scores(user_id, scores, seen))

    def invalidate_user_matches(self, user_id: int) -> Flow[bool]:
        return (yield from self._invalidate(_forget_scores(user_id)))

    def invalidate_job_matches(self, job_id: int) -> Flow[bool]:
        return (yield from self._invalidate(commands.hdel(keys.JOB_GENERATIONS, keys.score_field(job_id))))

    def _invalidate(self, *deletions: Command) -> Flow[bool]:
        """True when the server has confirmed; else they are pending."""
        try:
            replies = yield Send(deletions)
        except BaseException:  # cancelled: nobody knows whether they arrived
            self.pending.add(deletions)
            raise
        else:
            if isinstance(replies, Unavailable):
                self.pending.add(deletions)
                return False
            self.pending.confirmed(deletions)
            return True
        finally:  # behind the server's answer, or behind what is pending now: who reads from here on sees it
            self.forget_near(*(str(deletion[1]) for deletion in deletions))

    def forget_near(self, *changed: str) -> None:
        """For whoever writes these keys: called when the server has answered."""
        if self._near is not None:
            for key in changed:
                self._near.forget(key)

    def will_compute_scores(self, user_id: int) -> None:
        """Behind the generations. Scores are computed from preferences, and what lies near may be older than these:

        a score computed from it would carry a newer generation than its origin, and be served for its whole TTL.
        """
        self.forget_near(keys.ijp(user_id))

    def _read_scores(self, user_id: int, job_ids: Sequence[int]) -> Flow[Scores | None]:
        if not job_ids:
            return None
        name = self.catalog.match.name
        entry = self._near.begin(name, keys.match(user_id)) if self._near else None
        replies = yield Send(self.layout.read(user_id, job_ids))
        if isinstance(replies, Unavailable):
            self.stats.lookup(name, misses={stats.UNAVAILABLE: len(job_ids)})
            return None
        now = self.clock.now()
        scores = self.layout.parse(job_ids, replies, now)
        self.stats.lookup(
            name,
            hits=len(scores.found),
            misses=scores.misses,
            data_reads=self.layout.data_reads(len(job_ids)),
            bookkeeping_reads=len(replies) - 1,
        )
        if self._near and entry is not None:
            self._near.keep(entry, scores.found, scores.left_s(now))
        return scores

    def _ensure(self, user_id: int, job_ids: Sequence[int], seen: Scores | None) -> tuple[Command, ...]:
        """Commands that install the generations which `seen` lacks: of the user first, of the jobs last."""
        ask = []
        if seen is None or seen.user_generation is None:
            ttl_s, in_hash = self.catalog.match.ttl_s, self.layout.in_hash
            ask.append(commands.ensure_generation(keys.match(user_id), self.nonce(), ttl_s, in_hash=in_hash))
        unknown = [job_id for job_id in job_ids if seen is None or seen.job_generations[job_id] is None]
        if unknown:
            ask.append(commands.ensure_job_generations(keys.JOB_GENERATIONS, self.nonce(), keys.score_fields(unknown)))
        return tuple(ask)

    def _fence(self, user_id: int, job_ids: Sequence[int], seen: Scores | None) -> Flow[dict[int, Fence]]:
        """The generations in force before the caller reads the origin, by job; what is missing is installed."""
        ask = self._ensure(user_id, job_ids, seen)
        user_generation = seen.user_generation if seen else None
        generations = {job_id: seen.job_generations[job_id] if seen else None for job_id in job_ids}
        if ask:
            replies = yield Send(ask)
            if isinstance(replies, Unavailable):
                return {}
            self.stats.bookkept(len(ask))
            if user_generation is None:
                user_generation = replies[0]
            unknown = [job_id for job_id, generation in generations.items() if generation is None]
            if unknown:
                generations |= dict(zip(unknown, replies[-1], strict=True))
        if user_generation is None:
            return {}
        self.will_compute_scores(user_id)
        return {job: (user_generation, stamp) for job, stamp in generations.items() if stamp is not None}

    def _fill_scores_under_leases(
        self, user_id: int, missing: list[int], scores: Scores
    ) -> Flow[dict[int, dict[str, Json]]]:
        """Computes what nobody else computes, then waits for the rest; holds nothing while it waits."""
        lease, token = keys.lease(keys.match(user_id)), self.nonce()
        give_up_at = self.clock.now() + self._patience_s
        filled: dict[int, dict[str, Json]] = {}
        has_waited = False
        while missing:
            fields = keys.score_fields(missing)
            ensure = self._ensure(user_id, missing, scores)
            take = commands.take_jobs(lease, token, LEASE_MS, fields)
            try:
                # Read again behind the take: whoever held a lease until now has written.
                replies = yield Send((*ensure, take, *self.layout.read(user_id, missing)))
                if isinstance(replies, Unavailable):
                    return filled | (yield from self._compute_scores(missing))
                taken, read = replies[len(ensure)], replies[len(ensure) + 1 :]
                self.stats.bookkept(len(ensure) + len(read) + self.layout.data_reads(len(missing)))
                seen, scores = scores, self.layout.parse(missing, read, self.clock.now())
                _complete(scores, seen, missing, replies[: len(ensure)])
                filled |= scores.found
                mine = [job_id for job_id, is_mine in zip(missing, taken, strict=True) if is_mine]
                absent = [job_id for job_id in missing if job_id not in scores.found]
                left_s = give_up_at - self.clock.now()
                may_compute = set(absent) if left_s <= 0 else scores.newer.union(mine)
                ready = [job_id for job_id in absent if job_id in may_compute]
                missing = [job_id for job_id in absent if job_id not in may_compute]
                if mine or ready:
                    filled |= yield from self._compute_and_write_scores(user_id, ready, scores, (lease, token, mine))
            except BaseException:  # cancellation too: waiters must not wait for a lease that nobody works on
                self._leases.drop(lease, token)
                replies = yield Send((commands.release_jobs(lease, token, fields),))
                self.stats.bookkept(0 if isinstance(replies, Unavailable) else 1)
                raise
            if missing and not ready:
                # A dead holder's leases end one by one, so the wait is short enough to see each of them.
                at_most_s = min(left_s, LEASE_MS / 4000)
                look = commands.hmget(lease, *keys.score_fields(missing))
                if not has_waited:
                    has_waited = True
                    self.stats.waited(self.catalog.match.name, len(missing))
                yield WaitForLease(LEASE_LOOK_AGAIN_S, lease=lease, look=look, at_most_s=at_most_s)
        return filled

    def _compute_and_write_scores(
        self, user_id: int, job_ids: list[int], scores: Scores, held: tuple[str, bytes, list[int]]
    ) -> Flow[dict[int, dict[str, Json]]]:
        lease, token, mine = held
        release: tuple[Command, ...] = ()
        computed: dict[int, dict[str, Json]] = {}
        if mine:
            fields = keys.score_fields(mine)
            release = (commands.release_jobs(lease, token, fields),)
            self._leases.hold(lease, token, commands.renew_jobs(lease, token, LEASE_MS, fields))
        if job_ids:
            self.will_compute_scores(user_id)
            computed = yield from self._compute_scores(job_ids)
        fences = scores.fences(job_ids)
        wanted = {job_id: score for job_id, score in computed.items() if job_id in fences}
        yield from self._write_scores(user_id, wanted, fences, then=release)
        self._leases.drop(lease, token)
        return computed

    def _compute_scores(self, job_ids: list[int]) -> Flow[dict[int, dict[str, Json]]]:
        name = self.catalog.match.name
        computed: Mapping[int, dict[str, Json]]
        computed, took_s = yield from self._timed(name, Compute((job_ids,)))
        wanted = {job_id: computed[job_id] for job_id in job_ids if job_id in computed}
        self.stats.computed(name, len(wanted), took_s)
        return wanted

    def _write_scores(
        self,
        user_id: int,
        scores: Mapping[int, dict[str, Json]],
        fences: Mapping[int, Fence],
        *,
        then: tuple[Command, ...] = (),
    ) -> Flow[bool]:
        """Whether all of them were stored; `then` follows. One write per user generation: as a rule there is one."""
        now = int(self.clock.now())
        ttl_s = self.catalog.match.ttl_s
        by_generation: dict[bytes, dict[int, bytes]] = {}
        for job_id, score in scores.items():
            if job_id in fences:
                user_generation, stamp = fences[job_id]
                entry = codec.encode_score(score, now + ttl_s, stamp)
                by_generation.setdefault(user_generation, {})[job_id] = entry
        writes = [
            (self.layout.write(user_id, generation, entries, ttl_s=ttl_s, now=now), len(entries))
            for generation, entries in by_generation.items()
        ]
        batch = tuple(command for write, _ in writes for command in write)
        if not batch and not then:
            return not scores
        try:
            if self.layout.in_hash:
                replies = yield Send(batch + then)
            else:
                replies = yield from _in_order(batch, then)
        finally:
            self.forget_near(keys.match(user_id))
        if isinstance(replies, Unavailable):
            self.stats.dropped(self.catalog.match.name, sum(count for _, count in writes))
            return False
        self.stats.bookkept(len(then))
        stored = first = 0
        for write, count in writes:
            accepted, reads = self.layout.written(replies[first : first + len(write)])
            first += len(write)
            self.stats.bookkept(reads)
            if accepted:
                stored += count
            else:
                self.stats.refused(self.catalog.match.name, count)
        return stored == len(scores)

    # -- single values -----------------------------------------------------------------------------------------

    def get_or_compute(self, name: str, key: str, ttl_s: int, *, none_ttl_s: int | None = None) -> Flow[Json]:
        """Steps `Compute()` at most once. A computed None is stored for `none_ttl_s`, not at all if that is 0."""
        entry = self._near.begin(name, key) if self._near else None
        replies = yield Send((commands.get(key),) if entry is None else (commands.get(key), commands.pttl(key)))
        if isinstance(replies, Unavailable):
            self.stats.lookup(name, misses={stats.UNAVAILABLE: 1})
            return (yield from self._compute(name))
        raw, bookkeeping_reads = replies[0], len(replies) - 1
        value = codec.UNDECODABLE if raw is None else codec.decode(raw)
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

    def _timed(self, name: str, compute: Compute) -> Flow[tuple[Any, float]]:
        """The answer and the seconds that it took; what the caller's function raises is counted."""
        began_s = self.stats.monotonic()
        try:
            value = yield compute
        except Exception:
            self.stats.failed(name)
            raise
        return value, self.stats.monotonic() - began_s

    def _fill_under_lease(self, name: str, key: str, ttl_s: int, none_ttl_s: int | None) -> Flow[Json]:
        lease, token = keys.lease(key), self.nonce()
        give_up_at = self.clock.now() + self._patience_s
        has_waited = False
        while True:
            try:
                replies = yield Send((commands.take_lease(lease, token, LEASE_MS), commands.get(key)))
            except BaseException:
                yield from self._release(lease, token)
                raise
            if isinstance(replies, Unavailable):
                return (yield from self._compute(name))
            self.stats.bookkept(1)
            is_holder, raw = replies[0] is not None, replies[1]
            value = codec.UNDECODABLE if raw is None else codec.decode(raw)
            if value is not codec.UNDECODABLE:
                if is_holder:
                    yield from self._release(lease, token)
                return value
            if is_holder:
                return (yield from self._compute_and_fill(name, key, ttl_s, none_ttl_s, token))
            left_s = give_up_at - self.clock.now()
            if left_s <= 0:
                return (yield from self._compute(name))
            if not has_waited:
                has_waited = True
                self.stats.waited(name, 1)
            yield WaitForLease(LEASE_LOOK_AGAIN_S, lease=lease, look=commands.exists(lease), at_most_s=left_s)

    def _compute_and_fill(self, name: str, key: str, ttl_s: int, none_ttl_s: int | None, token: bytes) -> Flow[Json]:
        lease = keys.lease(key)
        self._leases.hold(lease, token, commands.renew(lease, token, LEASE_MS))
        try:
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
        self.forget_near(key)
        if isinstance(replies, Unavailable):  # perhaps for the fill alone, as while a slot moves: nobody need wait
            self.stats.dropped(name, 1)
            yield from self._release(lease, token)
            return value
        self._leases.drop(lease, token)
        self.stats.bookkept(1)
        if not replies[0]:
            self.stats.refused(name, 1)
        return value

    def _release(self, lease: str, token: bytes) -> Flow[None]:
        replies = yield Send((commands.release(lease, token),))
        self._leases.drop(lease, token)
        if not isinstance(replies, Unavailable):
            self.stats.bookkept(1)

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
        stale behind. What ends otherwise than by storing ends by invalidating.
        """
        lease, token = keys.lease(key), self.nonce()
        forget = (commands.delete(key, lease), *also_forget)
        is_stored = False
        try:
            force = commands.force_lease(lease, token, LEASE_MS)
            replies = yield Send((force,) if keeps_old else (force, commands.delete(key)))
            if saves:
                self._leases.hold(lease, token, commands.renew(lease, token, LEASE_MS))
                yield Compute()
            if not isinstance(replies, Unavailable):
                replies = yield from _in_order((commands.fill(key, lease, token, value, ttl_s),), also_forget)
            if not isinstance(replies, Unavailable):
                self.stats.bookkept(1)
                is_stored = bool(replies[0])
        except BaseException:
            yield from self._invalidate(*forget)
            raise
        finally:
            self._leases.drop(lease, token)
        if is_stored:
            self.pending.confirmed(also_forget)
            self.forget_near(*(str(command[1]) for command in forget))
            return True
        if isinstance(replies, Unavailable):
            self.stats.dropped(name, 1)
        return (yield from self._invalidate(*forget))

    def _shortened(self, ttl_s: int) -> int:
        return max(1, ttl_s - int(ttl_s * MAX_JITTER * self._jitter()))

    # -- job preferences ---------------------------------------------------------------------------------------

    def update_ijp(self, user_id: int, data: Json, *, saves: bool = False) -> Flow[bool]:
        """Write-through, and the user's match scores with it: both were computed from what is now old.

        The scores go behind the preferences: a compute that begins after that finds nothing old to compute from.
        """
        ijp, forget = self.catalog.ijp, (_forget_scores(user_id),)
        value, ttl_s = codec.encode(data), self._shortened(ijp.ttl_s)
        return (
            yield from self._write_through(ijp.name, keys.ijp(user_id), value, ttl_s, also_forget=forget, saves=saves)
        )

    # -- sessions ----------------------------------------------------------------------------------------------

    def start_session(self, user_id: int, data: Json) -> Flow[bool]:
        session, key = self._session, keys.session(user_id)
        value = codec.encode_session(data, int(self.clock.now()) + SESSION_MAX_LIFETIME_S)
        return (yield from self._write_through(session.name, key, value, session.ttl_s, keeps_old=True))

    def get_session(self, user_id: int, default: Json = None) -> Flow[Json]:
        session = self._session
        replies = yield Send((commands.get_and_extend(keys.session(user_id), session.ttl_s),))
        if isinstance(replies, Unavailable):
            self.stats.lookup(session.name, misses={stats.UNAVAILABLE: 1})
            return default
        raw = replies[0]
        decoded = None if raw is None else codec.decode_session(raw)
        if decoded and decoded[0] > self.clock.now():
            self.stats.lookup(session.name, hits=1, data_reads=1)
            return decoded[1]
        reason = stats.ABSENT if raw is None or decoded else stats.UNDECODABLE
        self.stats.lookup(session.name, misses={reason: 1}, data_reads=1)
        return default

    def end_session(self, user_id: int) -> Flow[bool]:
        return (yield from self.invalidate(keys.session(user_id)))

    @property
    def _session(self) -> CacheType:
        return self.catalog.session

    # -- work that one process should do -----------------------------------------------------------------------

    def take_turn(self, key: str) -> Flow[bytes | Unavailable | None]:
        """Takes the lease of `key` and keeps it until `end_turn` with the token that this gives; None: another has it.

        A process that dies frees it within `LEASE_MS`.
        """
        lease, token = keys.lease(key), self.nonce()
        replies = yield Send((commands.take_lease(lease, token, LEASE_MS),))
        if isinstance(replies, Unavailable):
            return replies
        if replies[0] is None:
            return None
        self._leases.hold(lease, token, commands.renew(lease, token, LEASE_MS))
        return token

    def end_turn(self, key: str, token: bytes) -> Flow[None]:
        yield from self._release(keys.lease(key), token)

    # -- a person ----------------------------------------------------------------------------------------------

    def forget_user(self, user_id: int) -> Flow[bool]:
        """Scores, preferences and session. In layout keys the scores are out of reach at once, gone with their TTL."""
        whole = [keys.ijp(user_id), keys.session(user_id)]
        return (
            yield from self._invalidate(
                _forget_scores(user_id),
                commands.delete(keys.warm_stamp(user_id)),
                *(commands.delete(key, keys.lease(key)) for key in whole),
            )
        )


def _in_order(first: tuple[Command, ...], then: tuple[Command, ...]) -> Flow[list[Reply] | Unavailable]:
    """Two round trips: in a cluster the commands of one may arrive in any order, those of two keys at two shards."""
    replies: list[Reply] | Unavailable = (yield Send(first)) if first else []
    if isinstance(replies, Unavailable) or not then:
        return replies
    more = yield Send(then)
    return more if isinstance(more, Unavailable) else [*replies, *more]


def _forget_scores(user_id: int) -> Command:
    key = keys.match(user_id)
    return commands.delete(key, keys.lease(key))


def _complete(scores: Scores, seen: Scores, job_ids: Sequence[int], installed: list[Reply]) -> None:
    """A server that did not know the scripts has read before it installed: what it installed counts all the same."""
    if seen.user_generation is None:
        scores.user_generation = scores.user_generation or installed[0]
    unknown = [job_id for job_id in job_ids if seen.job_generations[job_id] is None]
    for job_id, generation in zip(unknown, installed[-1] if unknown else (), strict=True):
        scores.job_generations[job_id] = scores.job_generations[job_id] or generation


def ids(values: Iterable[int]) -> list[int]:
    """Distinct job ids in their order. Raises InvalidKeyError for what is no id, and for more than 2,000."""
    identifiers = list(values)
    keys.check_ids("job_id", identifiers)  # before equals fall together: True is 1
    return list(dict.fromkeys(identifiers))
