"""The near cache: hits without the server, and never what another client changed more than a moment ago.

Most tests let an entry live for an hour, and trust the link for a minute, so that only what they are about can end it.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.exceptions import AskError, MovedError

import cache
from cache import SystemClock, codec, commands, keys
from cache.access import acl_rules
from cache.cluster import Shards
from cache.gate import Operation
from cache.link import DEADLINE_S
from cache.near import Near
from cache.pending import Pending
from cache.slots import slot_of
from cache.testing import MovableClock
from cache.tracking import Wire
from local.cluster import ValkeyCluster
from local.valkey import Valkey
from tests.behaviour.proxy import Proxy
from tests.servers import pid, until

if TYPE_CHECKING:
    from collections.abc import Callable

USER, OTHER_USER, JOB, OTHER_JOB, COMPANY = 1234, 77, 5678, 5679, 101
NEAR = ("match", "company", "ijp")
SCORE = {"score": 87.25, "skills": 90, "title": 80, "location": 100, "salary": 0, "seniority": 55, "at": 1_790_000_000}
STANDALONE = pytest.mark.parametrize("place", ["standalone"])
# The link is the same in both layouts.
ONE_LAYOUT = pytest.mark.parametrize("layout", ["hash"])
SHORT_DEADLINE = pytest.mark.parametrize("deadline_s", [DEADLINE_S])
NESTED = {"titles": ["engineer", {"level": 3}], "remote": None}


@pytest.fixture(autouse=True)
def long_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache.near.MAX_AGE_S", 3600.0)
    monkeypatch.setattr("cache.tracking.TRUSTED_S", 60.0)
    monkeypatch.setattr("cache.tracking.RETRY_EVERY_S", 0.05)


@pytest.fixture
def near(connect: Callable[..., Any]) -> Any:
    return connect(near=NEAR)


def score(service: Any) -> Any:
    return service.get_match_score(USER, JOB)


def scores(service: Any) -> Any:
    return service.get_match_scores(USER, [JOB, OTHER_JOB])


def matched(service: Any) -> Any:
    return service.match_scores(USER, [JOB, OTHER_JOB], lambda jobs: dict.fromkeys(jobs, SCORE))


def company(service: Any) -> Any:
    return service.get_company_enrichment(COMPANY, lambda: "new")


def ijp(service: Any) -> Any:
    return service.get_ijp(USER, lambda: "new")


READS: dict[Callable[[Any], Any], str] = {
    score: "match",
    scores: "match",
    matched: "match",
    company: "company",
    ijp: "ijp",
}


def fill(service: Any) -> None:
    until(lambda: service.set_company_enrichment(COMPANY, "old"))
    until(lambda: service.update_ijp(USER, "old"))
    until(lambda: service.set_match_scores(USER, {JOB: SCORE, OTHER_JOB: SCORE}))


def is_near(service: Any, read: Callable[[Any], Any]) -> bool:
    """Reads, and says whether the server was not asked."""
    before = near_hits(service, READS[read])
    read(service)
    return near_hits(service, READS[read]) > before


def near_hits(service: Any, name: str) -> int:
    return int(service.stats.counts(name).near_hits)


def warm(service: Any, *reads: Callable[[Any], Any]) -> None:
    for read in reads:
        until(partial(is_near, service, read))


def deafen(service: Any) -> None:
    """The service hears no more of what others change."""
    tracking = service._parts.near._tracking
    for each in (tracking, *getattr(tracking, "_links", {}).values()):
        each._on_change = lambda key: None


def nodes(raw: Any) -> list[redis.Redis]:
    """Plain clients of the server, or of each primary."""
    if isinstance(raw, redis.Redis):
        return [raw]
    return [raw.get_redis_connection(node) for node in raw.get_primaries()]


def tracking_clients(raw: Any) -> list[tuple[redis.Redis, str]]:
    """(node, id of the connection) of each that is told of changes."""
    return [(node, client["id"]) for node in nodes(raw) for client in node.client_list() if "B" in client["flags"]]


@pytest.mark.parametrize("read", READS)
def test_what_was_read_is_read_again_without_the_server(
    near: Any, raw: redis.Redis, read: Callable[[Any], Any]
) -> None:
    fill(near)
    first = read(near)
    warm(near, read)
    reads = near.stats.data_reads, near.stats.bookkeeping_reads
    counts = near.stats.counts(READS[read])

    assert [read(near) for _ in range(5)] == [first] * 5

    after = near.stats.counts(READS[read])
    lookups = 5 * (2 if read in (scores, matched) else 1)
    assert after.near_hits - counts.near_hits == after.hits - counts.hits == lookups
    assert (near.stats.data_reads, near.stats.bookkeeping_reads) == reads
    info = raw.info("stats")
    assert info["keyspace_hits"] + info["keyspace_misses"] == sum(reads)


def test_none_and_what_nests_come_out_as_they_went_in(near: Any) -> None:
    near.set_company_enrichment(COMPANY, None)
    near.update_ijp(USER, NESTED)
    near.set_match_scores(USER, {JOB: NESTED, OTHER_JOB: {}})
    warm(near, company, ijp, scores)

    assert company(near) is None
    assert ijp(near) == NESTED
    assert scores(near) == {JOB: NESTED, OTHER_JOB: {}}


@pytest.mark.parametrize("value", [SCORE, NESTED], ids=["flat", "nested"])
def test_what_a_caller_does_to_a_value_no_other_caller_sees(near: Any, value: dict[str, Any]) -> None:
    near.set_company_enrichment(COMPANY, value)
    near.set_match_scores(USER, {JOB: value, OTHER_JOB: value})
    for _ in range(50):  # the read that stores it, and the hits
        for found in (company(near), score(near), *scores(near).values()):
            assert found == value
            found["mine"] = 1
            found.get("titles", []).append("mine")

    assert is_near(near, company)
    assert is_near(near, score)


CHANGES: dict[str, tuple[Callable[[Any], Any], Callable[[Any, redis.Redis], Any]]] = {
    "a score set": (score, lambda other, raw: other.set_match_score(USER, JOB, {"score": "new"})),
    "a user invalidated": (scores, lambda other, raw: other.invalidate_user_matches(USER)),
    "a job invalidated": (scores, lambda other, raw: other.invalidate_job_matches(JOB)),
    "preferences updated": (ijp, lambda other, raw: other.update_ijp(USER, "new")),
    "scores by preferences": (score, lambda other, raw: other.update_ijp(USER, "new")),
    "a company set": (company, lambda other, raw: other.set_company_enrichment(COMPANY, "new")),
    "a company invalidated": (company, lambda other, raw: other.invalidate_company(COMPANY)),
    "a user forgotten": (ijp, lambda other, raw: other.forget_user(USER)),
    "a key deleted": (company, lambda other, raw: raw.delete(f"company:{COMPANY}:enrichment")),
    "a key expired": (ijp, lambda other, raw: raw.pexpire(f"ijp:{USER}", 1)),
    "everything deleted": (score, lambda other, raw: raw.flushall()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_by_another_client_is_seen(
    connect: Callable[..., Any], near: Any, raw: redis.Redis, change: str
) -> None:
    read, make_change = CHANGES[change]
    fill(near)
    old = read(near)
    warm(near, read)

    make_change(connect(), raw)

    until(lambda: read(near) != old)


@ONE_LAYOUT
@pytest.mark.parametrize("protocol", [2, 3])
def test_it_works_in_either_protocol(
    connect: Callable[..., Any], app_url: str, raw: redis.Redis, protocol: int
) -> None:
    service = connect(f"{app_url}?protocol={protocol}", near=NEAR)
    fill(service)
    warm(service, score, company)

    raw.delete(f"company:{COMPANY}:enrichment")
    until(lambda: company(service) == "new")
    raw.delete(f"match:{USER}")
    until(lambda: score(service) is None)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_one_s_own_is_seen_at_once(near: Any, raw: redis.Redis, change: str) -> None:
    read, make_change = CHANGES[change]
    if change in ("a key deleted", "a key expired", "everything deleted"):
        return  # no method of the service
    fill(near)
    old = read(near)
    warm(near, read)
    deafen(near)

    assert make_change(near, raw)

    assert read(near) != old


@ONE_LAYOUT
@SHORT_DEADLINE
@STANDALONE
def test_an_invalidation_that_is_pending_is_not_undone_by_the_near_cache(
    connect: Callable[..., Any], server: Valkey
) -> None:
    service = connect(server.url, near=NEAR)
    fill(service)
    warm(service, company)
    with frozen(server):
        assert not service.invalidate_company(COMPANY)
        assert company(service) == "new"

    until(lambda: service.pending_invalidations == 0)
    assert company(service) == "new"


@pytest.mark.parametrize("how", ["match_scores", "get and set", "fence"])
def test_scores_are_never_computed_from_preferences_older_than_their_fence(
    connect: Callable[..., Any], near: Any, how: str
) -> None:
    """They would carry the generation from behind the update, and be served for a day."""
    fill(near)
    warm(near, ijp)
    deafen(near)
    connect().update_ijp(USER, "newer")
    if how == "match_scores":
        computed = near.match_scores(USER, [JOB], lambda jobs: {JOB: {"from": ijp(near)}})
        assert computed == {JOB: {"from": "newer"}}
    elif how == "get and set":
        assert near.get_match_score(USER, JOB) is None
    else:
        near.fence(USER, [JOB])

    assert ijp(near) == "newer"


@pytest.mark.parametrize("by", ["another", "itself"])
@pytest.mark.parametrize("read", [scores, ijp])
def test_a_value_read_before_a_change_is_not_kept_after_it(
    connect: Callable[..., Any], near: Any, by: str, read: Callable[[Any], Any]
) -> None:
    """The reply is on its way to its reader when the message comes: the reader is carried out by hand."""
    fill(near)
    warm(near, company)  # the link works
    flow = near.flows.get_scores(USER, [JOB, OTHER_JOB])
    if read is ijp:
        flow = near.flows.get_or_compute("ijp", f"ijp:{USER}", 60)
    old = near._parts.link.send(next(flow).commands, Operation())
    shelf = near._parts.near._shelves[READS[read]]
    assert len(shelf.entries) == 1
    if by == "itself":
        deafen(near)

    assert (connect() if by == "another" else near).update_ijp(USER, "new")
    until(lambda: not shelf.entries)
    with pytest.raises(StopIteration):
        flow.send(old)

    assert not shelf.entries
    assert read(near) == ({} if read is scores else "new")


@ONE_LAYOUT
def test_a_change_is_seen_though_the_thread_gets_no_time(
    connect: Callable[..., Any], near: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside an event loop that computes: whoever looks up reads the messages."""
    fill(near)
    warm(near, company)
    is_over, is_stuck = threading.Event(), threading.Event()

    def wait(*_: Any) -> None:
        is_stuck.set()
        is_over.wait(60)

    monkeypatch.setattr("cache.tracking.Wire.wait", wait)
    assert is_stuck.wait(20)
    try:
        connect().set_company_enrichment(COMPANY, "newer")
        until(lambda: company(near) == "newer")
    finally:
        is_over.set()


@ONE_LAYOUT
def test_a_link_that_nobody_watches_is_not_trusted(near: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread gets no time at all, so no PING is answered any more."""
    monkeypatch.setattr("cache.tracking.TRUSTED_S", 0.5)
    fill(near)
    warm(near, company)
    is_over = threading.Event()
    monkeypatch.setattr("cache.tracking.Wire.wait", lambda *_: is_over.wait(60))
    try:
        until(lambda: not is_near(near, company))
    finally:
        is_over.set()


@ONE_LAYOUT
@STANDALONE
def test_a_link_that_does_not_answer_is_made_anew(
    connect: Callable[..., Any], shared_server: Valkey, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.tracking.TRUSTED_S", 0.5)
    with Proxy(shared_server.port) as proxy:
        service = connect(proxy.url, near=NEAR)
        fill(service)
        warm(service, company)
        proxy.mode = "hang"
        until(lambda: not service._parts.near._tracking.is_fresh())
        proxy.mode = "pass"

        warm(service, company)


@ONE_LAYOUT
@STANDALONE
def test_a_change_that_comes_while_an_answer_to_a_ping_is_awaited_is_seen(
    connect: Callable[..., Any], shared_server: Valkey, raw: redis.Redis
) -> None:
    with Proxy(shared_server.port) as proxy:
        service = connect(proxy.url, near=NEAR)
        tracking = service._parts.near._tracking
        fill(service)
        warm(service, company)
        until(lambda: tracking._ping_sent_at is None)
        proxy.may_reply.clear()
        raw.set(keys.company(COMPANY), codec.encode("new"))
        until(lambda: tracking._ping_sent_at is not None)
        proxy.may_reply.set()

        until(lambda: company(service) == "new", timeout_s=10)


@ONE_LAYOUT
def test_what_was_read_while_nobody_listened_is_not_kept(
    near: Any, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that began just before the link was lost, and was descheduled."""
    fill(near)
    warm(near, company)
    near._parts.near.close()
    with monkeypatch.context() as patched:
        patched.setattr("cache.tracking.Tracking.is_fresh", lambda _: True)
        assert company(near) == "old"
    connect().set_company_enrichment(COMPANY, "unheard")

    found = set()

    def is_near_again() -> bool:
        found.add(company(near))
        return near_hits(near, "company") > hits_before

    hits_before = near_hits(near, "company")
    until(is_near_again)
    assert found == {"unheard"}


@ONE_LAYOUT
def test_a_link_that_is_cut_forgets_everything_and_comes_back(
    near: Any, connect: Callable[..., Any], raw: redis.Redis
) -> None:
    fill(near)
    warm(near, company)
    deafen(near)
    connect().set_company_enrichment(COMPANY, "unheard")
    assert company(near) == "old"

    for node, client_id in tracking_clients(raw):
        node.client_kill_filter(_id=client_id)

    until(lambda: company(near) == "unheard")
    warm(near, company)


@ONE_LAYOUT
def test_where_the_primary_may_be_another_everything_is_forgotten(near: Any, connect: Callable[..., Any]) -> None:
    fill(near)
    warm(near, company)
    deafen(near)
    connect().set_company_enrichment(COMPANY, "unheard")

    near._parts.pending.primary_may_have_changed()

    assert company(near) == "unheard"
    warm(near, company)


@ONE_LAYOUT
@SHORT_DEADLINE
@STANDALONE
@pytest.mark.parametrize("trouble", ["frozen", "killed"])
def test_a_server_in_trouble_is_not_trusted(
    connect: Callable[..., Any], server: Valkey, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.tracking.TRUSTED_S", 0.5)
    service = connect(server.url, near=NEAR)
    fill(service)
    warm(service, company)
    if trouble == "frozen":
        with frozen(server):
            until(lambda: company(service) == "new")
        warm(service, company)
    else:
        os.kill(pid(server), signal.SIGKILL)
        until(lambda: company(service) == "new")
        assert not any(shelf.entries for shelf in service._parts.near._shelves.values())


def test_an_entry_is_at_most_five_seconds_old(connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache.near.MAX_AGE_S", 5.0)
    clock = MovableClock(0)
    monkeypatch.setattr("cache.client.Near", partial(Near, monotonic=clock.now))
    service = connect(near=NEAR)
    fill(service)
    warm(service, company, scores)
    deafen(service)
    fill(connect())
    connect().set_company_enrichment(COMPANY, "unheard")

    clock.advance(4.9)
    assert is_near(service, company)
    assert is_near(service, scores)
    clock.advance(0.2)

    assert company(service) == "unheard"
    assert not is_near(service, scores)


def test_nothing_outlives_its_ttl(
    connect: Callable[..., Any], raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monotonic, wall = MovableClock(0), MovableClock()
    monkeypatch.setattr("cache.client.Near", partial(Near, monotonic=monotonic.now))
    service = connect(near=NEAR, clock=wall)
    fill(service)
    service.set_company_enrichment(COMPANY, "forever")
    raw.expire(f"ijp:{USER}", 600)
    raw.persist(f"company:{COMPANY}:enrichment")
    wall.advance(24 * 3600 - 600)
    warm(service, ijp, score, company)

    monotonic.advance(500)
    assert is_near(service, ijp)
    assert is_near(service, score)
    monotonic.advance(101)

    assert not is_near(service, ijp)
    assert not is_near(service, score)
    assert is_near(service, company)


def test_the_number_of_entries_is_bounded_and_the_newest_stay(connect: Callable[..., Any]) -> None:
    service = connect(near=NEAR, near_entries=10)
    fill(service)
    for number in range(30):
        service.set_company_enrichment(number, "x")
        service.set_match_scores(number, dict.fromkeys(range(4), SCORE))
    warm(service, company)
    for number in range(30):
        service.get_company_enrichment(number, lambda: "x")
        service.get_match_scores(number, range(4))

    shelves = service._parts.near._shelves
    assert shelves["company"].size == len(shelves["company"].entries) == 10
    assert list(shelves["company"].entries)[-1] == "company:29:enrichment"
    assert shelves["match"].size == 4 * len(shelves["match"].entries) == 8


@ONE_LAYOUT
def test_only_the_types_that_are_named_are_kept(connect: Callable[..., Any]) -> None:
    service = connect(near=["ijp"])
    fill(service)
    warm(service, ijp)

    assert not is_near(service, company)
    assert not is_near(service, score)


def test_ids_are_checked_though_the_value_is_near(near: Any) -> None:
    fill(near)
    warm(near, score, scores)

    for user, job in ((str(USER), JOB), (USER, str(JOB)), (float(USER), JOB), (USER, float(JOB))):
        with pytest.raises(cache.InvalidKeyError):
            near.get_match_score(user, job)
        with pytest.raises(cache.InvalidKeyError):
            near.get_match_scores(user, [job])


@ONE_LAYOUT
@pytest.mark.parametrize(("name", "why"), [("session", "a session ends"), ("sessions", "it is unknown")])
def test_sessions_and_unknown_types_are_refused_by_name(connect: Callable[..., Any], name: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"near has '{name}': {why}.*Allowed: match, company, ijp"):
        connect(near=["match", name])
    with pytest.raises(ValueError, match=f"near has '{name}'"):
        connect(near=name)


@ONE_LAYOUT
@STANDALONE
@pytest.mark.parametrize("missing", ["client|tracking", "ping"])
def test_a_server_that_refuses_tracking_is_told_once_and_read_as_ever(
    connect: Callable[..., Any],
    raw: redis.Redis,
    shared_server: Valkey,
    missing: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    admin: Any = raw
    admin.execute_command("ACL", "SETUSER", "untracked", "reset", "on", ">secret", *acl_rules(), f"-{missing}")
    service = connect(f"redis://untracked:secret@127.0.0.1:{shared_server.port}", near=NEAR)
    fill(service)
    with caplog.at_level(logging.ERROR, "cache"):
        until(lambda: [company(service), caplog.records][1])
    until(lambda: service._parts.near._tracking._thread is None)

    assert [company(service) for _ in range(10)] == ["old"] * 10
    assert near_hits(service, "company") == 0
    assert [record.message.partition(":")[0] for record in caplog.records] == ["cache.near_off"]


def test_a_replica_is_not_listened_to(server: Valkey) -> None:
    connection: Any = redis.Connection
    with (
        Valkey("--replicaof", f"127.0.0.1 {server.port}") as replica,
        pytest.raises(redis.ConnectionError, match="the server is a replica"),
    ):
        Wire(connection(port=replica.port, protocol=3))


@pytest.mark.parametrize(("shell", "layout"), [("sync", "hash")])
def test_a_forked_child_has_a_link_of_its_own(near: Any, connect: Callable[..., Any], raw: redis.Redis) -> None:
    fill(near)
    warm(near, company)
    child = os.fork()
    if child == 0:
        try:
            assert not is_near(near, company)
            warm(near, company)
            connect().set_company_enrichment(COMPANY, "newer")
            until(lambda: company(near) == "newer")
        except BaseException:  # noqa: BLE001 - told by the exit status
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    until(lambda: company(near) == "newer")
    warm(near, company)


@pytest.mark.parametrize(("shell", "layout", "place"), [("sync", "hash", "cluster")])
def test_a_cluster_that_changes_is_followed_and_trusted_as_a_whole(
    connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a slot that moved, a replica that was promoted, and a node that is frozen."""
    monkeypatch.setattr("cache.tracking.TRUSTED_S", 0.5)
    key = f"company:{COMPANY}:enrichment"
    slot = slot_of(commands.get(key))
    with ValkeyCluster(replicas=1) as cluster:
        service = connect(cluster.url, near=NEAR)
        fill(service)
        warm(service, company)

        new = cluster.primaries[0]
        assert cluster.owner(slot) is not new
        cluster.start_moving(slot, new)
        cluster.finish_moving(slot, new)
        new.client.set(key, codec.encode("moved"))
        until(lambda: company(service) == "moved")
        warm(service, company)

        promoted = cluster.replicas[0][0]
        cluster.promote(promoted)
        promoted.client.set(key, codec.encode("promoted"))
        until(lambda: company(service) == "promoted")
        warm(service, company)

        cluster.primaries[2].freeze()  # one that has nothing to do with the key: nobody knows that here
        try:
            until(lambda: not service._parts.near._tracking.is_fresh())
        finally:
            cluster.primaries[2].thaw()
        warm(service, company)


def test_a_node_that_a_redirection_names_is_listened_to_before_it_is_asked() -> None:
    shards = Shards([("127.0.0.1", 7000)], Pending(SystemClock(), part_of=slot_of))

    for number, error in enumerate((AskError("5 127.0.0.1:7001"), MovedError("5 127.0.0.1:7002"))):
        shards.redirected(error, by=("127.0.0.1", 7000))
        assert ("127.0.0.1", 7001 + number) in shards.nodes


@ONE_LAYOUT
def test_a_service_that_is_closed_or_not_used_keeps_no_link(
    connect: Callable[..., Any], raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = connect(near=NEAR)
    until(lambda: tracking_clients(raw) == [])  # those of other tests are gone
    fill(service)
    warm(service, company)
    assert len(tracking_clients(raw)) == len(nodes(raw))

    monkeypatch.setattr("cache.tracking.IDLE_S", 0.0)
    until(lambda: tracking_clients(raw) == [])
    monkeypatch.undo()
    warm(service, company)
    service._parts.near.close()
    until(lambda: tracking_clients(raw) == [])
    assert not is_near(service, company)


class frozen:  # noqa: N801 - reads as a statement
    def __init__(self, server: Valkey) -> None:
        self._pid = pid(server)

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGCONT)
