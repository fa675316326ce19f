"""How fast warming is, and what readers feel of it: `python -m benchmarks.warming_run`.

10,000 users x 100 jobs from a real PostgreSQL into a real Valkey, with a score function that costs nothing. Compared
with what the library writes when nothing else is done (`set_match_scores`, one user after the other), in turns. Then
list views of 100 scores by one reader of its own process, in turns with and without warming at its default rate.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import Any

import redis
import sqlalchemy

from cache import CacheService
from cache.warming.postgres import PostgresSource
from cache.warming.run import SCORES_PER_S, Run, Summary
from local.postgres import Postgres
from local.valkey import Valkey

USERS, JOBS, ROUNDS = 10_000, 100, 3
READ_FOR_S = 8.0
RECORD = {"score": 87.25, "skills": 80, "title": 70, "location": 60, "salary": 50, "seniority": 40, "at": 1_767_571_200}
TABLES = f"""
CREATE TABLE users (id bigint PRIMARY KEY, last_login timestamptz NOT NULL);
CREATE TABLE job_views (job_id bigint NOT NULL, viewed_at timestamptz NOT NULL);
CREATE INDEX ON users (last_login, id);
INSERT INTO users SELECT n, now() - n * interval '1 second' FROM generate_series(1, {USERS}) n;
INSERT INTO job_views SELECT n, now() FROM generate_series(1, {JOBS}) n;
"""  # noqa: S608
# Reads for a while at a steady pace and prints its latencies, in milliseconds. User 0 is not warmed by anybody.
READER = """
import sys, time
from cache import CacheService
cache = CacheService.from_url(sys.argv[1])
record = {"score": 1.5, "skills": 1, "title": 1, "location": 1, "salary": 1, "seniority": 1, "at": 1}
cache.set_match_scores(0, {job: record for job in range(100)})
sys.stdin.readline()
end, due = time.perf_counter() + float(sys.argv[2]), time.perf_counter()
while due < end:
    time.sleep(max(0.0, due - time.perf_counter()))
    began = time.perf_counter()
    assert len(cache.get_match_scores(0, range(100))) == 100
    print((time.perf_counter() - began) * 1000)
    due += 0.005
"""


def score(_user: int, jobs: list[int]) -> dict[int, dict[str, Any]]:
    return dict.fromkeys(jobs, RECORD)


def warm(server: Valkey, database: Postgres, rate: float | None) -> float:
    """Scores a second of one cold run."""
    with closing(CacheService.from_url(server.url)) as cache, PostgresSource(database.url) as source:
        summary = Run(cache, source, score, scores_per_s=rate).run()
    assert summary.counts.computed == USERS * JOBS
    return summary.counts.computed / summary.took_s


def write(server: Valkey) -> float:
    """Scores a second of `set_match_scores` alone."""
    scores = dict.fromkeys(range(1, JOBS + 1), RECORD)
    with closing(CacheService.from_url(server.url)) as cache:
        fences = {user: cache.fence(user, scores) for user in range(1, USERS + 1)}
        began = time.perf_counter()
        for user, fence in fences.items():
            cache.set_match_scores(user, scores, fence=fence)
        return USERS * JOBS / (time.perf_counter() - began)


def read(server: Valkey) -> list[float]:
    reader = subprocess.run(  # noqa: S603
        [sys.executable, "-c", READER, server.url, str(READ_FOR_S)],
        input="\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return [float(line) for line in reader.stdout.split()]


def read_while_warming(server: Valkey, database: Postgres) -> list[float]:
    is_over = threading.Event()

    def stop_when_over(_summary: Summary) -> None:
        if is_over.is_set():
            sys.exit()  # this thread alone

    def keep_warming() -> None:
        with closing(CacheService.from_url(server.url)) as cache, PostgresSource(database.url) as source:
            Run(cache, source, score, progress=stop_when_over).run()

    thread = threading.Thread(target=keep_warming)
    thread.start()
    latencies = read(server)
    is_over.set()
    thread.join()
    return latencies


def main() -> int:
    with Valkey() as server, Postgres() as database, redis.Redis(port=server.port) as raw:
        engine = sqlalchemy.create_engine(database.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(TABLES)
        engine.dispose()
        writes, warmed, quiet, busy = [], [], [], []
        for _ in range(ROUNDS):
            raw.flushall()
            writes.append(write(server))
            raw.flushall()
            warmed.append(warm(server, database, None))
            raw.flushall()
            quiet.append(read(server))
            busy.append(read_while_warming(server, database))
    print(f"set_match_scores alone   {statistics.median(writes):>9,.0f} scores/s  n={ROUNDS}")
    print(f"warming, unbounded       {statistics.median(warmed):>9,.0f} scores/s  n={ROUNDS}")
    for what, runs in (("alone", quiet), (f"beside warming at {SCORES_PER_S:,.0f}/s", busy)):
        p50, p99 = ([statistics.quantiles(run, n=100)[at] for run in runs] for at in (49, 98))
        print(
            f"a reader {what:32} p50 {statistics.median(p50):.3f} ms  p99 {statistics.median(p99):.3f} ms "
            f"(of {len(runs[0])} list views; p99 of each round {', '.join(f'{each:.2f}' for each in p99)})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
