"""The script on a real PostgreSQL and a real Valkey: what it computes, and what it does when something goes wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import redis
import sqlalchemy

from cache import CacheService, keys
from cache.warming import CHUNK_USERS, CHUNKS_AT_ONCE
from cache.warming import run as module
from cache.warming.postgres import PostgresSource
from cache.warming.run import AlreadyRunningError, Run, Summary
from local.postgres import Postgres
from local.valkey import Valkey
from scripts.warm_popular_jobs import main
from tests import patient
from tests.aws import without_keys
from tests.behaviour.proxy import Proxy
from tests.iam import USER, local_cache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


JOBS = [1, 2, 3]
TABLES = """
CREATE TABLE users (id bigint PRIMARY KEY, last_login timestamptz NOT NULL);
CREATE TABLE job_views (job_id bigint NOT NULL, viewed_at timestamptz NOT NULL);
CREATE INDEX users_last_login ON users (last_login, id);
INSERT INTO users SELECT n, now() - n * interval '1 second' FROM generate_series(1, {users}) n;
INSERT INTO users VALUES (1000000, now() - interval '8 days');
INSERT INTO job_views SELECT n, now() FROM generate_series(1, 3) n;
"""
SCORES = """
import os, signal

def score(user_id, job_ids):
    return {job_id: {"score": user_id} for job_id in job_ids}

def fails_for_some(user_id, job_ids):
    if user_id == 7:
        raise LookupError("no preferences")
    if user_id == 8:
        return {job_id: {"score": object()} for job_id in job_ids}
    if user_id == 6:
        return None
    return score(user_id, job_ids)

def fails(user_id, job_ids):
    raise LookupError("no preferences")

def killed_at_user_1(user_id, job_ids):  # the last one: the others were seen longer ago
    if user_id == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return score(user_id, job_ids)
"""

KILLED = """
from scripts.warm_popular_jobs import main
from tests import patient
patient.wait_long()
main()
"""


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as running:
        yield running


@pytest.fixture
def raw(valkey: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis(port=valkey.port) as client:
        client.flushall()
        yield client


@pytest.fixture
def cache(valkey: Valkey, raw: redis.Redis) -> Iterator[CacheService]:
    with closing(CacheService.from_url(valkey.url)) as service:
        yield service


def fill(database: sqlalchemy.Engine, users: int) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql(TABLES.format(users=users))


@pytest.fixture
def warm(
    valkey: Valkey,
    raw: redis.Redis,
    postgres: Postgres,
    database: sqlalchemy.Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Any:
    """Runs the script with a function of SCORES: (exit code, standard output, standard error)."""
    fill(database, 10)
    (tmp_path / "own_scores.py").write_text(SCORES)
    (tmp_path / "broken_scores.py").write_text("raise ValueError('no settings')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CACHE_URL", valkey.url)
    monkeypatch.setenv("DATABASE_URL", postgres.url)

    def run(function: str = "score", *arguments: str) -> tuple[int, str, str]:
        code = main([f"own_scores:{function}", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_it_computes_the_popular_jobs_of_active_users_and_then_nothing(warm: Any, cache: CacheService) -> None:
    code, out, err = warm()

    assert (code, err) == (0, "")
    assert out.startswith("30 scores for 10 users in ")
    assert "(10 active users, 3 popular jobs)" in out
    assert cache.get_match_scores(4, JOBS) == {job: {"score": 4} for job in JOBS}
    assert cache.get_match_scores(1_000_000, JOBS) == {}
    assert warm()[1].startswith("0 scores for 0 users")


def test_it_warms_an_application_that_leaves_changed_jobs_to_their_ttl(warm: Any, valkey: Valkey) -> None:
    assert warm("score", "--job-invalidation", "ttl")[0] == 0

    with closing(CacheService.from_url(valkey.url, job_invalidation="ttl")) as application:
        assert application.get_match_scores(4, JOBS) == {job: {"score": 4} for job in JOBS}
    assert warm("score", "--job-invalidation", "ttl")[1].startswith("0 scores for 0 users")


@pytest.mark.parametrize("deadline_s", [0.1])
def test_connecting_may_take_longer_than_an_operation(
    warm: Any, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cluster's first connections by TLS do."""
    monkeypatch.setattr("cache.link.CONNECT_TIMEOUT_S", 60)
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 60)

    def answer() -> None:
        monkeypatch.setattr("cache.link.DEADLINE_S", patient.DEADLINE_S)
        proxy.may_reply.set()

    with Proxy(valkey.port) as proxy:
        monkeypatch.setenv("CACHE_URL", proxy.url)
        proxy.may_reply.clear()
        threading.Timer(0.3, answer).start()

        code, out, err = warm("score", "--dry-run")

    assert (code, err) == (0, "")
    assert out.startswith("30 scores to compute for 10 users")


@pytest.mark.parametrize("deadline_s", [0.1])
@pytest.mark.parametrize("is_away", [False, True])
def test_a_turn_that_was_not_answered_is_not_another_process(
    is_away: bool, warm: Any, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a shard that was not connected to yet. The lease may have been taken, and then ends by itself."""
    with Proxy(valkey.port) as proxy:
        monkeypatch.setenv("CACHE_URL", proxy.url)
        asks = CacheService.run
        asked = iter(range(1_000_000))

        def answer() -> None:
            monkeypatch.setattr("cache.link.DEADLINE_S", patient.DEADLINE_S)
            proxy.may_reply.set()

        def stalls_after_the_first(service: CacheService, *arguments: Any) -> Any:
            result = asks(service, *arguments)
            if next(asked) == 0:
                proxy.may_reply.clear()
                if not is_away:
                    threading.Timer(0.3, answer).start()
            return result

        monkeypatch.setattr(CacheService, "run", stalls_after_the_first)
        code, out, err = warm()
        proxy.may_reply.set()

    if is_away:
        assert (code, out, err) == (1, "", "warm_popular_jobs: The cache does not answer. Nothing was warmed.\n")
    else:
        assert (code, err) == (0, "")
        assert out.startswith("30 scores for 10 users")


def test_it_signs_in_at_the_stack_s_cache_as_the_application(
    warm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack has no user with a password."""
    monkeypatch.delenv("CACHE_URL")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key/with+signs")
    file = tmp_path / "outputs.json"
    with local_cache() as cache:
        outputs = {
            "cache_endpoint": "127.0.0.1", "port": cache.port, "cluster_mode": False, "app_user_name": USER,
            "replication_group_id": "prod-cache", "region": "us-east-1", "local": {"ca_file": str(cache.front.ca_file)},
        }  # fmt: skip
        file.write_text(json.dumps(outputs))

        code, out, err = warm("score", "--outputs", str(file))

    assert (code, err) == (0, "")
    assert out.startswith("30 scores for 10 users in ")
    without_keys(monkeypatch)
    code, _, err = warm("score", "--outputs", str(file))
    assert (code, err.startswith("warm_popular_jobs: no AWS credentials")) == (2, True)
    file.write_text(json.dumps({name: value for name, value in outputs.items() if name != "app_user_name"}))
    assert warm("score", "--outputs", str(file))[0::2] == (
        2,
        f"warm_popular_jobs: --outputs {file} lacks app_user_name.\n",
    )


def test_the_next_process_knows_what_the_one_before_has_warmed(
    warm: Any, raw: redis.Redis, database: sqlalchemy.Engine
) -> None:
    warm()
    with database.connect() as connection:
        connection.exec_driver_sql("INSERT INTO job_views VALUES (4, now())")

    counts = json.loads(warm("score", "--json")[1])["counts"]
    assert (counts["users_due"], counts["users_read"], counts["computed"]) == (10, 0, 10)

    raw.delete(keys.WARMED_LISTS)
    raw.hdel("job:generations", "1")
    counts = json.loads(warm("score", "--json")[1])["counts"]
    assert (counts["users_read"], counts["computed"]) == (10, 10)


def test_a_dry_run_says_what_there_is_to_do_and_changes_nothing(warm: Any, raw: redis.Redis) -> None:
    code, out, _ = warm("score", "--dry-run")

    assert (code, out.partition(".")[0]) == (
        0,
        "30 scores to compute for 10 users (10 active users, 3 popular jobs)",
    )
    assert raw.dbsize() == 0
    warm()
    assert warm("score", "--dry-run")[1].startswith("0 scores to compute for 0 users")


def test_a_user_whose_scores_fail_is_skipped_counted_and_shown(warm: Any, cache: CacheService) -> None:
    code, out, err = warm("fails_for_some")

    assert code == 0
    assert "21 scores" in out
    assert "3 users skipped, the function failed" in out
    assert "user 7 was skipped: LookupError: no preferences" in err
    assert "user 8 was skipped: UncacheableError: " in err
    assert "user 6 was skipped: TypeError: the function gave NoneType" in err
    assert cache.get_match_score(9, 1) == {"score": 9}
    assert warm()[1].startswith("9 scores for 3 users")


def test_a_function_that_fails_for_everybody_is_an_error(warm: Any) -> None:
    code, out, _ = warm("fails")

    assert code == 1
    assert "10 users skipped" in out


def test_a_killed_run_is_taken_up_where_it_was(
    warm: Any, raw: redis.Redis, database: sqlalchemy.Engine, tmp_path: Path
) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO users SELECT n, now() - n * interval '1 s' FROM generate_series(11, 2500) n"
        )
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "own_scores:killed_at_user_1", "--scores-per-second", "0"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    while raw.exists(keys.lease(keys.WARMING_RUN)):  # it runs out by itself
        time.sleep(0.05)

    summary = json.loads(warm("score", "--json")[1])

    assert summary["resumed"]
    assert summary["total_users"] == summary["counts"]["users"] == 500  # 2,000 were one page
    assert summary["counts"]["computed"] >= 3 * 20  # the chunk that it was killed in
    assert not raw.exists(keys.WARMING_RUN)


def test_of_two_at_once_one_does_the_work(
    cache: CacheService, valkey: Valkey, postgres: Postgres, database: sqlalchemy.Engine
) -> None:
    fill(database, 10)
    tried: list[Any] = []

    def score(user: int, jobs: list[int]) -> dict[int, dict[str, Any]]:
        if not tried:
            with closing(CacheService.from_url(valkey.url)) as other:
                with pytest.raises(AlreadyRunningError):
                    Run(other, source, score).run()
                tried.append(user)
        return {job: {"score": 1} for job in jobs}

    with PostgresSource(postgres.url) as source:
        summary = Run(cache, source, score).run()

    assert len(tried) == 1
    assert summary.counts.computed == 30


def test_a_run_that_leaves_the_work_to_another_says_so(warm: Any, cache: CacheService) -> None:
    token = cache.run(cache.flows.take_turn(keys.WARMING_RUN))
    assert isinstance(token, bytes)

    code, out, err = warm("score", "--json")

    assert (code, err) == (0, "Another process is warming; it does the work of this one too.\n")
    assert json.loads(out)["left_to_another_run"] is True
    assert json.loads(out)["counts"]["computed"] == 0
    cache.run(cache.flows.end_turn(keys.WARMING_RUN, token))
    assert json.loads(warm("score", "--json")[1])["left_to_another_run"] is False


def test_a_database_that_goes_away_in_the_middle_ends_the_run_with_one_sentence(cache: CacheService) -> None:
    with Postgres() as database:
        engine = sqlalchemy.create_engine(database.url, isolation_level="AUTOCOMMIT")
        fill(engine, 2_500)
        engine.dispose()

        def score(user: int, jobs: list[int]) -> dict[int, dict[str, Any]]:
            if user == 2_500:
                database.stop()
            return {job: {"score": 1} for job in jobs}

        with PostgresSource(database.url) as source:
            run = Run(cache, source, score, scores_per_s=None)
            with pytest.raises(module.WarmingError, match="PostgreSQL does not answer the query"):
                run.run()

    assert run.summary.counts.computed == 2_000 * len(JOBS)


def test_a_cache_that_goes_away_in_the_middle_ends_the_run_soon(
    postgres: Postgres, database: sqlalchemy.Engine
) -> None:
    fill(database, 2_500)
    asked: list[int] = []
    with Valkey() as server, closing(CacheService.from_url(server.url)) as cache:

        def score(user: int, jobs: list[int]) -> dict[int, dict[str, Any]]:
            asked.append(user)
            if len(asked) == 100:
                server.stop()
            return {job: {"score": 1} for job in jobs}

        with PostgresSource(postgres.url) as source:
            run = Run(cache, source, score, scores_per_s=None)
            with pytest.raises(module.WarmingError, match="The cache does not answer any more"):
                run.run()

    assert len(asked) <= 100 + CHUNKS_AT_ONCE * CHUNK_USERS  # those that were under way
    assert run.summary.counts.users_unanswered > 0


def test_the_rate_is_kept_and_not_saved_up(
    cache: CacheService, postgres: Postgres, database: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 60)
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(module, "time", type("Time", (), {"monotonic": lambda: now[0], "sleep": sleep}))

    def score(user: int, jobs: list[int]) -> dict[int, dict[str, Any]]:
        if user == 30:
            now[0] += 100
        return {job: {"score": 1} for job in jobs}

    with PostgresSource(postgres.url) as source:
        Run(cache, source, score, jobs=3, scores_per_s=30).run()

    assert slept == pytest.approx(58 * [0.1])  # each user's three scores, but for the one that took 100 s


def test_progress_tells_of_all_users(cache: CacheService, postgres: Postgres, database: sqlalchemy.Engine) -> None:
    fill(database, 2 * CHUNK_USERS + 1)
    seen: list[tuple[int, int]] = []

    def progress(summary: Summary) -> None:
        seen.append((summary.counts.users, summary.total_users))

    with PostgresSource(postgres.url) as source:
        Run(cache, source, lambda user, jobs: {}, scores_per_s=None, progress=progress).run()

    assert len(seen) == 3
    assert seen == sorted(seen)
    assert seen[-1] == (2 * CHUNK_USERS + 1, 2 * CHUNK_USERS + 1)


def test_the_summary_goes_to_statsd(warm: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        agent.settimeout(30)
        warm("score", "--statsd", f"127.0.0.1:{agent.getsockname()[1]}")
        received = agent.recv(65_535).decode()

    assert "roleferry.cache.warming.computed:30.0|g" in received
    assert "roleferry.cache.warming.failed_users:0.0|g" in received


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["nowhere:score"], {}, "'nowhere:score' cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        (["broken_scores:score"], {}, "'broken_scores:score' cannot be imported: ValueError: no settings"),
        ([".own_scores:score"], {}, "'.own_scores:score' cannot be imported"),
        (["own_scores"], {}, "'own_scores' is no function. Give it as module:function."),
        (["own_scores:none"], {}, "'own_scores:none' is no function"),
        (["own_scores:score"], {"DATABASE_URL": ""}, "DATABASE_URL is not set."),
        (["own_scores:score"], {"DATABASE_URL": "mysql://u:secret@h/d"}, "begins with 'mysql'; it must be postgresql."),
        (["own_scores:score"], {"CACHE_URL": "http://host"}, "CACHE_URL cannot be used: Redis URL must specify one of"),
        (["own_scores:score"], {"CACHE_URL": "redis://u:12#secret@host"}, "CACHE_URL cannot be used: the URL"),
        (["own_scores:score", "--scores-per-second", "-1"], {}, "--scores-per-second must be a number from 0."),
        (["own_scores:score", "--scores-per-second", "nan"], {}, "--scores-per-second must be a number from 0."),
        (["own_scores:score", "--layout", "list"], {}, "layout 'list' is unknown. Known: hash, keys."),
        (["own_scores:score", "--job-invalidation", "x"], {}, "job_invalidation 'x' is unknown. Known: exact, ttl."),
        (["own_scores:score", "--statsd", "host"], {}, "--statsd 'host' must look like 127.0.0.1:8125."),
        (["own_scores:score", "--statsd", "host:99999"], {}, "--statsd 'host:99999' must look like 127.0.0.1:8125."),
        (["own_scores:score", "--queries", "nowhere.toml"], {}, "nowhere.toml"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    warm: Any,
    arguments: list[str],
    variables: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert main(arguments) == 2

    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert "secret" not in error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[jobs]\nname = "x"', "[jobs] takes job_id, sql, table, viewed_at, each a text."),
        ('[users]\nsql = "SELECT 1"\ntable = "x"', "[users] takes either sql or names."),
        ("[jobs]\ntable = 5", "[jobs] takes job_id, sql, table, viewed_at, each a text."),
        ("[people]", "people is unknown. Known: [jobs], [users]."),
        ("nonsense", "Expected '='"),
    ],
)
def test_a_file_of_queries_is_checked(warm: Any, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "queries.toml").write_text(text)

    code, _, err = warm("score", "--queries", str(tmp_path / "queries.toml"))

    assert code == 2
    assert said in err


def test_queries_of_one_s_own_are_used(warm: Any, tmp_path: Path) -> None:
    (tmp_path / "queries.toml").write_text(
        '[jobs]\nsql = "SELECT 77 WHERE CAST(:since AS timestamptz) < now() LIMIT :limit"\n'
        '[users]\nlast_seen = "last_login"'
    )

    assert warm("score", "--queries", str(tmp_path / "queries.toml"))[1].startswith("10 scores for 10 users")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[jobs]\nsql = \"SELECT 'x' WHERE CAST(:since AS timestamptz) < now() LIMIT :limit\"", "whole numbers"),
        (
            '[users]\nsql = "SELECT 1 WHERE CAST(:last_seen AS timestamptz) < now() AND :user_id < 0 LIMIT :limit"',
            "rows of a user id and a timestamptz",
        ),
    ],
)
def test_rows_of_another_shape_end_the_run_with_one_sentence(warm: Any, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "queries.toml").write_text(text)

    code, _, err = warm("score", "--queries", str(tmp_path / "queries.toml"))

    assert (code, len(err.splitlines())) == (1, 1)
    assert said in err


@pytest.mark.parametrize("away", ["CACHE_URL", "DATABASE_URL"])
def test_what_is_away_at_the_start_is_named(warm: Any, away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"CACHE_URL": "redis://127.0.0.1:1", "DATABASE_URL": "postgresql://user:secret@127.0.0.1:1/name"}
    monkeypatch.setenv(away, gone[away])

    code, out, err = warm()

    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "The cache does not answer" in err if away == "CACHE_URL" else "PostgreSQL does not answer" in err
    assert "secret" not in err
