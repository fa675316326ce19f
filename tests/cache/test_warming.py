"""Warming computes what is missing, and reads little."""

from __future__ import annotations

import contextlib
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
import redis

from cache import CacheService
from cache.access import acl_rules
from cache.codec import GENERATION_BYTES
from cache.commands import Send, Unavailable
from cache.gate import Operation
from cache.warming import CHUNK_USERS, Warmer, WarmingCounts
from cache.warming.run import Run
from tests.cache.records import scores

if TYPE_CHECKING:
    from local.valkey import Valkey
    from tests.conftest import ManualClock

HOUR = 3_600
JOBS = list(range(100))
USERS = [1, 2, 3]


@pytest.fixture
def warmer(cache: CacheService) -> Warmer:
    return Warmer(cache.flows)


def compute(wanted: dict[int, list[int]]) -> dict[int, dict[int, dict[str, Any]]]:
    return {user: scores(jobs) for user, jobs in wanted.items()}


def run(cache: CacheService, warmer: Warmer, jobs: list[int] = JOBS) -> WarmingCounts:
    return warmer.run(cache, USERS, jobs, compute)


def test_after_a_run_every_lookup_hits(cache: CacheService, warmer: Warmer) -> None:
    counts = run(cache, warmer)

    assert counts.computed == 300
    assert cache.get_match_scores(2, JOBS) == scores(JOBS)


def test_a_second_run_computes_and_reads_nothing(cache: CacheService, warmer: Warmer) -> None:
    run(cache, warmer)

    counts = run(cache, warmer)

    assert (counts.users_due, counts.users_read, counts.computed) == (0, 0, 0)


def test_a_new_job_is_the_only_one_computed(cache: CacheService, warmer: Warmer) -> None:
    run(cache, warmer)

    counts = run(cache, warmer, [*JOBS[1:], 100])

    assert (counts.users_due, counts.users_read, counts.computed) == (3, 0, 3)
    assert cache.get_match_score(1, 100) == scores([100])[100]


def test_an_updated_job_is_computed_again(cache: CacheService, warmer: Warmer) -> None:
    run(cache, warmer)
    cache.invalidate_job_matches(7)

    assert run(cache, warmer).computed == 3


def test_what_a_newer_release_wrote_stays_and_is_not_computed(
    cache: CacheService, warmer: Warmer, client: redis.Redis
) -> None:
    run(cache, warmer)
    generation: Any = b"" if cache.flows.layout.in_hash else client.get("match:1")
    newer = b"\x05\0\0\0\0 of a later release" + generation
    if cache.flows.layout.in_hash:
        client.hset("match:1", "7", newer)
    else:
        client.set("match:1:7", newer)
    client.delete("job:generations")

    counts = run(cache, Warmer(cache.flows))

    assert counts.computed == 299
    stored = client.hget("match:1", "7") if cache.flows.layout.in_hash else client.get("match:1:7")
    assert stored == newer
    assert cache.get_match_scores(1, JOBS) == scores([job for job in JOBS if job != 7])


def test_what_a_newer_release_wrote_stays_though_warming_knows_nothing_of_it(
    cache: CacheService, warmer: Warmer, client: redis.Redis
) -> None:
    run(cache, warmer)
    generation = client.get("match:1") if not cache.flows.layout.in_hash else b""
    newer = b"\x05\0\0\0\0 of a later release" + generation  # type: ignore[operator]
    if cache.flows.layout.in_hash:
        client.hset("match:1", "100", newer)
    else:
        client.set("match:1:100", newer)

    counts = run(cache, warmer, [*JOBS[1:], 100])

    assert counts.users_read == 0
    stored = client.hget("match:1", "100") if cache.flows.layout.in_hash else client.get("match:1:100")
    assert stored == newer


@pytest.mark.parametrize("is_new", [True, False])
def test_what_is_written_meanwhile_stays(
    cache: CacheService, client: redis.Redis, clock: ManualClock, is_new: bool
) -> None:
    """The hash of a user is replaced only where it is as it was read."""
    if not is_new:
        run(cache, Warmer(cache.flows))
        clock.advance(23 * HOUR)

    def compute_while_others_write(wanted: dict[int, list[int]]) -> dict[int, dict[int, dict[str, Any]]]:
        cache.set_match_score(2, 1_000, {"score": 5})
        if cache.flows.layout.in_hash:
            client.hset("match:3", "7", b"\x05 of a later release")
        return compute(wanted)

    counts = Warmer(cache.flows).run(cache, USERS, JOBS, compute_while_others_write)

    assert counts.computed == 300
    assert cache.get_match_score(2, 1_000) == {"score": 5}
    assert cache.get_match_scores(2, JOBS) == scores(JOBS)
    if cache.flows.layout.in_hash:
        assert client.hget("match:3", "7") == b"\x05 of a later release"


def test_renewing_keeps_other_jobs_and_drops_what_has_expired(
    cache: CacheService, client: redis.Redis, clock: ManualClock
) -> None:
    run(cache, Warmer(cache.flows))
    cache.set_match_score(2, 1_000, {"score": 4})
    clock.advance(23 * HOUR)
    cache.set_match_score(2, 1_001, {"score": 5})
    clock.advance(2 * HOUR)

    counts = run(cache, Warmer(cache.flows))

    assert counts.computed == 300
    assert cache.get_match_scores(2, [1_000, 1_001]) == {1_001: {"score": 5}}
    assert cache.get_match_scores(2, JOBS) == scores(JOBS)
    if cache.flows.layout.in_hash:
        assert client.hlen("match:2") == len(JOBS) + 3  # another job, the generation, the stamp
        assert client.object("encoding", "match:2") == b"listpack"
        assert client.ttl("match:2") == 24 * HOUR


def test_a_user_without_the_right_to_restore_is_warmed_all_the_same(
    cache: CacheService, server: Valkey, client: redis.Redis
) -> None:
    """As that of the release before is, until its rules are renewed."""
    rules = [rule for rule in acl_rules() if rule != "+restore"]
    admin: Any = client
    admin.execute_command("ACL", "SETUSER", "before", "on", ">secret", *rules)
    url = f"redis://before:secret@127.0.0.1:{server.port}"
    service = CacheService.from_url(url, layout="hash" if cache.flows.layout.in_hash else "keys")

    counts = run(service, Warmer(service.flows))

    assert counts.computed == 300
    assert service.get_match_scores(2, JOBS) == scores(JOBS)
    service.close()


def test_without_the_extra_scores_are_added_and_none_is_packed_in_vain(
    cache: CacheService, warmer: Warmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.warming.whole._crc64", None)
    monkeypatch.setattr("cache.warming.whole.blank", None)

    assert run(cache, warmer).computed == 300
    assert cache.get_match_scores(2, JOBS) == scores(JOBS)


def test_an_invalidated_user_is_computed_again(cache: CacheService, warmer: Warmer) -> None:
    run(cache, warmer)
    cache.invalidate_user_matches(2)

    counts = run(cache, warmer)

    assert (counts.users_due, counts.computed) == (1, 100)


def test_hourly_runs_leave_no_gap_and_compute_about_once_a_day(
    cache: CacheService, warmer: Warmer, clock: ManualClock
) -> None:
    computed = 0
    for _ in range(24 * 4):
        computed += run(cache, warmer).computed
        clock.advance(HOUR - 1)
        assert len(cache.get_match_scores(1, JOBS)) == 100
        clock.advance(1)

    assert computed <= 5 * 300


def test_another_process_finds_out_what_it_does_not_know(cache: CacheService, warmer: Warmer) -> None:
    run(cache, warmer)

    counts = run(cache, Warmer(cache.flows), JOBS)

    assert (counts.users_due, counts.computed) == (0, 0)


def test_scores_computed_before_an_invalidation_are_refused(cache: CacheService, warmer: Warmer) -> None:
    def compute_while_invalidated(wanted: dict[int, list[int]]) -> dict[int, dict[int, dict[str, Any]]]:
        cache.invalidate_user_matches(2)
        return compute(wanted)

    counts = warmer.run(cache, USERS, JOBS, compute_while_invalidated)

    assert counts.refused == 100
    assert cache.get_match_scores(2, JOBS) == {}


@pytest.mark.parametrize("unanswered", range(5))
def test_what_is_not_answered_is_left_to_the_next_run(cache: CacheService, warmer: Warmer, unanswered: int) -> None:
    """Whichever step it is: the stamps, a new user's generation, the scores of one that another process has warmed."""
    Warmer(cache.flows).run(cache, [2], JOBS, compute)
    cache.invalidate_job_matches(7)
    counts, operation = WarmingCounts(), Operation()
    target = cache.run(warmer.begin(JOBS, counts))

    (flow,) = warmer.chunks([1, 2], target, counts)
    answer: Any = None
    sends = count()
    with contextlib.suppress(StopIteration):
        while True:
            step = flow.send(answer)
            is_lost = isinstance(step, Send) and next(sends) == unanswered
            answer = Unavailable("it is gone") if is_lost else cache.act(step, compute, operation)

    assert counts.users_unanswered in (1, 2)
    assert run(cache, warmer).users_unanswered == 0
    assert [cache.get_match_scores(user, JOBS) for user in USERS] == [scores(JOBS)] * 3


def test_users_whom_the_function_leaves_out_are_due_again(cache: CacheService, warmer: Warmer) -> None:
    warmer.run(cache, USERS, JOBS, lambda wanted: {user: scores(wanted[user]) for user in wanted if user != 2})

    assert run(cache, warmer).computed == 100


def test_a_new_user_is_not_read(cache: CacheService, warmer: Warmer) -> None:
    counts = run(cache, warmer)

    assert (counts.users_due, counts.users_read) == (3, 0)


def test_a_user_who_is_named_twice_is_one(cache: CacheService, warmer: Warmer) -> None:
    counts = warmer.run(cache, [1, 2, 1, 1], JOBS, compute)

    assert (counts.users, counts.users_due, counts.users_unanswered, counts.computed) == (2, 2, 0, 200)


def test_a_user_of_the_other_layout_is_warmed_like_a_new_one(
    cache: CacheService, warmer: Warmer, server: Valkey
) -> None:
    with redis.Redis(port=server.port) as raw:
        raw.rpush("match:2", "neither a hash nor a string")

    assert run(cache, warmer).computed == 300
    assert cache.get_match_scores(2, JOBS) == scores(JOBS)


@pytest.mark.parametrize("foreign", [b"", b"a", b"longer"])
def test_foreign_bytes_in_place_of_a_generation_are_replaced(
    cache: CacheService, warmer: Warmer, client: redis.Redis, foreign: bytes
) -> None:
    run(cache, warmer)
    client.hset("job:generations", "7", foreign)
    if cache.flows.layout.in_hash:
        client.hset("match:2", "g", foreign)
    else:
        client.set("match:2", foreign)

    assert run(cache, warmer).computed == 102

    assert cache.get_match_scores(2, JOBS) == scores(JOBS)
    assert cache.get_match_scores(3, JOBS) == scores(JOBS)
    generation = client.hget("match:2", "g") if cache.flows.layout.in_hash else client.get("match:2")
    assert len(generation or b"") == GENERATION_BYTES


@pytest.mark.parametrize("cache", ["hash"], indirect=True)
def test_a_foreign_field_of_any_length_stays(cache: CacheService, client: redis.Redis) -> None:
    cache.set_match_score(2, 1_000, {"score": 4})
    client.hset("match:2", "x" * 64, "foreign")

    assert run(cache, Warmer(cache.flows)).computed == 300
    assert client.hget("match:2", "x" * 64) == b"foreign"


def test_a_compute_that_uses_up_its_lists_leaves_no_stamp_of_complete_scores(cache: CacheService) -> None:
    def use_up(wanted: dict[int, list[int]]) -> dict[int, dict[int, dict[str, Any]]]:
        for jobs in wanted.values():
            jobs.clear()
        return {}

    assert Warmer(cache.flows).run(cache, USERS, JOBS, use_up).computed == 0

    assert run(cache, Warmer(cache.flows)).computed == 300


@pytest.mark.parametrize("wrong", [{job: {"score": object()} for job in JOBS}, {str(job): {} for job in JOBS}])
def test_a_user_whose_scores_cannot_be_cached_is_skipped(cache: CacheService, wrong: Any) -> None:
    skipped: list[int] = []
    warmer = Warmer(cache.flows, skipped=lambda user, _error: skipped.append(user))

    counts = warmer.run(cache, USERS, JOBS, lambda wanted: compute(wanted) | {2: wrong})

    assert (skipped, counts.computed) == ([2], 200)
    assert cache.get_match_scores(3, JOBS) == scores(JOBS)


@pytest.mark.parametrize("option", [{"jobs": 0}, {"scores_per_s": 0.0}, {"scores_per_s": -1}])
def test_a_run_of_nothing_is_refused(cache: CacheService, option: dict[str, Any]) -> None:
    source: Any = None

    with pytest.raises(ValueError, match="at least 1, and over 0 or None"):
        Run(cache, source, lambda user, jobs: {}, **option)


def test_what_compute_raises_ends_the_run(cache: CacheService, warmer: Warmer) -> None:
    asked: list[int] = []

    def raise_later(wanted: dict[int, list[int]]) -> dict[int, dict[int, dict[str, Any]]]:
        asked.extend(wanted)
        if len(asked) > CHUNK_USERS:
            raise LookupError("no such user")
        return compute(wanted)

    with pytest.raises(LookupError):
        warmer.run(cache, range(5 * CHUNK_USERS), JOBS, raise_later)

    assert len(asked) == 2 * CHUNK_USERS


def test_everything_computes_everything(cache: CacheService) -> None:
    warmer = Warmer(cache.flows, everything=True)
    run(cache, warmer)

    assert run(cache, warmer).computed == 300


def test_each_chunk_has_a_deadline_of_its_own(
    cache: CacheService, warmer: Warmer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run's chunks take together is far more than one operation may."""
    operations: list[Operation] = []

    class Noted(Operation):
        def __init__(self) -> None:
            super().__init__()
            operations.append(self)

    monkeypatch.setattr("cache.warming.overlap.Operation", Noted)

    warmer.run(cache, range(2 * CHUNK_USERS), JOBS, compute)

    assert len(operations) == 2
