"""No stale read and no compute too many among many clients and faults; and the model sees a guard that is missing."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cache import codec, commands, keys
from cache.fences import Fences
from cache.flows import Flows
from cache.link import DEADLINE_S
from local.cluster import ValkeyCluster
from local.faketime import faketime_library
from local.valkey import Valkey
from tests.behaviour.model import Model, OriginError, StaleReadError, TwoComputesError, one_server, restart
from tests.behaviour.services import make_service
from tests.behaviour.test_trouble import PATIENT
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cache.commands import Command, Flow
    from tests.behaviour.services import Started, Threads

STEPS = 3_000
USER, JOB, COMPANY = 1234, 5678, 101


@pytest.fixture
def deadline_s() -> float:
    """The library's own, so that a frozen server is one in trouble."""
    return DEADLINE_S


@pytest.fixture
def _long_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("scores", "values"):
        monkeypatch.setattr(f"cache.flows.{part}.LEASE_MS", 60_000)


def run(
    layout: str,
    seed: int,
    *,
    steps: int = STEPS,
    place: Callable[[], Valkey | ValkeyCluster] = one_server,
    faults: Sequence[str] | None = None,
    near: bool = False,
) -> Model:
    with place() as server:
        model = Model(server, seed=seed, layout=layout, faults=faults, near=near)
        model.run(steps)
    return model


def run_until_seen(layout: str, faults: Sequence[str], *, near: bool = False) -> None:
    for seed in range(30):  # the first will do as a rule
        run(layout, seed, faults=faults, near=near)


@pytest.mark.parametrize(("place", "seed"), [(one_server, 1), (one_server, 2), (ValkeyCluster, 1)])
def test_nothing_stale_is_ever_read(layout: str, place: Callable[[], Valkey | ValkeyCluster], seed: int) -> None:
    model = run(layout, seed, place=place)

    assert model.done["_match_scores"] > STEPS / 10


@pytest.mark.parametrize("place", [one_server, ValkeyCluster])
def test_nothing_near_is_older_than_its_link_may_be_silent(
    layout: str, place: Callable[[], Valkey | ValkeyCluster]
) -> None:
    model = run(layout, seed=3, place=place, near=True)

    assert model.done["near_hits"]


@PATIENT
@pytest.mark.usefixtures("_long_leases")
@pytest.mark.parametrize("place", [one_server, ValkeyCluster])
def test_nobody_computes_what_another_one_computes(layout: str, place: Callable[[], Valkey | ValkeyCluster]) -> None:
    model = run(layout, seed=1, place=place, faults=())

    assert model.done["_company"] > STEPS / 10


def fill_without_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "fill", lambda key, lease, token, value, ttl_s: ("SET", key, value, "EX", ttl_s))


def invalidation_without_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    def invalidate(flows: Any, key: str) -> Any:
        return flows._invalidate(commands.delete(key))

    monkeypatch.setattr(Flows, "invalidate", invalidate)


def plain_write_in_one_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_value(flows: Any, name: str, key: str, value: Any, ttl_s: int) -> Flow[Any]:
        replies = yield commands.Send((("SET", key, codec.encode(value), "EX", str(ttl_s)),))
        return not isinstance(replies, commands.Unavailable)

    monkeypatch.setattr(Flows, "set_value", set_value)


def scores_without_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    text = commands.SCRIPTS[commands._HASH["fill_scores"]]
    guard = "if found[1] ~= ARGV[1] then return 0 end"
    assert guard in text
    monkeypatch.setitem(commands.SCRIPTS, "mutated", text.replace(guard, ""))
    monkeypatch.setitem(commands._HASH, "fill_scores", "mutated")


def plain_set_without_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fences, "find", lambda fences, caller, pair: None)


@PATIENT
@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.parametrize(
    "take_out",
    [
        fill_without_lease,
        invalidation_without_lease,
        plain_write_in_one_round_trip,
        scores_without_generation,
        plain_set_without_fence,
    ],
)
def test_the_model_sees_a_guard_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, layout: str, take_out: Callable[[pytest.MonkeyPatch], None]
) -> None:
    take_out(monkeypatch)

    with pytest.raises(StaleReadError):
        run_until_seen(layout, faults=["evict_jobs"])


@PATIENT
@pytest.mark.parametrize("layout", ["hash"])
def test_the_model_sees_near_caches_that_are_told_nothing(monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    track = commands.track
    monkeypatch.setattr(commands, "track", lambda prefixes: track(["unrelated:"]))

    with pytest.raises(StaleReadError):
        run_until_seen(layout, faults=["evict_generation"], near=True)


@PATIENT
@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.skipif(faketime_library() is None, reason="no clock can be moved on this machine")
def test_the_model_sees_what_outlives_its_ttl(monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    fill: Callable[..., Command] = commands.fill
    monkeypatch.setattr(commands, "fill", lambda *words: fill(*words[:-1], words[-1] * 100))

    with pytest.raises(StaleReadError, match="its TTL is"):
        run_until_seen(layout, faults=["pass_time"])


def release_of_jobs_without_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "release_jobs", lambda lease, token: commands.delete(lease))


@PATIENT
@pytest.mark.usefixtures("_long_leases")
@pytest.mark.parametrize("layout", ["hash"])
def test_the_model_sees_leases_given_back_by_somebody_else(monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    release_of_jobs_without_token(monkeypatch)

    with pytest.raises(TwoComputesError):
        run_until_seen(layout, faults=())


@PATIENT
@pytest.mark.parametrize("layout", ["hash"])
def test_a_lease_given_back_by_somebody_else_is_seen(
    monkeypatch: pytest.MonkeyPatch, shell: str, layout: str, threads: Threads
) -> None:
    fail_after_losing_the_lease(shell, layout, threads)
    monkeypatch.setattr(commands, "release", lambda lease, token: commands.delete(lease))

    with pytest.raises(TwoComputesError):
        fail_after_losing_the_lease(shell, layout, threads)


def fail_after_losing_the_lease(shell: str, layout: str, threads: Threads) -> None:
    """The first loses its lease to the second, and fails; the third must wait for the second all the same."""
    is_computing, may_end = threading.Event(), threading.Event()
    with Valkey() as server:
        services = first, second, third = [make_service(shell, server.url, layout=layout) for _ in range(3)]

        def fail() -> Any:
            assert second.invalidate_company(COMPANY)
            started.append(threads.start(second.get_company_enrichment, COMPANY, compute))
            assert is_computing.wait(30)
            raise OriginError

        def compute() -> str:
            is_computing.set()
            assert may_end.wait(30)
            return "second"

        started: list[Started] = []
        with pytest.raises(OriginError):
            first.get_company_enrichment(COMPANY, fail)
        waiter = threads.start(third.get_company_enrichment, COMPANY, lambda: "third")
        until(lambda: third.stats.counts("company").waits or waiter.is_done)
        may_end.set()
        values = [started[0].result(), waiter.result()]
        for service in services:
            service.close()
    if values != ["second", "second"]:
        raise TwoComputesError(f"{values} were computed at a time.")


def generations_that_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters instead of nonces: right until one is lost and begins anew."""
    first = b"10000"
    ensure, ensure_jobs = commands.ensure_generation, commands.ensure_job_generations
    next_of_job = """
        local found = redis.call('HGET', KEYS[1], ARGV[1])
        if found then redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', found + 1)) end
        return 1
    """
    next_of_user = """
        local found = redis.call('HGET', KEYS[1], 'g')
        redis.call('UNLINK', KEYS[1], KEYS[2])
        if found then redis.call('HSET', KEYS[1], 'g', string.format('%.0f', found + 1)) end
        return 1
    """

    def invalidate_job(flows: Any, job_id: int) -> Any:
        return flows._invalidate(("EVAL", next_of_job, 1, keys.JOB_GENERATIONS, keys.score_field(job_id)))

    def forget_scores(user_id: int) -> Any:
        return ("EVAL", next_of_user, 2, keys.match(user_id), keys.lease(keys.match(user_id)))

    monkeypatch.setattr(
        commands, "ensure_generation", lambda key, nonce, ttl_s, *, in_hash: ensure(key, first, ttl_s, in_hash=in_hash)
    )
    monkeypatch.setattr(commands, "ensure_job_generations", lambda key, nonce, jobs: ensure_jobs(key, first, jobs))
    monkeypatch.setattr(Flows, "invalidate_job_matches", invalidate_job)
    monkeypatch.setattr(Flows, "_forget_scores", staticmethod(forget_scores))


@PATIENT
@pytest.mark.parametrize("layout", ["hash"])
def test_the_model_sees_a_generation_that_was_evicted_and_matches_again(
    monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    generations_that_count(monkeypatch)
    run(layout, seed=1, faults=["cut"])  # nothing is lost, nothing is wrong

    with pytest.raises(StaleReadError):
        run_until_seen(layout, faults=["evict_jobs"])


@PATIENT
@pytest.mark.parametrize("layout", ["hash"])
def test_a_restart_in_the_middle_of_a_compute_is_seen_if_generations_count(
    monkeypatch: pytest.MonkeyPatch, shell: str, layout: str
) -> None:
    restart_in_the_middle_of_a_compute(shell, layout)
    generations_that_count(monkeypatch)

    with pytest.raises(StaleReadError):
        restart_in_the_middle_of_a_compute(shell, layout)


def restart_in_the_middle_of_a_compute(shell: str, layout: str) -> None:
    """What was computed before the invalidation is stored after the restart, on a connection that works."""
    with Valkey() as server:
        services = one, other = [make_service(shell, server.url, layout=layout) for _ in range(2)]

        def compute(jobs: list[int]) -> dict[int, dict[str, str]]:
            assert other.invalidate_user_matches(USER)
            restart(server)
            for service in services:
                until(partial(service.set_company_enrichment, COMPANY, "up"))
            assert other.get_match_score(USER, JOB) is None
            return {JOB: {"score": "old"}}

        one.match_scores(USER, [JOB], compute)
        seen = other.get_match_score(USER, JOB)
        for service in services:
            service.close()
    if seen is not None:
        raise StaleReadError(f"{seen} was read, and had been invalidated.")
