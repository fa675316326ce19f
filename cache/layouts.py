"""How match scores lie on the server. Pure: builds commands, reads replies, decides what is a hit.

Two layouts behind the same five functions:

hash  `match:{user}` is a hash: field `g` the user's generation, a field for each job its score. Invalidating the
      user deletes the hash, generation included; a late write finds no generation of its own and is refused.
keys  `match:{user}` is the user's generation, `match:{user}:{job}` one score each, stamped with it. Invalidating
      deletes the generation; scores of an older one are hidden until their TTL takes them.

In both, a score carries the generation of its job, read beside it from the hash `job:generations`, or the one that all
jobs share (`JobGenerations`). Generations are random nonces: one that is lost matches nothing, which is a miss and
never a stale hit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress, islice
from operator import and_, eq
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from cache import codec, commands, entries, keys, stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cache.codec import Json
    from cache.commands import Command, Reply

# Below the 512 entries up to which the server keeps a hash packed (hash-max-listpack-entries).
MAX_SCORES_PER_USER: Final = 500
# From this many jobs on, one walk of the whole hash is cheaper for the server than a search for each job.
_WHOLE_HASH_FROM: Final = 16
_READS_OF_A_REFUSED_WRITE: Final = 2
# No job's field: those are numbers.
_OF_ALL_JOBS: Final = [b"all"]


Deadlines: TypeAlias = "dict[int, tuple[int, bytes] | None]"


@dataclass(slots=True)
class Scores:
    """What a read found: scores by job, reasons of the misses.

    If there are any, the generations in force as well (None: there is none).
    """

    found: dict[int, dict[str, Json]]
    user_generation: bytes | None
    job_generations: dict[int, bytes | None] = field(default_factory=dict)
    misses: dict[str, int] = field(default_factory=dict)
    newer: set[int] = field(default_factory=set)
    stored: Sequence[Any] = ()

    def left_s(self, now: float) -> float:
        """How long all of what was found stays: until the first of the stored scores expires."""
        heads = [codec.score_head(raw) for raw in self.stored if raw is not None]
        return min((head[0] - now for head in heads if head and head[0] > now), default=0.0)

    def writable(self) -> dict[int, bytes]:
        """The generations of the jobs that may be written: those known, where no newer release wrote the value."""
        return {
            job_id: generation
            for job_id, generation in self.job_generations.items()
            if generation is not None and job_id not in self.newer
        }


@dataclass(slots=True)
class JobGenerations:
    """Which fields of `job:generations` a list of jobs is about: each job's own, or one for all jobs together.

    With one for all, a list asks for a single field, and no job can be invalidated. That one must be read all the same:
    where the hash is gone, every score is invalid.
    """

    are_exact: bool

    def fields(self, of_jobs: list[bytes]) -> list[bytes]:
        return of_jobs if self.are_exact else _OF_ALL_JOBS

    def each(self, found: Reply, jobs: int) -> list[bytes | None]:
        """What was found in `fields`, for each of so many jobs."""
        if found == commands.WRONG_TYPE:
            return [None] * jobs
        generations: list[bytes | None] = found if self.are_exact else found * jobs
        return generations


class Layout(Protocol):
    """The commands of one layout. `data_reads` is how many keys a read of n scores asks the server for."""

    in_hash: bool
    jobs: JobGenerations

    def read(self, user_id: int, job_ids: Sequence[int]) -> tuple[Command, ...]: ...
    def data_reads(self, jobs: int) -> int: ...
    def parse(self, job_ids: Sequence[int], replies: list[Reply], now: float) -> Scores: ...
    def write(
        self,
        user_id: int,
        generation: bytes,
        scores: Mapping[int, Mapping[str, Json]],
        job_generations: Mapping[int, bytes],
        *,
        deadline: int,
        ttl_s: int,
        now: int,
        stamp: bytes | None = None,
    ) -> tuple[Command, ...]:
        """Stores scores until `deadline`, and warming's stamp. Raises UncacheableError as `codec.encode_score` does.

        Of more than `MAX_SCORES_PER_USER` the hash takes the first.
        """

    def written(self, replies: list[Reply]) -> tuple[bool, int]:
        """(whether the write was accepted, keys that it read)."""

    def read_stamp(self, user_id: int) -> Command:
        """Asks for the user's generation and the stamp that warming left; `stamp_reads` keys."""

    stamp_reads: int

    def parse_stamp(self, reply: Reply) -> tuple[bytes | None, bytes | None]: ...
    def read_deadlines(self, user_id: int, job_ids: Sequence[int]) -> Command:
        """Asks for what `parse_deadlines` wants; `data_reads` keys."""

    def parse_deadlines(self, job_ids: Sequence[int], generation: bytes, reply: Reply) -> Deadlines:
        """`{job_id: (deadline, job's generation)}` of the scores stored under this generation of the user.

        Expired ones and those of invalidated jobs included; None for what a newer release wrote.
        """


def _judge_all(
    scores: Scores, job_ids: Sequence[int], values: list[Any], generations: list[bytes | None], now: float
) -> None:
    # Many packed scores are the common case, and worth a path of their own.
    are_judged = len(values) > 1 and _judge_together(scores, job_ids, values, generations, now)
    if are_judged and not scores.misses:
        return
    scores.user_generation = _generation(scores.user_generation)
    scores.job_generations = _by_job(job_ids, generations)
    if are_judged:
        return
    for job_id, raw, generation in zip(job_ids, values, generations, strict=True):
        if raw is None:
            _miss(scores, stats.ABSENT)
        else:
            _judge(scores, job_id, raw, generation, now)


def _judge_together(
    scores: Scores, job_ids: Sequence[int], values: list[Any], generations: list[bytes | None], now: float
) -> bool:
    """As `_judge` for each that is there; False where one of them is not packed, and nothing was judged."""
    absent = invalidated = 0
    if not all(values):
        absent = values.count(None)
        if absent == len(values):  # as a rule so when it is read again, under leases
            _miss(scores, stats.ABSENT, absent)
            return True
        if absent + sum(map(bool, values)) < len(values):
            return False
        job_ids, generations, values = (list(compress(each, values)) for each in (job_ids, generations, values))
    good = codec.decode_good_scores(values, generations, now)
    if good is None:
        alive = codec.are_alive(values, now)
        if alive is None:
            return False
        are_good = list(map(and_, alive, map(eq, codec.score_generations(values), generations)))
        absent += alive.count(False)
        invalidated = alive.count(True) - are_good.count(True)
        job_ids, generations, values = (list(compress(each, are_good)) for each in (job_ids, generations, values))
        good = codec.decode_good_scores(values, generations, now) or []
    scores.found = dict(zip(job_ids, good, strict=True))
    if absent:
        _miss(scores, stats.ABSENT, absent)
    if invalidated:
        _miss(scores, stats.INVALIDATED, invalidated)
    return True


def _judge(scores: Scores, job_id: int, raw: bytes, generation: bytes | None, now: float) -> None:
    decoded = codec.decode_score(raw)
    if decoded is None:
        _miss(scores, stats.UNDECODABLE)
        if codec.is_newer(raw):
            scores.newer.add(job_id)
        return
    deadline, stamp, score = decoded
    if deadline <= now:
        _miss(scores, stats.ABSENT)
    elif stamp != generation:
        _miss(scores, stats.INVALIDATED)
    else:
        scores.found[job_id] = score


def _miss(scores: Scores, reason: str, count: int = 1) -> None:
    scores.misses[reason] = scores.misses.get(reason, 0) + count


def _generation(raw: bytes | None) -> bytes | None:
    """Foreign bytes are no generation: no score's stamp would ever match them."""
    return raw if raw is not None and len(raw) == codec.GENERATION_BYTES else None


def _by_job(job_ids: Sequence[int], generations: list[bytes | None]) -> dict[int, bytes | None]:
    """`_generation` of each. As a rule all are, which is seen at once."""
    are_all = {*map(len, filter(None, generations))} <= {codec.GENERATION_BYTES} and b"" not in generations
    return dict(zip(job_ids, generations if are_all else map(_generation, generations), strict=True))


def as_dict(hgetall: Reply) -> dict[bytes, bytes]:
    """A reply in RESP3 is a dict, in RESP2 a flat list; a key of another type has no fields."""
    if hgetall == commands.WRONG_TYPE:
        return {}
    if isinstance(hgetall, dict):
        return hgetall
    pairs = iter(hgetall)
    return dict(zip(pairs, pairs, strict=True))


def _deadlines(stored: Iterable[tuple[int, bytes | None]]) -> Deadlines:
    deadlines: Deadlines = {}
    for job_id, raw in stored:
        if raw is not None and ((head := codec.score_head(raw)) or codec.is_newer(raw)):
            deadlines[job_id] = head
    return deadlines


@dataclass(slots=True)
class HashLayout:
    """One hash per user."""

    jobs: JobGenerations
    in_hash = True

    def read(self, user_id: int, job_ids: Sequence[int]) -> tuple[Command, ...]:
        key, fields = keys.match(user_id), keys.score_fields(job_ids)
        scores = commands.hgetall(key) if len(job_ids) >= _WHOLE_HASH_FROM else commands.hmget(key, b"g", *fields)
        return scores, commands.hmget(keys.JOB_GENERATIONS, *self.jobs.fields(fields))

    def data_reads(self, jobs: int) -> int:  # noqa: ARG002 - the other layout needs it
        return 1

    def parse(self, job_ids: Sequence[int], replies: list[Reply], now: float) -> Scores:
        stored, generations = replies[0], self.jobs.each(replies[1], len(job_ids))
        if len(job_ids) == 1 and stored != commands.WRONG_TYPE:
            # One score that is good is the commonest read of all, and worth a short way.
            (job_id,), (user_generation, raw), (generation,) = job_ids, stored, generations
            decoded = None if raw is None else codec.decode_score(raw)
            if decoded is not None and decoded[0] > now and decoded[1] == generation:
                return Scores({job_id: decoded[2]}, user_generation, stored=(raw,))
        if stored == commands.WRONG_TYPE:
            user_generation = None
            values: list[Any] = [commands.WRONG_TYPE] * len(job_ids)
        elif len(job_ids) >= _WHOLE_HASH_FROM:
            stored = as_dict(stored)
            user_generation = stored.get(b"g")
            values = list(map(stored.get, keys.score_fields(job_ids)))
        else:
            user_generation, *values = stored
        scores = Scores({}, user_generation, stored=values)
        _judge_all(scores, job_ids, values, generations, now)
        return scores

    def write(
        self,
        user_id: int,
        generation: bytes,
        scores: Mapping[int, Mapping[str, Json]],
        job_generations: Mapping[int, bytes],
        *,
        deadline: int,
        ttl_s: int,
        now: int,
        stamp: bytes | None = None,
    ) -> tuple[Command, ...]:
        key = keys.match(user_id)
        if len(scores) > MAX_SCORES_PER_USER:
            scores = dict(islice(scores.items(), MAX_SCORES_PER_USER))
        fields = entries.pack(scores, job_generations, deadline, {} if stamp is None else {b"w": stamp})
        return (commands.fill_scores(key, generation, ttl_s=ttl_s, now=now, limit=MAX_SCORES_PER_USER, entries=fields),)

    def written(self, replies: list[Reply]) -> tuple[bool, int]:
        return replies[0] > 0, replies[0] or _READS_OF_A_REFUSED_WRITE

    stamp_reads = 1

    def read_stamp(self, user_id: int) -> Command:
        return commands.hmget(keys.match(user_id), b"g", b"w")

    def parse_stamp(self, reply: Reply) -> tuple[bytes | None, bytes | None]:
        generation, stamp = (None, None) if reply == commands.WRONG_TYPE else reply
        return _generation(generation), stamp

    def read_deadlines(self, user_id: int, job_ids: Sequence[int]) -> Command:
        del job_ids
        return commands.hgetall(keys.match(user_id))

    def parse_deadlines(self, job_ids: Sequence[int], generation: bytes, reply: Reply) -> Deadlines:
        del generation  # the hash holds no other's
        stored = as_dict(reply)
        return _deadlines(zip(job_ids, map(stored.get, keys.score_fields(job_ids)), strict=True))


@dataclass(slots=True)
class KeysLayout:
    """One string per score, as `match:{user}:{job}`: its value ends with the user's generation."""

    jobs: JobGenerations
    in_hash = False

    def read(self, user_id: int, job_ids: Sequence[int]) -> tuple[Command, ...]:
        scores = [keys.match_score(user_id, job_id) for job_id in job_ids]
        return (
            commands.mget(scores),
            commands.get(keys.match(user_id)),
            commands.hmget(keys.JOB_GENERATIONS, *self.jobs.fields(keys.score_fields(job_ids))),
        )

    def data_reads(self, jobs: int) -> int:
        return jobs

    def parse(self, job_ids: Sequence[int], replies: list[Reply], now: float) -> Scores:
        values, user_generation = replies[0], _generation(replies[1])
        generations = self.jobs.each(replies[2], len(job_ids))
        scores = Scores({}, user_generation, stored=values)
        for job_id, raw, generation in zip(job_ids, values, generations, strict=True):
            if raw is None:
                _miss(scores, stats.ABSENT)
            elif codec.is_newer(raw):
                _miss(scores, stats.UNDECODABLE)
                scores.newer.add(job_id)
            elif user_generation is None or not raw.endswith(user_generation):
                _miss(scores, stats.INVALIDATED)
            else:
                _judge(scores, job_id, raw[: -len(user_generation)], generation, now)
        if scores.misses:
            scores.job_generations = _by_job(job_ids, generations)
        return scores

    def write(
        self,
        user_id: int,
        generation: bytes,
        scores: Mapping[int, Mapping[str, Json]],
        job_generations: Mapping[int, bytes],
        *,
        deadline: int,
        ttl_s: int,
        now: int,
        stamp: bytes | None = None,
    ) -> tuple[Command, ...]:
        # The generation must outlive every score that carries it; EXPIRE does nothing where it is gone. `now` is
        # the other layout's need: here each key has a TTL of its own.
        del now
        return (
            commands.expire(keys.match(user_id), ttl_s),
            *(
                commands.set_for(
                    keys.match_score(user_id, job_id),
                    codec.encode_score(score, deadline, job_generations[job_id]) + generation,
                    ttl_s,
                )
                for job_id, score in scores.items()
            ),
            *([commands.set_for(keys.warm_stamp(user_id), stamp + generation, ttl_s)] if stamp is not None else []),
        )

    def written(self, replies: list[Reply]) -> tuple[bool, int]:
        return bool(replies[0]), 0

    stamp_reads = 2

    def read_stamp(self, user_id: int) -> Command:
        return commands.mget([keys.match(user_id), keys.warm_stamp(user_id)])

    def parse_stamp(self, reply: Reply) -> tuple[bytes | None, bytes | None]:
        generation, stamp = _generation(reply[0]), reply[1]
        if stamp is None or generation is None or not stamp.endswith(generation):
            return generation, None
        return generation, stamp[: -len(generation)]

    def read_deadlines(self, user_id: int, job_ids: Sequence[int]) -> Command:
        return commands.mget([keys.match_score(user_id, job_id) for job_id in job_ids])

    def parse_deadlines(self, job_ids: Sequence[int], generation: bytes, reply: Reply) -> Deadlines:
        def is_ours(raw: bytes) -> bool:
            return raw.endswith(generation) or codec.is_newer(raw)

        stored = zip(job_ids, reply, strict=True)
        return _deadlines((job_id, raw) for job_id, raw in stored if raw is not None and is_ours(raw))


LAYOUTS: Final[dict[str, Callable[[JobGenerations], Layout]]] = {"hash": HashLayout, "keys": KeysLayout}
# How soon a job's change shows in its scores.
JOB_INVALIDATIONS: Final = ("exact", "ttl")
