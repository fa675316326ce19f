"""The application's user may do what the library does, and nothing that it does not."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from cache import CacheService, commands
from cache.access import COMMANDS, acl_rules
from cache.slots import slot_of
from cache.warming import Warmer
from tests.behaviour.services import LAYOUTS, make_service
from tests.cache.records import scores
from tests.servers import calls, until

if TYPE_CHECKING:
    import redis

    from local.cluster import ValkeyCluster
    from tests.behaviour.services import Threads

# Sent when a connection is made, which the counts below do not cover.
_HANDSHAKE = {"client|setinfo", "client|setname"}
_OF_A_CLUSTER = {"asking", "cluster|slots"}


def test_each_permitted_command_is_used_and_none_is_refused(
    app_url: str, place: str, raw: redis.Redis, threads: Threads, request: pytest.FixtureRequest
) -> None:
    raw.script_flush()
    is_cluster = place == "cluster"
    services: list[Any] = [
        make_service("sync", app_url, layout=layout, cluster=is_cluster, near=["company"]) for layout in LAYOUTS
    ]
    for user, service in enumerate(services):
        service.match_scores(user, range(30), lambda jobs: {job: {"score": job} for job in jobs})
        service.get_match_scores(user, range(20))
        service.get_match_score(user, 1)
        service.set_match_score(user, 1, {"score": 2})
        service.invalidate_job_matches(1)
        service.invalidate_user_matches(user)
        while not service.stats.counts("company").near_hits:
            service.get_company_enrichment(7, lambda: "data")
        service.update_ijp(user, "prefs")
        service.start_session(user, "session")
        service.get_session(user)
        service.end_session(user)
        service.forget_user(user)
        Warmer(service.flows).run(service, [user], [1], lambda _, user=user: {user: scores([1])})  # type: ignore[misc]
    _wait_for_another_s_lease(services[0], services[1], threads)
    _outlast_a_renewal(services[0], raw)
    if is_cluster:
        _follow_a_slot(services[0], request.getfixturevalue("shared_cluster"))
    for service in services:
        service.close()

    counts = {name.removeprefix("cmdstat_"): stat for name, stat in raw.info("commandstats").items()}
    assert "errorstat_NOPERM" not in raw.info("errorstats")
    unused = set(COMMANDS) - set(counts) - _HANDSHAKE
    assert unused == (set() if is_cluster else _OF_A_CLUSTER)


@pytest.mark.parametrize("place", ["standalone"])
@pytest.mark.parametrize("lacking", ["get", "hset", "client|setname"])
def test_a_right_that_is_lacking_is_told_of_with_what_to_do(
    lacking: str, raw: Any, port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that a script needs, and one that connecting needs."""
    monkeypatch.setattr("cache.replies._said", set())
    raw.execute_command("ACL", "SETUSER", "less", "reset", "on", ">secret", *acl_rules(), f"-{lacking}")
    with closing(CacheService.from_url(f"redis://less:secret@127.0.0.1:{port}")) as service:
        assert service.get_company_enrichment(7, lambda: "computed") == "computed"
        assert service.match_scores(7, [1], lambda jobs: {1: {"s": 1}}) == {1: {"s": 1}}

    assert caplog.text.count("cache.not_permitted: give the user the rules of cache.access") == 1
    assert lacking in caplog.text


def _wait_for_another_s_lease(service: Any, other: Any, threads: Threads) -> None:
    waiters = []

    def compute() -> int:
        waiters.append(threads.start(service.get_with_lock, "report:7", lambda: 2, 60))
        until(lambda: service.stats.counts("generic").waits)
        return 1

    assert other.get_with_lock("report:7", compute, 60) == 1
    assert waiters[0].result() == 1


def _outlast_a_renewal(service: Any, raw: redis.Redis) -> None:
    service.get_with_lock("report:8", lambda: until(lambda: calls(raw, "pexpire")), 60)


def _follow_a_slot(service: Any, cluster: ValkeyCluster) -> None:
    """Used as it moves there, and as it moves back."""
    slot = slot_of(commands.get("report:9"))
    home = cluster.owner(slot)
    for to in (next(node for node in cluster.primaries if node is not home), home):
        cluster.start_moving(slot, to)
        assert service.get_with_lock("report:9", lambda: 9, 60) == 9
        cluster.finish_moving(slot, to)
