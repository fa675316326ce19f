"""Match scores: what is stored comes back, and nothing older than an invalidation does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import cache
from cache import CATALOG, codec
from cache.layouts import MAX_SCORES_PER_USER
from cache.testing import MovableClock
from tests.behaviour.services import SlowCompute
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from tests.behaviour.services import Started, Threads

USER, OTHER_USER = 1234, 77
JOB, OTHER_JOB = 5678, 5679
MANY_JOBS = range(100, 200)

PACKED = {"score": 87.25, "skills": 90, "title": 80, "location": 100, "salary": 0, "seniority": 55, "at": 1_790_000_000}
VALUES = [
    PACKED,
    {**PACKED, "score": 87},
    {**PACKED, "score": 87.255},
    {},
    {"score": None},
    {"reasons": ["é", 0, False, "", {"a": []}], "big": 2**80},
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_a_score_comes_out_as_it_went_in(service: Any, value: dict[str, Any]) -> None:
    assert service.set_match_score(USER, JOB, value)

    assert service.get_match_score(USER, JOB) == value
    assert service.get_match_score(USER, OTHER_JOB) is None
    assert service.get_match_score(OTHER_USER, JOB) is None


def test_what_json_cannot_hold_is_refused_and_its_lease_is_free(service: Any) -> None:
    with pytest.raises(cache.UncacheableError):
        service.set_match_score(USER, JOB, {"score": float("nan")})
    with pytest.raises(cache.UncacheableError):
        service.match_scores(USER, [JOB], lambda jobs: {JOB: {"score": {1, 2}}})

    assert service.match_scores(USER, [JOB], lambda jobs: {JOB: PACKED}) == {JOB: PACKED}


@pytest.mark.parametrize(
    ("computed", "what"), [(None, "a NoneType"), ([PACKED], "a list"), ({str(JOB): PACKED}, "a score for '5678'")]
)
def test_what_a_compute_must_not_return_is_named_and_its_lease_is_free(service: Any, computed: Any, what: str) -> None:
    """It would be taken for scores that it leaves out."""
    with pytest.raises(TypeError, match=f"compute returned {what}"):
        service.match_scores(USER, [JOB], lambda _: computed)

    assert service.match_scores(USER, [JOB], lambda _: {JOB: PACKED, OTHER_JOB: PACKED}) == {JOB: PACKED}
    assert service.get_match_score(USER, OTHER_JOB) is None


def test_a_batch_computes_only_what_is_missing(service: Any) -> None:
    service.set_match_scores(USER, {job: {"score": job} for job in MANY_JOBS if job % 2})
    asked = []

    def compute(missing: list[int]) -> dict[int, dict[str, Any]]:
        asked.append(missing)
        return {job: {"score": -job} for job in missing if job != 100}

    scores = service.match_scores(USER, MANY_JOBS, compute)

    assert asked == [[job for job in MANY_JOBS if job % 2 == 0]]
    assert scores == {job: {"score": job if job % 2 else -job} for job in MANY_JOBS if job != 100}
    assert service.get_match_scores(USER, MANY_JOBS) == scores


def test_a_compute_may_use_up_its_list(service: Any) -> None:
    def compute(missing: list[int]) -> dict[int, dict[str, Any]]:
        computed = {}
        while missing:
            computed[missing.pop()] = PACKED
        return computed

    assert service.match_scores(USER, [JOB, OTHER_JOB], compute) == {JOB: PACKED, OTHER_JOB: PACKED}
    assert service.get_match_scores(USER, [JOB, OTHER_JOB]) == {JOB: PACKED, OTHER_JOB: PACKED}


def test_nothing_asked_is_nothing_computed(service: Any) -> None:
    assert service.match_scores(USER, [], lambda jobs: pytest.fail("computed")) == {}
    assert service.get_match_scores(USER, []) == {}


@pytest.mark.parametrize("what", ["user", "job"])
def test_an_invalidation_reaches_every_service_at_once(connect: Callable[..., Any], what: str) -> None:
    one, other = connect(), connect()
    one.set_match_scores(USER, {JOB: PACKED, OTHER_JOB: PACKED})
    one.set_match_score(OTHER_USER, JOB, PACKED)

    done = one.invalidate_user_matches(USER) if what == "user" else one.invalidate_job_matches(JOB)

    assert done
    assert other.get_match_score(USER, JOB) is None
    assert (other.get_match_score(USER, OTHER_JOB) is None) == (what == "user")
    assert (other.get_match_score(OTHER_USER, JOB) is None) == (what == "job")


@pytest.mark.parametrize("what", ["user", "job"])
@pytest.mark.parametrize("jobs", [[JOB], [JOB, *MANY_JOBS]], ids=["one", "many"])
def test_a_compute_that_an_invalidation_overtook_is_not_served(
    connect: Callable[..., Any], what: str, jobs: list[int]
) -> None:
    one, other = connect(), connect()

    def compute(missing: list[int]) -> dict[int, dict[str, Any]]:
        assert other.invalidate_user_matches(USER) if what == "user" else other.invalidate_job_matches(JOB)
        return {job: {"score": 1} for job in missing}

    assert one.match_scores(USER, jobs, compute)[JOB] == {"score": 1}

    assert other.get_match_score(USER, JOB) is None
    assert one.get_match_score(USER, JOB) is None


@pytest.mark.parametrize("what", ["user", "job"])
def test_a_plain_set_after_a_missed_get_that_an_invalidation_overtook_is_not_served(
    connect: Callable[..., Any], what: str
) -> None:
    one, other = connect(), connect()
    assert one.get_match_score(USER, JOB) is None
    assert other.invalidate_user_matches(USER) if what == "user" else other.invalidate_job_matches(JOB)

    if not one.set_match_score(USER, JOB, {"score": 1}):
        assert not one.set_match_score(USER, JOB, {"score": 1})  # trying again makes it no fresher

    assert other.get_match_score(USER, JOB) is None


def test_a_late_set_from_another_thread_is_not_served_whoever_was_refused_before_it(
    service: Any, threads: Threads
) -> None:
    """Nobody can tell which of the two belongs to the get."""
    assert threads.start(service.get_match_score, USER, JOB).result() is None
    assert service.invalidate_user_matches(USER)

    for _ in range(2):
        threads.start(service.set_match_score, USER, JOB, PACKED).result()
    service.set_match_score(USER, JOB, PACKED)
    service.set_match_score(USER, JOB, PACKED)

    assert service.get_match_score(USER, JOB) is None
    fence = service.fence(USER, [JOB])
    assert service.set_match_score(USER, JOB, PACKED, fence=fence)
    assert service.get_match_score(USER, JOB) == PACKED


def test_a_set_after_a_get_that_was_not_answered_is_refused(service: Any, raw: redis.Redis) -> None:
    """Nobody knows whether an invalidation came in between."""
    raw.acl_setuser("app", enabled=True, commands=["-hmget", "-mget"])
    try:
        assert service.get_match_score(USER, JOB) is None
    finally:
        raw.acl_setuser("app", enabled=True, commands=["+hmget", "+mget"])

    for _ in range(2):
        assert not service.set_match_score(USER, JOB, PACKED)
    assert service.get_match_score(USER, JOB) is None


def test_a_set_that_the_server_did_not_take_is_as_late_when_it_is_tried_again(
    connect: Callable[..., Any], raw: redis.Redis
) -> None:
    one, other = connect(), connect()
    assert one.get_match_score(USER, JOB) is None
    raw.acl_setuser("app", enabled=True, commands=["-evalsha", "-set"])
    try:
        assert not one.set_match_score(USER, JOB, PACKED)
    finally:
        raw.acl_setuser("app", enabled=True, commands=["+evalsha", "+set"])
    assert other.invalidate_user_matches(USER)

    one.set_match_score(USER, JOB, PACKED)

    assert other.get_match_score(USER, JOB) is None


def test_a_write_behind_its_fence_is_not_served(connect: Callable[..., Any]) -> None:
    one, other = connect(), connect()
    fence = one.fence(USER, MANY_JOBS)
    assert other.invalidate_job_matches(MANY_JOBS[0])

    assert one.set_match_scores(USER, dict.fromkeys(MANY_JOBS, PACKED), fence=fence)
    assert set(one.get_match_scores(USER, MANY_JOBS)) == set(MANY_JOBS[1:])

    assert other.invalidate_user_matches(USER)
    one.set_match_scores(USER, dict.fromkeys(MANY_JOBS, PACKED), fence=fence)
    assert one.get_match_scores(USER, MANY_JOBS) == {}


@pytest.mark.parametrize("writer", [0, 1])
def test_clocks_that_differ_shift_an_expiry_and_nothing_else(
    connect: Callable[..., Any], threads: Threads, writer: int
) -> None:
    clocks = [MovableClock(1_790_000_000), MovableClock(1_790_000_002)]
    services = [connect(clock=clock) for clock in clocks]
    one, other = services[writer], services[1 - writer]
    waiting: list[Started] = []

    def compute(jobs: list[int]) -> dict[int, dict[str, Any]]:
        waiting.append(threads.start(other.match_scores, USER, [JOB], lambda jobs: {JOB: {"score": "twice"}}))
        until(lambda: other.stats.counts("match").waits)
        assert other.invalidate_job_matches(OTHER_JOB)
        return dict.fromkeys(jobs, PACKED)

    one.match_scores(USER, [JOB, OTHER_JOB], compute)

    assert waiting[0].result() == {JOB: PACKED}
    for service in services:
        assert service.get_match_scores(USER, [JOB, OTHER_JOB]) == {JOB: PACKED}
    for clock in clocks:
        clock.advance(CATALOG.match.ttl_s - 3)
    assert [service.get_match_score(USER, JOB) for service in services] == [PACKED, PACKED]
    for clock in clocks:
        clock.advance(5)
    assert [service.get_match_score(USER, JOB) for service in services] == [None, None]


def test_a_lost_generation_is_a_miss_never_a_match(service: Any, raw: redis.Redis, layout: str) -> None:
    service.set_match_scores(USER, {JOB: PACKED})
    raw.delete("job:generations")
    assert service.get_match_score(USER, JOB) is None

    service.set_match_scores(USER, {JOB: PACKED})
    raw.delete(f"match:{USER}") if layout == "keys" else raw.hdel(f"match:{USER}", "g")
    assert service.get_match_score(USER, JOB) is None or layout == "hash"
    assert service.set_match_score(USER, JOB, {"score": 2})
    assert service.get_match_score(USER, JOB) == {"score": 2}


def test_overlapping_batches_never_compute_a_job_twice(connect: Callable[..., Any], threads: Threads) -> None:
    """In one process and in two: whoever needs another's job waits for it, and only for it."""
    one, other = connect(), connect()
    first_is_computing, first_may_end = threading.Event(), threading.Event()
    computed: list[int] = []

    def slow(missing: list[int]) -> dict[int, dict[str, Any]]:
        computed.extend(missing)
        first_is_computing.set()
        first_may_end.wait(20)
        return {job: {"score": job} for job in missing}

    def quick(missing: list[int]) -> dict[int, dict[str, Any]]:
        computed.extend(missing)
        return {job: {"score": job} for job in missing}

    first = threads.start(one.match_scores, USER, [1, 2, 3], slow)
    assert first_is_computing.wait(10)
    same_process = threads.start(one.match_scores, USER, [2, 3, 4], quick)
    other_process = threads.start(other.match_scores, USER, [3, 5], quick)
    disjoint = threads.start(other.match_scores, USER, [6, 7], quick)
    assert disjoint.result() == {6: {"score": 6}, 7: {"score": 7}}
    first_may_end.set()

    assert first.result() == {job: {"score": job} for job in (1, 2, 3)}
    assert same_process.result() == {job: {"score": job} for job in (2, 3, 4)}
    assert other_process.result() == {job: {"score": job} for job in (3, 5)}
    assert sorted(computed) == [1, 2, 3, 4, 5, 6, 7]


def test_a_batch_that_fails_leaves_its_jobs_to_the_waiters(service: Any, threads: Threads) -> None:
    fails = SlowCompute(LookupError("no such user"))
    first = threads.start(service.match_scores, USER, [1, 2], fails)
    fails.wait_until_begun()
    second = threads.start(service.match_scores, USER, [2, 3], lambda jobs: {job: {"score": job} for job in jobs})
    fails.may_end.set()

    with pytest.raises(LookupError):
        first.result()
    assert second.result() == {2: {"score": 2}, 3: {"score": 3}}


def test_a_key_of_another_type_is_a_miss_and_is_replaced(service: Any, raw: redis.Redis, layout: str) -> None:
    raw.rpush(f"match:{USER}", "foreign")
    raw.set("job:generations", "foreign")

    assert service.match_scores(USER, [JOB], lambda jobs: {JOB: PACKED}) == {JOB: PACKED}

    assert service.get_match_score(USER, JOB) == PACKED
    assert service.stats.counts("match").hits == 1


@pytest.mark.parametrize("foreign", [b"", b"longer", b"too long for one", b"owner9999999999999"])
@pytest.mark.parametrize("type_", ["string", "hash", "list"])
@pytest.mark.parametrize("key", [f"match:{USER}", "job:generations", f"lock:{{match:{USER}}}"])
def test_foreign_bytes_in_generations_and_leases_are_replaced(
    service: Any, raw: Any, layout: str, key: str, type_: str, foreign: bytes
) -> None:
    """Nobody waits for them, nothing is raised, and the next list is a hit."""
    if type_ == "string":
        raw.set(key, foreign)
    elif type_ == "hash":
        raw.hset(key, mapping=dict.fromkeys(["g", *MANY_JOBS], foreign))
    else:
        raw.rpush(key, foreign)

    for _ in range(2):
        scores = service.match_scores(USER, MANY_JOBS, lambda jobs: dict.fromkeys(jobs, PACKED))
        assert scores == dict.fromkeys(MANY_JOBS, PACKED)

    counts = service.stats.counts("match")
    assert (counts.hits, counts.waits) == (len(MANY_JOBS), 0)
    generation = raw.hget(f"match:{USER}", "g") if layout == "hash" else raw.get(f"match:{USER}")
    assert len(generation) == codec.GENERATION_BYTES


def test_a_key_that_the_other_layout_takes_over_in_the_middle_of_a_compute_refuses_the_write(
    connect: Callable[..., Any], layout: str
) -> None:
    """As in a deployment that changes the layout."""
    one, other = connect(), connect(layout={"hash": "keys", "keys": "hash"}[layout])

    def compute(jobs: list[int]) -> dict[int, dict[str, Any]]:
        other.set_match_scores(USER, {JOB: {"score": 1}})
        return dict.fromkeys(jobs, PACKED)

    assert one.match_scores(USER, [JOB], compute) == {JOB: PACKED}
    assert one.get_match_score(USER, JOB) is None


@pytest.mark.parametrize(
    "stored", [b"", b"\x02", b"foreign", b"\x02\x7f" + b"?" * 20, b"\x03" + b"?" * 10, b"\xff" * 40]
)
def test_foreign_bytes_are_a_miss_and_are_overwritten(service: Any, raw: Any, layout: str, stored: bytes) -> None:
    service.set_match_score(USER, JOB, PACKED)
    if layout == "hash":
        raw.hset(f"match:{USER}", str(JOB), stored)
    else:
        generation = raw.get(f"match:{USER}") or b""  # random: by itself it may look like a newer release's bytes
        raw.set(f"match:{USER}:{JOB}", (stored or b"?") + generation)

    assert service.match_scores(USER, [JOB], lambda jobs: {JOB: {"score": 2}}) == {JOB: {"score": 2}}

    assert service.stats.counts("match").misses["undecodable"] == 1
    assert service.get_match_score(USER, JOB) == {"score": 2}


def test_a_newer_release_s_score_is_a_miss_and_stays(service: Any, raw: redis.Redis, layout: str) -> None:
    service.set_match_score(USER, JOB, PACKED)
    newer = b"\x1f of a later release"
    if layout == "hash":
        raw.hset(f"match:{USER}", str(JOB), newer)
    else:
        raw.set(f"match:{USER}:{JOB}", newer)

    assert service.match_scores(USER, [JOB], lambda jobs: {JOB: {"score": 1}}) == {JOB: {"score": 1}}
    assert service.get_match_score(USER, JOB) is None
    assert not service.set_match_score(USER, JOB, {"score": 1})

    stored = raw.hget(f"match:{USER}", str(JOB)) if layout == "hash" else raw.get(f"match:{USER}:{JOB}")
    assert stored == newer


@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.parametrize("others", [0, 200], ids=["a large write", "a small write"])
def test_a_write_takes_for_newer_what_the_decoder_does(service: Any, raw: redis.Redis, others: int) -> None:
    """Nobody has read them before, and their next four bytes are no deadline."""
    service.set_match_scores(USER, dict.fromkeys([300, *range(1_000, 1_000 + others)], PACKED))
    stored: dict[Any, Any] = {str(head): bytes([head]) + b"\0\0\0\0 and more" for head in range(40)}
    raw.hset(f"match:{USER}", mapping=stored)

    assert service.set_match_scores(USER, dict.fromkeys(range(40), PACKED))

    kept = {head for head in range(40) if raw.hget(f"match:{USER}", str(head)) == stored[str(head)]}
    assert kept == {head for head in range(40) if codec.is_newer(bytes([head]))}


@pytest.mark.parametrize("layout", ["hash"])
def test_what_a_newer_release_wrote_is_not_trimmed(service: Any, raw: redis.Redis) -> None:
    service.set_match_scores(USER, dict.fromkeys(range(490), PACKED))
    newer: dict[Any, Any] = {str(job): b"\x05\0\0\0\0" for job in range(1_000, 1_009)}
    raw.hset(f"match:{USER}", mapping=newer)

    service.set_match_scores(USER, dict.fromkeys(range(2_000, 2_200), PACKED))

    fields = set(raw.hkeys(f"match:{USER}")) - {b"g"}
    assert len(fields) == MAX_SCORES_PER_USER
    assert fields > {name.encode() for name in newer} | {b"%d" % job for job in range(2_000, 2_200)}


@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.parametrize("before", [0, 450])
def test_a_user_s_hash_stays_packed_whatever_is_written_at_once(service: Any, raw: redis.Redis, before: int) -> None:
    service.match_scores(USER, range(before), lambda jobs: dict.fromkeys(jobs, PACKED))

    service.match_scores(USER, range(1_000, 1_600), lambda jobs: dict.fromkeys(jobs, PACKED))

    assert raw.object("encoding", f"match:{USER}") == b"listpack"
    assert set(service.get_match_scores(USER, range(1_000, 1_600))) == set(range(1_000, 1_500))


def test_the_counts_are_the_lookups_and_the_server_agrees(service: Any, raw: redis.Redis) -> None:
    service.match_scores(USER, MANY_JOBS, lambda jobs: dict.fromkeys(jobs, PACKED))
    service.get_match_scores(USER, MANY_JOBS)
    service.get_match_score(USER, JOB)
    service.set_match_score(USER, JOB, PACKED)
    service.set_match_score(OTHER_USER, JOB, PACKED)
    service.invalidate_job_matches(JOB)
    service.match_scores(USER, [JOB, OTHER_JOB], lambda jobs: {})

    counts = service.stats.counts("match")
    assert (counts.hits, counts.lookups) == (100, 203)
    info = raw.info("stats")
    assert info["keyspace_hits"] + info["keyspace_misses"] == service.stats.data_reads + service.stats.bookkeeping_reads
