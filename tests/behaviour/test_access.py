"""The application's user may do what the library does, and nothing that it does not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cache.access import COMMANDS
from cache.flows import LEASE_MS
from tests.behaviour.services import LAYOUTS, make_service

if TYPE_CHECKING:
    import redis

    from tests.behaviour.services import Threads

# Sent when a connection is made, which the counts below do not cover.
_HANDSHAKE = {"client|setinfo", "client|setname"}


def test_each_permitted_command_is_used_and_none_is_refused(app_url: str, raw: redis.Redis, threads: Threads) -> None:
    raw.script_flush()
    services: list[Any] = [make_service("sync", app_url, layout=layout, near=["company"]) for layout in LAYOUTS]
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
    _wait_for_a_foreign_lease(services[0], raw, threads)
    _outlast_a_renewal(services[0])
    for service in services:
        service.close()

    counts = {name.removeprefix("cmdstat_"): stat for name, stat in raw.info("commandstats").items()}
    assert not [name for name, stat in counts.items() if stat["rejected_calls"]]
    assert set(COMMANDS) - set(counts) - _HANDSHAKE == set()


def _wait_for_a_foreign_lease(service: Any, raw: redis.Redis, threads: Threads) -> None:
    raw.set("lock:{report:7}", "another holder", px=300)
    assert threads.start(service.get_with_lock, "report:7", lambda: 1, 60).result() == 1


def _outlast_a_renewal(service: Any) -> None:
    service.get_with_lock("report:8", lambda: time.sleep(LEASE_MS / 1000 / 2), 60)
