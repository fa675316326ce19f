from __future__ import annotations

import stat
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cache import CacheService, InvalidKeyError
from cache.metrics import AccessLog, Report
from cache.metrics import access_log as module
from loadtest import accesslog
from tests.conftest import START
from tests.loadtest.logs import groups

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from local.valkey import Valkey


REPORT = Report(0, 1, {})


def test_closing_twice_closes_no_other_file(cache: CacheService, tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.csv", cache)
    log.close()

    with (tmp_path / "other").open("w") as other:  # it gets the number that is free now
        log.close()
        other.write("whole")

    assert (tmp_path / "other").read_text() == "whole"


def test_one_line_per_lookup_or_change(cache: CacheService, tmp_path: Path) -> None:
    path = tmp_path / "access.csv"
    log = AccessLog(path, cache)

    cache.start_session(1234, {})
    cache.get_session(1234)
    cache.match_scores(1234, [1, 2], lambda jobs: {job: {"score": 1} for job in jobs})
    cache.get_match_score(1234, 3)
    cache.set_match_score(1234, 3, {"score": 1})
    cache.get_ijp(1234, dict)
    cache.update_ijp(1234, {})
    cache.get_company_enrichment(101, dict)
    cache.set_company_enrichment(101, {})
    cache.invalidate_company(101)
    cache.invalidate_job_matches(2)
    cache.invalidate_user_matches(1234)
    cache.get_with_lock("report:7", lambda: 1, 60)
    cache.get_with_lock("company:101\n:news", lambda: 1, 60)
    cache.end_session(1234)
    log.send(REPORT)
    log.close()
    cache.get_session(1234)

    header, *lines = path.read_text().splitlines()
    assert header == "timestamp,cache_type,user_id,item_id,operation"
    assert {line.partition(",")[0] for line in lines} == {f"{START}.000"}
    assert [line.partition(",")[2] for line in lines] == [
        "session,1234,,start",
        "session,1234,,get",
        "match,1234,1,get",
        "match,1234,2,get",
        "match,1234,3,get",
        "match,1234,3,set",
        "ijp,1234,,get",
        "ijp,1234,,update",
        "company,,101,get",
        "company,,101,set",
        "company,,101,invalidate",
        "match,,2,invalidate",
        "match,1234,,invalidate",
        "session,1234,,end",
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_id_leaves_no_line(cache: CacheService, tmp_path: Path) -> None:
    path = tmp_path / "access.csv"
    log = AccessLog(path, cache)
    no_id: Any = "1\nmatch"

    for call in (
        *(cache.get_session, cache.end_session, cache.forget_user),
        *(cache.invalidate_user_matches, cache.invalidate_job_matches, cache.invalidate_company),
        *(partial(cache.get_match_score, job_id=5), partial(cache.get_match_score, 5)),
        *(partial(cache.update_ijp, data={}), partial(cache.start_session, data={}), partial(cache.get_ijp, load=dict)),
        lambda user_id: cache.match_scores(user_id, [1], lambda jobs: {}),
        lambda user_id: cache.set_match_score(user_id, 1, {}),
    ):
        with pytest.raises(InvalidKeyError):
            call(no_id)
    log.send(REPORT)
    log.close()

    assert path.read_text() == module.HEADER


def test_a_second_log_goes_on_where_the_first_ended(cache: CacheService, tmp_path: Path) -> None:
    for _ in range(2):
        log = AccessLog(tmp_path / "access.csv", cache)
        cache.forget_user(7)
        log.send(REPORT)
        log.close()

    lines = (tmp_path / "access.csv").read_text().splitlines()
    assert [line.split(",")[1:] for line in lines[1:]] == 2 * [
        ["match", "7", "", "invalidate"],
        ["ijp", "7", "", "invalidate"],
        ["session", "7", "", "end"],
    ]


def test_what_nobody_writes_is_dropped_and_counted(
    cache: CacheService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    log = AccessLog(tmp_path / "access.csv", cache)

    for user in range(5):
        cache.get_session(user)

    assert log.dropped == 2
    log.close()


def test_a_service_without_a_log_is_as_it_was(cache: CacheService, tmp_path: Path) -> None:
    flows = cache.flows
    log = AccessLog(tmp_path / "access.csv", cache)
    assert cache.flows is not flows

    log.close()

    assert cache.flows is flows


def test_hits_of_the_near_cache_are_logged_as_others(server: Valkey, client: redis.Redis, tmp_path: Path) -> None:
    path = tmp_path / "access.csv"
    with closing(CacheService.from_url(server.socket_url, near=["match", "ijp"])) as cache:
        log = AccessLog(path, cache)
        cache.update_ijp(1234, {})
        cache.set_match_scores(1234, {1: {}, 2: {}})
        reads = 0
        while not cache.stats.counts("match").near_hits > 2 or not cache.stats.counts("ijp").near_hits:
            reads += 1
            cache.get_match_score(1234, 1)
            cache.get_match_scores(1234, [1, 2])
            cache.get_ijp(1234, dict)
        log.send(REPORT)
        log.close()
        cache.get_match_score(1234, 1)

    lines = [line.partition(",")[2] for line in path.read_text().splitlines()]
    assert (lines.count("match,1234,1,get"), lines.count("match,1234,2,get")) == (2 * reads, reads)
    assert lines.count("ijp,1234,,get") == reads


def test_the_load_test_reads_what_was_logged(cache: CacheService, tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.csv", cache)
    cache.match_scores(1234, [1, 2], lambda jobs: {job: {"score": 1} for job in jobs})
    cache.invalidate_job_matches(2)
    log.send(REPORT)
    log.close()

    recorded = accesslog.AccessLog(tmp_path / "access.csv")

    assert [(group.cache_type, group.operation, group.user, group.items) for group in groups(recorded)] == [
        ("match", "get", 1234, [1, 2]),
        ("match", "invalidate", -1, [2]),
    ]
    assert recorded.malformed == 0
