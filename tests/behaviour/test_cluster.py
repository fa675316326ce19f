"""A cluster in trouble: a shard that is down affects no other, and what moves is followed."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

import cache
from cache import commands, keys, slots
from cache.cluster import Shards
from cache.cluster_link import ClusterLink
from cache.pending import Pending
from local.cluster import ValkeyCluster
from local.valkey import Valkey
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.cluster import Node
    from tests.behaviour.services import Threads

PLACE = "cluster"
USER, JOB = 1234, 5678


@pytest.fixture
def layout() -> str:
    return "hash"


@pytest.fixture
def deadline_s() -> float:
    """What a frozen shard costs; a healthy one answers sooner, on a busy machine too."""
    return 2.0


@pytest.fixture
def fragile() -> Iterator[ValkeyCluster]:
    """A cluster of this test's own, with a replica for each primary."""
    with ValkeyCluster(replicas=1) as cluster:
        yield cluster


def slot(key: str) -> int:
    return slots.slot_of(("GET", key))


def company_of(cluster: ValkeyCluster, node: Node, *, beyond: int = 0) -> int:
    """A company whose key this node has."""
    ids = (company for company in count(beyond + 1) if cluster.owner(slot(keys.company(company))) is node)
    return next(ids)


def never() -> Any:
    raise AssertionError("computed although the value is cached")


def test_a_frozen_shard_holds_up_nobody_who_asks_another(
    connect: Callable[..., Any], shared_cluster: ValkeyCluster
) -> None:
    service = connect()
    sick, well = shared_cluster.primaries[1:]
    frozen, other = company_of(shared_cluster, sick), company_of(shared_cluster, well)
    service.set_company_enrichment(frozen, "old")
    service.set_company_enrichment(other, "cached")
    sick.freeze()
    try:
        assert service.get_company_enrichment(frozen, lambda: "computed") == "computed"
        assert service.get_company_enrichment(other, never) == "cached"
        assert not service.invalidate_company(frozen)
        assert service.get_company_enrichment(other, never) == "cached"
        assert service.invalidate_company(other)
        assert service.pending_invalidations == 1
    finally:
        sick.thaw()

    until(lambda: service.pending_invalidations == 0)
    assert service.get_company_enrichment(frozen, lambda: "new") == "new"


def test_a_batch_over_a_frozen_shard_is_a_miss_and_leaves_the_others_in_use(
    connect: Callable[..., Any], shared_cluster: ValkeyCluster
) -> None:
    """The jobs' generations lie on one shard: while it is away no score is trusted."""
    service = connect()
    sick = shared_cluster.owner(slot(keys.JOB_GENERATIONS))
    user = next(user for user in count() if shared_cluster.owner(slot(keys.match(user))) is not sick)
    service.set_match_score(user, JOB, {"score": "old"})
    sick.freeze()
    try:
        assert service.get_match_score(user, JOB) is None
        assert not service.invalidate_job_matches(JOB)
        assert service.invalidate_user_matches(user)
    finally:
        sick.thaw()

    until(lambda: service.pending_invalidations == 0)
    scores = service.match_scores(user, [JOB], lambda jobs: {JOB: {"score": "new"}})
    assert scores == {JOB: {"score": "new"}}
    assert service.stats.counts("match").misses["unavailable"] == 1


def test_a_killed_shard_is_used_again_once_its_replica_is_promoted(
    connect: Callable[..., Any], fragile: ValkeyCluster
) -> None:
    service = connect(fragile.url)
    lost, well = fragile.primaries[1:]
    company, other = company_of(fragile, lost), company_of(fragile, well)
    service.set_company_enrichment(company, "cached")
    service.set_company_enrichment(other, "cached")
    lost.client.wait(1, 10_000)

    lost.kill()

    for _ in range(10):
        assert service.get_company_enrichment(company, lambda: "computed") == "computed"
        assert service.get_company_enrichment(other, never) == "cached"
    misses = service.stats.counts("company").misses
    assert misses["unavailable"] == 10
    fragile.promote(fragile.replicas[1][0])
    until(lambda: service.get_company_enrichment(company, lambda: "computed") == "cached")


def test_a_failover_in_the_middle_of_a_compute_loses_no_invalidation(
    connect: Callable[..., Any], fragile: ValkeyCluster
) -> None:
    """The new primary is told again what was just invalidated: it may not have heard of it."""
    service = connect(fragile.url)
    lost, new = fragile.primaries[1], fragile.replicas[1][0]
    company = company_of(fragile, lost)
    invalidated = company_of(fragile, lost, beyond=company)
    service.set_company_enrichment(invalidated, "old")
    old = lost.client.get(keys.company(invalidated))
    assert service.invalidate_company(invalidated)

    def fail_over() -> str:
        lost.kill()
        fragile.promote(new)
        new.client.set(keys.company(invalidated), old or b"")
        return "computed"

    assert service.get_company_enrichment(company, fail_over) == "computed"

    until(lambda: service.set_company_enrichment(company, "up"))
    assert service.get_company_enrichment(invalidated, lambda: "new") == "new"
    assert service.get_company_enrichment(company, never) == "up"


def test_a_primary_that_steps_down_is_left_at_once(connect: Callable[..., Any], fragile: ValkeyCluster) -> None:
    service = connect(fragile.url)
    company = company_of(fragile, fragile.primaries[2])
    service.set_company_enrichment(company, "cached")
    fragile.primaries[2].client.wait(1, 10_000)
    replica = fragile.replicas[2][0]

    replica.cluster("FAILOVER")
    until(lambda: replica.client.info("replication")["role"] == "master")

    until(lambda: service.get_company_enrichment(company, lambda: "computed") == "cached")
    assert service.set_company_enrichment(company, "new")
    assert replica.client.exists(keys.company(company))


def test_a_slot_that_moves_is_followed_and_its_new_home_remembered(
    connect: Callable[..., Any], shared_cluster: ValkeyCluster
) -> None:
    service = connect()
    home, to = shared_cluster.primaries[:2]
    company = company_of(shared_cluster, home)
    service.set_company_enrichment(company, "cached")
    move(shared_cluster, slot(keys.company(company)), to)
    home.client.config_resetstat()
    try:
        for _ in range(5):
            assert service.get_company_enrichment(company, never) == "cached"
        assert home.client.info("errorstats")["errorstat_MOVED"] == {"count": 1}
    finally:
        move(shared_cluster, slot(keys.company(company)), home)


def test_a_slot_that_moves_in_the_middle_of_a_compute_leaves_nothing_stale(
    connect: Callable[..., Any], shared_cluster: ValkeyCluster
) -> None:
    """While it is on its way, an invalidation may have to wait: nobody is served what it was for."""
    service = connect()
    home, to = shared_cluster.primaries[:2]
    company = company_of(shared_cluster, home)
    of_company = slot(keys.company(company))
    service.set_company_enrichment(company, "old")
    with ExitStack() as stack:

        def fetch() -> str:
            shared_cluster.start_moving(of_company, to)
            stack.callback(move, shared_cluster, of_company, home)
            stack.callback(shared_cluster.finish_moving, of_company, to)
            return "older"

        assert service.invalidate_company(company)
        assert service.get_company_enrichment(company, fetch) == "older"
        service.invalidate_company(company)
        assert service.get_company_enrichment(company, lambda: "new") == "new"

    until(lambda: service.pending_invalidations == 0)
    assert service.get_company_enrichment(company, lambda: "new") == "new"


def test_scores_of_a_slot_on_the_move_are_computed_once_it_is_there(
    connect: Callable[..., Any], shared_cluster: ValkeyCluster
) -> None:
    service = connect()
    of_user = slot(keys.match(USER))
    home = shared_cluster.owner(of_user)
    to = next(node for node in shared_cluster.primaries if node is not home)
    service.set_match_score(USER, JOB, {"score": 1})
    shared_cluster.start_moving(of_user, to)
    try:
        assert service.get_match_score(USER, JOB) == {"score": 1}
        assert service.match_scores(USER, [JOB, 9], lambda jobs: {9: {"score": 9}}) == {
            JOB: {"score": 1},
            9: {"score": 9},
        }
    finally:
        shared_cluster.finish_moving(of_user, to)
        move(shared_cluster, of_user, home)
    assert service.get_match_scores(USER, [JOB, 9]) == {JOB: {"score": 1}, 9: {"score": 9}}


@pytest.mark.parametrize(("shell", "layout"), [("sync", "hash"), ("sync", "keys")])
def test_what_must_follow_on_another_shard_is_a_step_of_its_own(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are given back behind the scores, and scores are forgotten behind the preferences."""
    sent: list[Any] = []
    send = service._link.send

    def record(batch: Any, operation: Any) -> Any:
        sent.append(batch)
        return send(batch, operation)

    monkeypatch.setattr(service._link, "send", record)

    service.match_scores(USER, range(5), lambda jobs: {job: {"score": job} for job in jobs})
    service.update_ijp(USER, "preferences")

    writes = [batch for batch in sent if {"fill", "release_jobs"} & set(map(commands.script_name, batch))]
    assert len(writes) == 2
    assert [len({slots.slot_of(command) for command in batch}) for batch in writes] == [1, 1]


def test_a_node_that_two_threads_find_gone_breaks_no_page(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = Shards([("seed", 1)], Pending(cache.SystemClock()))
    link = ClusterLink(redis.Connection, {}, shards=shards, max_connections=1)
    link._node(("gone", 1))
    find_gone, both_have_found = shards.gone, threading.Barrier(2)

    def gone(addresses: Any) -> Any:
        found = find_gone(addresses)
        both_have_found.wait(10)
        return found

    monkeypatch.setattr(shards, "gone", gone)
    others = [threads.start(link._node, ("new", port)) for port in (1, 2)]

    assert None not in [other.result() for other in others]
    assert link._nodes.keys() == {("new", 1), ("new", 2)}


def test_what_is_pending_for_one_node_keeps_no_other_from_being_connected_again() -> None:
    pending = Pending(cache.SystemClock(), part_of=slots.slot_of)
    shards = Shards([("seed", 1)], pending)
    deletion = commands.delete("ijp:1")
    slot = slots.slot_of(deletion)
    shards.learn([[0, slot, [b"one", 1]], [slot + 1, slots.SLOTS - 1, [b"other", 1]]], asked=("seed", 1))
    pending.add([deletion])

    are_safe = {name: shards.gate((name, 1), lambda: None).is_safe_to_reconnect() for name in ("one", "other")}

    assert are_safe == {"one": False, "other": True}


def test_a_node_that_one_thread_is_led_to_is_not_lost_to_another_one(threads: Threads) -> None:
    shards = Shards([("seed", 1)], Pending(cache.SystemClock()))
    second_is_there = threading.Event()

    def lead_to_second() -> None:
        shards.redirected(redis.exceptions.AskError("5 second:2"), ("seed", 1))
        second_is_there.set()

    class Nodes(frozenset[Any]):
        """Another thread adds its node, if it may, while one is about to add the first."""

        def __or__(self, added: Any) -> Any:
            if ("first", 1) in added:
                threads.start(lead_to_second)
                second_is_there.wait(0.1)
            return frozenset(self) | added

    shards.nodes = Nodes()
    shards.redirected(redis.exceptions.AskError("4 first:1"), ("seed", 1))

    assert second_is_there.wait(10)
    assert set(shards.nodes) == {("first", 1), ("second", 2)}


def test_both_kinds_of_cluster_client_will_do(shared_cluster: ValkeyCluster, shell: str, raw: redis.Redis) -> None:
    if shell == "sync":
        new_node: Any = redis.cluster.ClusterNode
        nodes = [new_node("127.0.0.1", node.port) for node in shared_cluster.primaries]
        service = cache.CacheService(redis.RedisCluster(startup_nodes=nodes, decode_responses=True))
        assert service.start_session(USER, "sync")
        assert service.get_session(USER) == "sync"
        service.close()
        return

    async def scenario() -> Any:
        service = cache.AsyncCacheService(redis.asyncio.RedisCluster.from_url(shared_cluster.url))
        await service.start_session(USER, "async")
        try:
            return await service.get_session(USER)
        finally:
            await service.close()

    assert asyncio.run(scenario()) == "async"


def test_a_server_that_is_no_cluster_is_said_so_and_costs_nothing(
    connect: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.replies._said", set())
    with Valkey() as server:
        service = connect(server.url)

        assert service.get_company_enrichment(7, lambda: "computed") == "computed"
        assert not service.invalidate_company(7)

    assert "cluster support disabled" in caplog.text


def move(cluster: ValkeyCluster, of_slot: int, to: Node) -> None:
    cluster.start_moving(of_slot, to)
    cluster.finish_moving(of_slot, to)
