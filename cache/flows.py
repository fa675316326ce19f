"""The operations, as generators that ask for steps and are sent the answers. No I/O, no client, no clock of its own.

Theory of operation
-------------------
*Match scores.* A score may be stored only by a writer who knows the user's and the job's generation from before the
origin was read. A read brings them along; where one is missing it is installed first (`ensure_*`). Invalidating
removes the generation, so a late write is refused (user, layout hash) or hidden (user in layout keys; job).

*Single values.* Whoever misses takes the key's lease, computes, and stores with a script that checks the lease. An
invalidation or a plain write deletes the lease before anything else, so that a value computed from older data is
refused. Waiters look again until the value is there, the lease is free, or their patience ends: then they compute for
themselves and store nothing.

An outage is an answer (`Unavailable`): lookups miss, computes run, nothing is written, invalidations say False.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from cache import codec, commands, keys, stats
from cache.catalog import SESSION_MAX_LIFETIME_S
from cache.commands import Compute, Send, Unavailable, Wait
from cache.layouts import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cache.catalog import CacheType, Catalog
    from cache.clock import Clock
    from cache.codec import Json
    from cache.commands import Flow
    from cache.layouts import Scores
    from cache.stats import Stats

GENERIC: Final = "generic"  # the name under which `get_with_lock` counts
LEASE_MS: Final = 10_000
LEASE_LOOK_AGAIN_S: Final = 0.01
PATIENCE_S: Final = 10.0
MAX_FENCES: Final = 100_000

Fence = tuple[bytes, bytes]  # generations of the user and of the job


def nonce() -> bytes:
    return secrets.token_bytes(codec.GENERATION_BYTES)


class Flows:
    """The operations of one service: what they share is the catalogue, the layout, the clock and the counts."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        layout: str,
        clock: Clock,
        counts: Stats,
        new_nonce: Callable[[], bytes] = nonce,
    ) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"layout {layout!r} is unknown. Known: {', '.join(LAYOUTS)}.")
        self.catalog = catalog
        self.clock = clock
        self.stats = counts
        self.layout = LAYOUTS[layout]
        self.nonce = new_nonce
        # What a missed get saw, for the set that follows it; the oldest go first.
        self._fences: OrderedDict[tuple[int, int], Fence] = OrderedDict()

    # -- match scores ------------------------------------------------------------------------------------------

    def get_scores(self, user_id: int, job_ids: Sequence[int]) -> Flow[dict[int, dict[str, Json]]]:
        scores = yield from self._read_scores(user_id, job_ids)
        if scores is None:
            return {}
        missing = [job_id for job_id in job_ids if job_id not in scores.found]
        if missing:
            fences = yield from self._fence(user_id, missing, scores)
            self._remember(user_id, fences)
        return scores.found

    def match_scores(self, user_id: int, job_ids: Sequence[int]) -> Flow[dict[int, dict[str, Json]]]:
        """Steps `Compute((missing_job_ids,))` at most once; its answer is `{job_id: score}`."""
        scores = yield from self._read_scores(user_id, job_ids)
        found = scores.found if scores else {}
        missing = [job_id for job_id in job_ids if job_id not in found]
        if not missing:
            return found
        fences: dict[int, Fence] = {}
        if scores:
            fences = yield from self._fence(user_id, missing, scores)
            for job_id in scores.newer:
                fences.pop(job_id, None)
        computed: dict[int, dict[str, Json]] = yield Compute((missing,))
        wanted = {job_id: computed[job_id] for job_id in missing if job_id in computed}
        self.stats.computed(self.catalog.match.name, len(wanted))
        yield from self._write_scores(user_id, {job: wanted[job] for job in wanted if job in fences}, fences)
        return found | wanted

    def set_scores(self, user_id: int, scores: Mapping[int, dict[str, Json]]) -> Flow[bool]:
        """Each score with the generations that its missed get saw, else with those in force now."""
        fences = {}
        for job_id in scores:
            fence = self._fences.pop((user_id, job_id), None)
            if fence:
                fences[job_id] = fence
        unread = [job_id for job_id in scores if job_id not in fences]
        if unread:
            fences |= yield from self._fence(user_id, unread, None)
        return (yield from self._write_scores(user_id, scores, fences))

    def invalidate_user_matches(self, user_id: int) -> Flow[bool]:
        replies = yield Send((commands.delete(keys.match(user_id)),))
        return not isinstance(replies, Unavailable)

    def invalidate_job_matches(self, job_id: int) -> Flow[bool]:
        replies = yield Send((commands.hdel(keys.JOB_GENERATIONS, keys.score_field(job_id)),))
        return not isinstance(replies, Unavailable)

    def _read_scores(self, user_id: int, job_ids: Sequence[int]) -> Flow[Scores | None]:
        if not job_ids:
            return None
        name = self.catalog.match.name
        replies = yield Send(self.layout.read(user_id, job_ids))
        if isinstance(replies, Unavailable):
            self.stats.lookup(name, misses={stats.UNAVAILABLE: len(job_ids)})
            return None
        scores = self.layout.parse(job_ids, replies, self.clock.now())
        self.stats.lookup(
            name,
            hits=len(scores.found),
            misses=scores.misses,
            data_reads=self.layout.data_reads(len(job_ids)),
            bookkeeping_reads=len(replies) - 1,
        )
        return scores

    def _fence(self, user_id: int, job_ids: Sequence[int], seen: Scores | None) -> Flow[dict[int, Fence]]:
        """The generations in force before the caller reads the origin, by job; what is missing is installed."""
        user_generation = seen.user_generation if seen else None
        generations = {job_id: seen.job_generations[job_id] if seen else None for job_id in job_ids}
        unknown = [job_id for job_id, generation in generations.items() if generation is None]
        ask = []
        if user_generation is None:
            ttl_s = self.catalog.match.ttl_s
            in_hash = self.layout.in_hash
            ask.append(commands.ensure_generation(keys.match(user_id), self.nonce(), ttl_s, in_hash=in_hash))
        if unknown:
            fields = [keys.score_field(job_id) for job_id in unknown]
            ask.append(commands.ensure_job_generations(keys.JOB_GENERATIONS, self.nonce(), fields))
        if ask:
            replies = yield Send(tuple(ask))
            if isinstance(replies, Unavailable):
                return {}
            self.stats.bookkept(len(ask))
            if user_generation is None:
                user_generation = replies[0]
            if unknown:
                generations |= dict(zip(unknown, replies[-1], strict=True))
        if user_generation is None:
            return {}
        return {job: (user_generation, stamp) for job, stamp in generations.items() if stamp is not None}

    def _remember(self, user_id: int, fences: Mapping[int, Fence]) -> None:
        for job_id, fence in fences.items():
            self._fences[user_id, job_id] = fence
        while len(self._fences) > MAX_FENCES:
            self._fences.popitem(last=False)

    def _write_scores(
        self, user_id: int, scores: Mapping[int, dict[str, Json]], fences: Mapping[int, Fence]
    ) -> Flow[bool]:
        """Whether all of them were stored. One command for each user generation: as a rule there is one."""
        now = int(self.clock.now())
        ttl_s = self.catalog.match.ttl_s
        by_generation: dict[bytes, dict[int, bytes]] = {}
        for job_id, score in scores.items():
            if job_id in fences:
                user_generation, stamp = fences[job_id]
                entry = codec.encode_score(score, now + ttl_s, stamp)
                by_generation.setdefault(user_generation, {})[job_id] = entry
        stored = 0
        for generation, entries in by_generation.items():
            replies = yield Send(self.layout.write(user_id, generation, entries, ttl_s=ttl_s, now=now))
            if isinstance(replies, Unavailable):
                continue
            accepted, reads = self.layout.written(replies)
            self.stats.bookkept(reads)
            if accepted:
                stored += len(entries)
            else:
                self.stats.refused(self.catalog.match.name, len(entries))
        return stored == len(scores)

    # -- single values -----------------------------------------------------------------------------------------

    def get_or_compute(self, name: str, key: str, ttl_s: int) -> Flow[Json]:
        """Steps `Compute()` at most once."""
        replies = yield Send((commands.get(key),))
        if isinstance(replies, Unavailable):
            self.stats.lookup(name, misses={stats.UNAVAILABLE: 1})
            return (yield from self._compute(name))
        raw = replies[0]
        value = codec.UNDECODABLE if raw is None else codec.decode(raw)
        if value is not codec.UNDECODABLE:
            self.stats.lookup(name, hits=1, data_reads=1)
            return value
        reason = stats.ABSENT if raw is None else stats.UNDECODABLE
        self.stats.lookup(name, misses={reason: 1}, data_reads=1)
        if raw is not None and codec.is_newer(raw):
            return (yield from self._compute(name))
        return (yield from self._fill_under_lease(name, key, ttl_s))

    def set_value(self, key: str, value: Json, ttl_s: int) -> Flow[bool]:
        """Stores what the caller knows to be current; computes in flight are refused from now on."""
        store = (
            commands.delete(keys.lease(key)),
            commands.set_for(key, codec.encode(value), ttl_s),
        )
        replies = yield Send(store)
        return not isinstance(replies, Unavailable)

    def invalidate(self, key: str) -> Flow[bool]:
        replies = yield Send((commands.delete(key, keys.lease(key)),))
        return not isinstance(replies, Unavailable)

    def _compute(self, name: str) -> Flow[Json]:
        value = yield Compute()
        self.stats.computed(name, 1)
        return value

    def _fill_under_lease(self, name: str, key: str, ttl_s: int) -> Flow[Json]:
        lease, token = keys.lease(key), self.nonce()
        give_up_at = self.clock.now() + PATIENCE_S
        while True:
            replies = yield Send((commands.take_lease(lease, token, LEASE_MS), commands.get(key)))
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
                return (yield from self._compute_and_fill(name, key, ttl_s, lease, token))
            if self.clock.now() >= give_up_at:
                return (yield from self._compute(name))
            yield Wait(LEASE_LOOK_AGAIN_S)

    def _compute_and_fill(self, name: str, key: str, ttl_s: int, lease: str, token: bytes) -> Flow[Json]:
        try:
            value = yield from self._compute(name)
            encoded = codec.encode(value)
        except BaseException:  # cancellation too: waiters must not wait for a lease that nobody works on
            yield from self._release(lease, token)
            raise
        replies = yield Send((commands.fill(key, lease, token, encoded, ttl_s),))
        if not isinstance(replies, Unavailable):
            self.stats.bookkept(1)
            if not replies[0]:
                self.stats.refused(name, 1)
        return value

    def _release(self, lease: str, token: bytes) -> Flow[None]:
        replies = yield Send((commands.release(lease, token),))
        if not isinstance(replies, Unavailable):
            self.stats.bookkept(1)

    # -- job preferences ---------------------------------------------------------------------------------------

    def update_ijp(self, user_id: int, data: Json) -> Flow[bool]:
        """Write-through, and the user's match scores with it: both were computed from what is now old."""
        key = keys.ijp(user_id)
        replies = yield Send(
            (
                commands.delete(keys.lease(key)),
                commands.delete(keys.match(user_id)),
                commands.set_for(key, codec.encode(data), self.catalog.ijp.ttl_s),
            )
        )
        return not isinstance(replies, Unavailable)

    # -- sessions ----------------------------------------------------------------------------------------------

    def start_session(self, user_id: int, data: Json) -> Flow[bool]:
        ends_at = int(self.clock.now()) + SESSION_MAX_LIFETIME_S
        value = codec.encode_session(data, ends_at)
        replies = yield Send((commands.set_for(keys.session(user_id), value, self._session.ttl_s),))
        return not isinstance(replies, Unavailable)

    def get_session(self, user_id: int) -> Flow[Json]:
        session = self._session
        replies = yield Send((commands.get_and_extend(keys.session(user_id), session.ttl_s),))
        if isinstance(replies, Unavailable):
            self.stats.lookup(session.name, misses={stats.UNAVAILABLE: 1})
            return None
        raw = replies[0]
        decoded = None if raw is None else codec.decode_session(raw)
        if decoded and decoded[0] > self.clock.now():
            self.stats.lookup(session.name, hits=1, data_reads=1)
            return decoded[1]
        reason = stats.ABSENT if raw is None or decoded else stats.UNDECODABLE
        self.stats.lookup(session.name, misses={reason: 1}, data_reads=1)
        return None

    def end_session(self, user_id: int) -> Flow[bool]:
        replies = yield Send((commands.delete(keys.session(user_id)),))
        return not isinstance(replies, Unavailable)

    @property
    def _session(self) -> CacheType:
        return self.catalog.session


def ids(values: Iterable[int]) -> list[int]:
    """Distinct ids in their order. Raises InvalidKeyError for what is no id."""
    distinct: dict[int, Any] = dict.fromkeys(values)
    for value in distinct:
        keys.score_field(value)
    return list(distinct)
