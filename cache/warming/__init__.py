"""Warming: the popular jobs' scores of active users, computed before anybody asks.

Theory of operation
-------------------
A run does not read the scores of every user. Beside a user's scores lies a stamp of 12 bytes: the version of the list
of jobs that was warmed, and the earliest expiry. From it the run tells, per user, what there is to do:

* no generation (the user is new, was invalidated or evicted): compute everything, there is nothing to look at;
* same list, nothing expires before the next run: nothing;
* another list that this process knows, nothing expires: compute what is new in the list;
* otherwise: read which scores are there and when they expire, compute what is missing or would expire within half a
  TTL. Half, so that a user's scores keep expiring together and a user is read about once a day.

A job that is new in the list expires with the user's others, for the same reason: its TTL is shortened, never
lengthened. A list's version covers the generations of its jobs, so that an invalidated job is computed again. The
stamp lies with the scores: whatever removes them removes it. Every write carries the generations that were read before
its scores were computed; one that an invalidation overtook is refused.

In layout keys on a cluster, a chunk that one shard did not answer may leave stamps behind: such a user's missing scores
are computed when they are asked for.

The lists lie on the server too (`recall`, `remember`), so that the next run may be another process. Without them it
reads more, and computes no more.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field, fields, replace
from itertools import chain, compress, islice, repeat
from typing import TYPE_CHECKING, Final

from cache import codec, commands, keys, layouts
from cache.catalog import DAY
from cache.commands import Compute, Send, Unavailable
from cache.errors import UncacheableError
from cache.flows.scores import asked_for
from cache.warming import lists, whole
from cache.warming.lists import Target
from cache.warming.overlap import run_overlapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cache.codec import Json
    from cache.commands import Command, Flow, Reply
    from cache.flows import Flows
    from cache.service import CacheService

# The server stores a chunk in 1 to 2 ms, in 8 where it has to add the scores one by one, and has up to three of them to
# do: far from an operation's deadline, on a busy machine too.
CHUNK_USERS: Final = 50
CHUNKS_AT_ONCE: Final = 3
# A run must renew what would expire before the next one ends: one interval, and a quarter for a late one.
INTERVAL_S: Final = 3_600
HORIZON_S: Final = INTERVAL_S + INTERVAL_S // 4
# A user's hash is written anew where at least one in so many of its scores is new.
_FEW: Final = 4
_KNOWN_LISTS: Final = 200
# Of these the server keeps the newest: a user is renewed about once a day, and a day has 24 lists.
_STORED_LISTS: Final = 48
_LISTS_TTL_S: Final = 2 * DAY
_STAMP: Final = struct.Struct(">8sI")


@dataclass(slots=True)
class WarmingCounts:
    """What a run did. `keys_read` are the server's lookups for it, apart from those of pages.

    Of `users`, `users_due` had something to compute, `scores_due` in all; `users_read` had to be looked at score by
    score; of `users_unanswered` the server told nothing or took nothing.
    """

    users: int = 0
    users_due: int = 0
    users_read: int = 0
    users_unanswered: int = 0
    scores_due: int = 0
    computed: int = 0
    refused: int = 0
    keys_read: int = 0

    def add(self, other: WarmingCounts) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(slots=True)
class _Plan:
    """What one user needs: the jobs to compute, until when they hold, and the stamp's earliest expiry.

    `seen` is all that the user's hash held; None where that was not read, or scores do not lie in one. `scores` is what
    was computed.
    """

    user: int
    generation: bytes
    jobs: list[int]
    deadline: int
    due: int
    seen: dict[bytes, bytes] | None = None
    scores: Mapping[int, Mapping[str, Json]] = field(init=False, repr=False)

    def stamp(self, target: Target) -> bytes:
        # Scores that the caller left out are looked for again at the next run.
        return _STAMP.pack(target.version, self.due if len(self.scores) == len(self.jobs) else 0)

    def whole(self, target: Target, now: int) -> bytes | None:
        """The user's hash with these scores, as RESTORE takes it; None where they are better added to it."""
        seen = self.seen
        if seen is None or not whole.is_possible() or len(self.scores) * _FEW < len(seen):
            return None
        blank = whole.blank(target, tuple(self.scores), self.deadline)
        others = {b"g": self.generation, b"w": self.stamp(target)}
        if len(seen) > 1:  # more than the generation
            names = list(seen.keys() - blank.fields - others.keys())
            values = list(map(seen.__getitem__, names))
            others |= compress(zip(names, values, strict=True), codec.not_expired(values, now))
        if len(self.scores) + len(others) > layouts.MAX_SCORES_PER_USER:
            return None
        return whole.dump(self.scores.values(), blank, others)


class Warmer:
    """Warms lists of jobs for users, through the flows of a service. Keeps the last lists it warmed."""

    def __init__(
        self,
        flows: Flows,
        *,
        everything: bool = False,
        dry_run: bool = False,
        skipped: Callable[[int, TypeError], None] | None = None,
    ) -> None:
        """`everything` computes every score of every user at every run, as a comparison; `dry_run` only counts.

        `skipped` is told of each user for whom what was computed cannot be cached, and who is left out; without it a
        run raises.
        """
        self._flows = flows
        self._everything = everything
        self._dry_run = dry_run
        self._skipped = skipped
        self._lists: OrderedDict[bytes, dict[int, bytes]] = OrderedDict()

    def run(
        self,
        service: CacheService,
        user_ids: Sequence[int],
        job_ids: Sequence[int],
        compute: Callable[[dict[int, list[int]]], Mapping[int, Mapping[int, Mapping[str, Json]]]],
    ) -> WarmingCounts:
        """One run over all users. `compute({user_id: [job_id, …]})` gives `{user_id: {job_id: score}}`.

        `compute` is called in this thread, for one chunk of users after the other, while the server stores the chunk
        before. Each chunk is an operation with a deadline of its own. Users whose chunk the server did not answer for
        stay as they are, and are due at the next run.
        """
        counts = WarmingCounts()
        target = service.run(self.begin(job_ids, counts))
        run_overlapping(service, self.chunks(user_ids, target, counts), compute, at_once=CHUNKS_AT_ONCE)
        return counts

    def begin(self, job_ids: Sequence[int], counts: WarmingCounts) -> Flow[Target | None]:
        """The first step of a run; None if the server did not answer. Raises InvalidKeyError for over 2,000 jobs."""
        keys.check_job_ids(list(job_ids))
        jobs = self._flows.layout.jobs
        names = jobs.fields(keys.score_fields(job_ids))
        if self._dry_run:
            ask = commands.hmget(keys.JOB_GENERATIONS, *names)
        else:
            ask = commands.ensure_job_generations(keys.JOB_GENERATIONS, self._flows.nonce(), names)
        replies = yield Send((ask,))
        if isinstance(replies, Unavailable):
            return None
        self._read(counts, 1)
        # By id, so that fields of one length lie side by side: `whole` packs those at once.
        stamps = jobs.each(replies[0], len(job_ids))
        generations = {job_id: stamp or b"" for job_id, stamp in sorted(zip(job_ids, stamps, strict=True))}
        target = Target(lists.version(generations), generations)
        self._lists[target.version] = generations
        self._lists.move_to_end(target.version)
        while len(self._lists) > _KNOWN_LISTS:
            self._lists.popitem(last=False)
        return target

    def recall(self) -> Flow[bool]:
        """Learns the lists that were warmed before, by whichever process; False if the server did not answer."""
        replies = yield Send((commands.get(keys.WARMED_LISTS),))
        if isinstance(replies, Unavailable):
            return False
        self._flows.stats.bookkept(1)
        if replies[0] is not None:
            self._lists = OrderedDict(lists.parse(replies[0]))
        return True

    def remember(self) -> Flow[None]:
        """Stores the newest lists for the runs to come."""
        newest = list(self._lists.items())[-_STORED_LISTS:]
        yield Send((commands.set_for(keys.WARMED_LISTS, lists.pack(newest), _LISTS_TTL_S),))

    def chunks(self, user_ids: Sequence[int], target: Target | None, counts: WarmingCounts) -> Iterator[Flow[None]]:
        """The rest of a run: flows that do not depend on each other."""
        # A query over visits names a user for each of them.
        users = list(dict.fromkeys(user_ids))
        counts.users += len(users)
        if target is not None:
            for start in range(0, len(users), CHUNK_USERS):
                yield self._chunk(users[start : start + CHUNK_USERS], target, counts)

    def _chunk(self, user_ids: Sequence[int], target: Target, counts: WarmingCounts) -> Flow[None]:
        stamps = yield from self._stamps(user_ids, counts)
        empty = [user for user, (generation, _) in stamps.items() if generation is None]
        installed = yield from self._install_generations(empty, counts)
        counts.users_unanswered += len(user_ids) - (len(stamps) - len(empty)) - len(installed)
        now = int(self._flows.clock.now())
        plans = [self._whole(user, generation, target, now, is_new=True) for user, generation in installed.items()]
        unclear: list[tuple[int, bytes]] = []
        by_stamp: dict[bytes | None, list[tuple[int, bytes]]] = {}  # many were warmed together
        for user, (generation, raw) in stamps.items():
            if generation is not None:
                by_stamp.setdefault(raw, []).append((user, generation))
        for raw, users in by_stamp.items():
            stamped, due = _STAMP.unpack(raw) if raw is not None and len(raw) == _STAMP.size else (b"", 0)
            known = self._lists.get(stamped)
            if self._everything:
                plans += [self._whole(user, generation, target, now) for user, generation in users]
            elif known is None or due <= now + HORIZON_S:
                unclear += users
            elif stamped != target.version:
                jobs = target.new_since(stamped, known)
                plans += [_Plan(user, generation, jobs, due, due) for user, generation in users]
        if not self._flows.layout.in_hash:
            plans = yield from self._spare_newer(plans, counts)
        plans += yield from self._look(unclear, target.generations, counts)
        counts.users_due += sum(1 for plan in plans if plan.jobs)
        counts.scores_due += sum(len(plan.jobs) for plan in plans)
        if plans and not self._dry_run:
            yield from self._fill(plans, target, counts)

    def _read(self, counts: WarmingCounts, keys_read: int) -> None:
        counts.keys_read += keys_read
        self._flows.stats.bookkept(keys_read)

    def _stamps(
        self, user_ids: Sequence[int], counts: WarmingCounts
    ) -> Flow[dict[int, tuple[bytes | None, bytes | None]]]:
        """`{user: (generation, stamp)}`; empty where the server did not answer."""
        layout = self._flows.layout
        replies = yield Send(tuple(layout.read_stamp(user) for user in user_ids))
        if isinstance(replies, Unavailable):
            return {}
        self._read(counts, layout.stamp_reads * len(user_ids))
        return {user: layout.parse_stamp(reply) for user, reply in zip(user_ids, replies, strict=True)}

    def _install_generations(self, user_ids: Sequence[int], counts: WarmingCounts) -> Flow[dict[int, bytes]]:
        """The generations of users who had none; empty where the server did not answer."""
        if self._dry_run or not user_ids:
            return dict.fromkeys(user_ids, b"")
        in_hash, ttl_s = self._flows.layout.in_hash, self._flows.catalog.match.ttl_s
        replies = yield Send(
            tuple(
                commands.ensure_generation(keys.match(user), self._flows.nonce(), ttl_s, in_hash=in_hash)
                for user in user_ids
            )
        )
        if isinstance(replies, Unavailable):
            return {}
        self._read(counts, len(user_ids))
        return dict(zip(user_ids, replies, strict=True))

    def _whole(self, user: int, generation: bytes, target: Target, now: int, *, is_new: bool = False) -> _Plan:
        deadline = now + self._flows.catalog.match.ttl_s
        seen = {b"g": generation} if is_new and self._flows.layout.in_hash else None
        return _Plan(user, generation, list(target.generations), deadline, deadline, seen)

    def _look(
        self, users: Sequence[tuple[int, bytes]], generations: dict[int, bytes], counts: WarmingCounts
    ) -> Flow[list[_Plan]]:
        """Plans for users of whom the stamp does not tell enough."""
        if not users:
            return []
        now = int(self._flows.clock.now())
        ttl_s = self._flows.catalog.match.ttl_s
        keep_from = now + ttl_s // 2
        jobs = list(generations)
        layout = self._flows.layout
        replies: list[Reply] | Unavailable = yield Send(tuple(layout.read_deadlines(user, jobs) for user, _ in users))
        if isinstance(replies, Unavailable):
            counts.users_unanswered += len(users)
            return []
        counts.users_read += len(users)
        self._read(counts, layout.data_reads(len(jobs)) * len(users))
        # As a rule they all expire at once, which is seen without taking each apart.
        fields, first_kept = keys.score_fields(jobs), codec.packed_head(keep_from + 1, bytes(codec.GENERATION_BYTES))
        plans = []
        for (user, generation), reply in zip(users, replies, strict=True):
            seen, unclear = None, jobs
            if layout.in_hash:
                seen = reply = layouts.as_dict(reply)
                values = map(seen.get, fields, repeat(b""))
                unclear = [job for job, raw in zip(jobs, values, strict=True) if raw >= first_kept]
            stored = layout.parse_deadlines(unclear, generation, reply)
            newer = {job for job, head in stored.items() if head is None}
            kept = {
                job: head[0]
                for job, head in stored.items()
                if head is not None and head[0] > keep_from and head[1] == generations[job]
            }
            wanted = [job for job in jobs if job not in kept and job not in newer] if stored else jobs[:]
            due = min(kept.values(), default=now + ttl_s)
            plans.append(_Plan(user, generation, wanted, now + ttl_s, due, seen))
        return plans

    def _spare_newer(self, plans: Sequence[_Plan], counts: WarmingCounts) -> Flow[list[_Plan]]:
        """The plans without the jobs whose score a newer release wrote: in layout keys a write replaces whatever is

        there, in layout hash the script looks.
        """
        layout = self._flows.layout
        with_jobs = [plan for plan in plans if plan.jobs]
        spared = [plan for plan in plans if not plan.jobs]
        if not with_jobs:
            return spared
        replies = yield Send(tuple(layout.read_deadlines(plan.user, plan.jobs) for plan in with_jobs))
        if isinstance(replies, Unavailable):
            counts.users_unanswered += len(with_jobs)
            return spared
        for plan, reply in zip(with_jobs, replies, strict=True):
            self._read(counts, layout.data_reads(len(plan.jobs)))
            stored = layout.parse_deadlines(plan.jobs, plan.generation, reply)
            newer = {job for job, head in stored.items() if head is None}
            spared.append(replace(plan, jobs=[job for job in plan.jobs if job not in newer]))
        return spared

    def _fill(self, plans: Sequence[_Plan], target: Target, counts: WarmingCounts) -> Flow[None]:
        self._flows.will_compute_scores(*(plan.user for plan in plans))
        computed: Mapping[int, Mapping[int, Mapping[str, Json]]] = yield Compute(
            # Lists of the caller's own: whatever becomes of them, these say what was to be computed.
            ({plan.user: plan.jobs[:] for plan in plans if plan.jobs},)
        )
        filled = []
        for plan in plans:
            given: Mapping[int, Mapping[str, Json]] = computed.get(plan.user, {})
            try:
                plan.scores = given if list(given) == plan.jobs else asked_for(given, plan.jobs)
            except TypeError as error:
                self._skip(plan.user, error)
            else:
                filled.append(plan)
        left = yield from self._replace(filled, target, counts)
        yield from self._add(left, target, counts)

    def _replace(self, plans: Sequence[_Plan], target: Target, counts: WarmingCounts) -> Flow[list[_Plan]]:
        """Writes whole hashes where that is possible. Answers what has to be written otherwise."""
        match = self._flows.catalog.match
        now = int(self._flows.clock.now())
        left, sent, batch = [], [], []
        for plan in plans:
            content = plan.whole(target, now)
            if content is None:
                left.append(plan)
                continue
            seen = b"".join(chain.from_iterable((plan.seen or {}).items()))
            batch.append(commands.replace_scores(keys.match(plan.user), seen=seen, ttl_s=match.ttl_s, content=content))
            sent.append(plan)
        if not batch:
            return left
        replies = yield from self._written(batch, sent, counts)
        for plan, reply in zip(sent, replies, strict=False):  # none, where the server did not answer
            self._read(counts, 1)
            if reply == 1:
                counts.computed += len(plan.scores)
            else:
                left.append(plan)
        return left

    def _add(self, plans: Sequence[_Plan], target: Target, counts: WarmingCounts) -> Flow[None]:
        """Writes scores beside those that are there."""
        if not plans:
            return
        layout, now = self._flows.layout, int(self._flows.clock.now())
        batch: list[Command] = []
        sent, lengths = [], []
        for plan in plans:
            try:
                commands_of_one = layout.write(
                    plan.user,
                    plan.generation,
                    plan.scores,
                    target.generations,
                    deadline=plan.deadline,
                    ttl_s=self._flows.catalog.match.ttl_s,
                    now=now,
                    stamp=plan.stamp(target),
                )
            except UncacheableError as error:
                self._skip(plan.user, error)
            else:
                batch += commands_of_one
                sent.append(plan)
                lengths.append(len(commands_of_one))
        replies = iter((yield from self._written(batch, sent, counts)))
        for plan, length in zip(sent, lengths, strict=True):
            own = list(islice(replies, length))
            if not own:
                return
            accepted, reads = layout.written(own)
            self._read(counts, reads)
            if accepted:
                counts.computed += len(plan.scores)
            else:
                counts.refused += len(plan.scores)

    def _skip(self, user: int, error: TypeError) -> None:
        if self._skipped is None:
            raise error
        self._skipped(user, error)

    def _written(self, batch: Sequence[Command], plans: Sequence[_Plan], counts: WarmingCounts) -> Flow[list[Reply]]:
        """The replies; none where the server did not answer."""
        replies: list[Reply] | Unavailable = yield Send(tuple(batch))
        self._flows.forget_near(keys.match(plan.user) for plan in plans)
        if isinstance(replies, Unavailable):
            counts.users_unanswered += len(plans)
            return []
        return replies
