"""Match scores: reading, computing what is missing, writing, invalidating."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import TYPE_CHECKING, Any

from cache import commands, keys, stats
from cache.commands import Compute, Send, Unavailable, WaitForLease
from cache.fences import FORGOTTEN, Fence, Forgotten
from cache.flows.base import LEASE_LOOK_AGAIN_S, LEASE_MS, Base, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cache.codec import Json
    from cache.commands import Command, Flow, Reply
    from cache.layouts import Scores


class ScoreFlows(Base):
    """Scores of one user, one or many at once."""

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
            return (yield from self._compute_scores(job_ids))
        if len(scores.found) == len(job_ids):
            return scores.found
        missing = [job_id for job_id in job_ids if job_id not in scores.found]
        filled = yield from self._fill_scores_under_leases(user_id, missing, scores)
        return scores.found | filled

    def fence(self, user_id: int, job_ids: Sequence[int]) -> Flow[dict[int, Fence]]:
        """The generations in force, to be passed to `set_scores` with what is computed from here on."""
        return (yield from self._fence(user_id, job_ids, None))

    def set_scores(
        self, user_id: int, scores: Mapping[int, Mapping[str, Json]], fences: Mapping[int, Fence] | None = None
    ) -> Flow[bool]:
        """Each score with its fence, else with what its missed get saw, else with the generations in force now."""
        if fences is not None:
            return (yield from self._write_scores(user_id, scores, fences))
        seen: dict[int, Fence] = {}
        unread = []
        for job_id in scores:
            fence = self.fences.find(self._caller(), (user_id, job_id))
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
        is_stored = yield from self._write_scores(user_id, scores, seen)
        if is_stored:
            for job_id in scores:
                self.fences.stored(self._caller(), (user_id, job_id))
        return is_stored

    def invalidate_user_matches(self, user_id: int) -> Flow[bool]:
        return (yield from self._invalidate(self._forget_scores(user_id)))

    def invalidate_job_matches(self, job_id: int) -> Flow[bool]:
        if not self.layout.jobs.are_exact:
            raise RuntimeError(
                "this service leaves the scores of a changed job to their TTL; a job is invalidated by services with "
                "job_invalidation='exact'."
            )
        return (yield from self._invalidate(commands.hdel(keys.JOB_GENERATIONS, keys.score_field(job_id))))

    @staticmethod
    def _forget_scores(user_id: int) -> Command:
        key = keys.match(user_id)
        return commands.delete(key, keys.lease(key))

    def will_compute_scores(self, *user_ids: int) -> None:
        """Behind the generations. Scores are computed from preferences, and what lies near may be older than these:

        a score computed from it would carry a newer generation than its origin, and be served for its whole TTL.
        """
        self.forget_near(map(keys.ijp, user_ids))

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
            fields = self.layout.jobs.fields(keys.score_fields(unknown))
            ask.append(commands.ensure_job_generations(keys.JOB_GENERATIONS, self.nonce(), fields))
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
                generations |= dict(zip(unknown, self.layout.jobs.each(replies[-1], len(unknown)), strict=True))
        if user_generation is None:
            return {}
        self.will_compute_scores(user_id)
        return {job: (user_generation, stamp) for job, stamp in generations.items() if stamp is not None}

    def _fill_scores_under_leases(
        self, user_id: int, missing: list[int], scores: Scores
    ) -> Flow[dict[int, dict[str, Json]]]:
        """Computes what nobody else computes, then waits for the rest; holds nothing while it waits."""
        lease = keys.lease(keys.match(user_id))
        give_up_at = self.stats.monotonic() + self._patience_s
        filled: dict[int, dict[str, Json]] = {}
        has_waited = False
        while missing:
            token = self.nonce()  # each time another: a release that arrives late gives back nothing taken since
            fields = keys.score_fields(missing)
            ensure = self._ensure(user_id, missing, scores)
            take = commands.take_jobs(lease, token, LEASE_MS, fields)
            try:
                # Read again behind the take: whoever held a lease until now has written.
                replies = yield Send((*ensure, take, *self.layout.read(user_id, missing)))
                if isinstance(replies, Unavailable):
                    return filled | (yield from self._compute_scores(missing))
                others, read = set(replies[len(ensure)]), replies[len(ensure) + 1 :]
                self.stats.bookkept(len(ensure) + len(read) + self.layout.data_reads(len(missing)))
                seen, scores = scores, self.layout.parse(missing, read, self.clock.now())
                if ensure and scores.misses:
                    self._complete(scores, seen, missing, replies[: len(ensure)])
                filled |= scores.found
                mine = [field for field in fields if field not in others]
                left_s = give_up_at - self.stats.monotonic()
                busy: set[int] = set()
                if others and left_s > 0:
                    busy = {job_id for job_id, field in zip(missing, fields, strict=True) if field in others}
                    busy -= scores.newer.union(self._computed_by_caller(lease) or ())
                absent = [job_id for job_id in missing if job_id not in scores.found]
                ready = [job_id for job_id in absent if job_id not in busy]
                missing = [job_id for job_id in absent if job_id in busy]
                if mine or ready:
                    filled |= yield from self._compute_and_write_scores(user_id, ready, scores, (lease, token, mine))
            except BaseException:  # cancellation too: waiters must not wait for a lease that nobody works on
                self._leases.drop(lease, token)
                replies = yield Send((commands.release_jobs(lease, token),))
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

    def _complete(self, scores: Scores, seen: Scores, job_ids: Sequence[int], installed: list[Reply]) -> None:
        """A server that did not know the scripts has read before it installed: what it installed counts as well."""
        if seen.user_generation is None:
            scores.user_generation = scores.user_generation or installed[0]
        unknown = [job_id for job_id in job_ids if seen.job_generations[job_id] is None]
        generations = self.layout.jobs.each(installed[-1], len(unknown)) if unknown else ()
        for job_id, generation in zip(unknown, generations, strict=True):
            scores.job_generations[job_id] = scores.job_generations[job_id] or generation

    def _compute_and_write_scores(
        self, user_id: int, job_ids: list[int], scores: Scores, held: tuple[str, bytes, list[bytes]]
    ) -> Flow[dict[int, dict[str, Json]]]:
        lease, token, mine = held
        release: tuple[Command, ...] = ()
        computed: dict[int, dict[str, Json]] = {}
        if mine:
            release = (commands.release_jobs(lease, token),)
            self._leases.hold(lease, token, commands.renew_jobs(lease, token, LEASE_MS, mine))
        if job_ids:
            self.will_compute_scores(user_id)
            with self._computing(lease, job_ids):
                computed = yield from self._compute_scores(job_ids)
        job_generations = scores.writable()
        wanted = {job_id: score for job_id, score in computed.items() if job_id in job_generations}
        batches = {scores.user_generation: wanted} if wanted and scores.user_generation is not None else {}
        yield from self._write_batches(user_id, batches, job_generations, then=release)
        self._leases.drop(lease, token)
        return computed

    def _compute_scores(self, job_ids: Sequence[int]) -> Flow[dict[int, dict[str, Json]]]:
        name = self.catalog.match.name
        # A list of the caller's own, who may use it up.
        computed, took_s = yield from self._timed(name, Compute((list(job_ids),)))
        if not isinstance(computed, Mapping):
            raise TypeError(f"compute returned a {type(computed).__name__}; it must return a dict of scores by job id.")
        wanted = asked_for(computed, job_ids)
        self.stats.computed(name, len(wanted), took_s)
        return wanted

    def _write_scores(
        self, user_id: int, scores: Mapping[int, Mapping[str, Json]], fences: Mapping[int, Fence]
    ) -> Flow[bool]:
        """Whether all of them were stored."""
        job_generations = {job_id: job_generation for job_id, (_, job_generation) in fences.items()}
        batches: dict[bytes, dict[int, Mapping[str, Json]]] = {}
        for job_id, score in scores.items():
            if job_id in fences:
                batches.setdefault(fences[job_id][0], {})[job_id] = score
        return (yield from self._write_batches(user_id, batches, job_generations)) == len(scores)

    def _write_batches(
        self,
        user_id: int,
        batches: Mapping[bytes, Mapping[int, Mapping[str, Json]]],
        job_generations: Mapping[int, bytes],
        *,
        then: tuple[Command, ...] = (),
    ) -> Flow[int]:
        """How many scores were stored, of a batch for each user generation; `then` follows."""
        now = int(self.clock.now())
        ttl_s = self.catalog.match.ttl_s
        writes = []
        for generation, batch in batches.items():
            write = self.layout.write(
                user_id, generation, batch, job_generations, deadline=now + ttl_s, ttl_s=ttl_s, now=now
            )
            writes.append((write, len(batch)))
        writing = tuple(command for write, _ in writes for command in write)
        if not writing and not then:
            return 0
        try:
            if self.layout.in_hash:
                replies = yield Send(writing + then)
            else:
                replies = yield from in_order(writing, then)
        finally:
            self.forget_near((keys.match(user_id),))
        if isinstance(replies, Unavailable):
            self.stats.dropped(self.catalog.match.name, sum(count for _, count in writes))
            return 0
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
        return stored


def asked_for(computed: Mapping[int, Mapping[str, Json]], job_ids: Sequence[int]) -> dict[int, Any]:
    """Of what a compute gave, the scores of these jobs. Raises TypeError for a key that is no job id."""
    wanted = {job_id: computed[job_id] for job_id in job_ids if job_id in computed}
    if len(wanted) < len(job_ids):
        for key in computed:
            if not isinstance(key, Integral):  # it would be taken for a score left out, each time anew
                raise TypeError(f"compute returned a score for {key!r}; its keys must be job ids (int).")
    return wanted


def ids(values: Iterable[int]) -> list[int]:
    """Distinct job ids in their order. Raises InvalidKeyError for what is no id, and for more than 2,000."""
    identifiers = list(values)
    keys.check_job_ids(identifiers)  # before equals fall together: True is 1
    return list(dict.fromkeys(identifiers))
