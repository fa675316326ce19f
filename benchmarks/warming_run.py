"""How fast warming is, and what readers feel of it: `python -m benchmarks.warming_run [scores a second]`.

10,000 users x 100 jobs from a real PostgreSQL into a real Valkey, with a score function that costs nothing. Without a
bound, beside what the library writes when nothing else is done (`set_match_scores`, one user after the other), in
turns. Then list views of 100 scores by one reader, in turns alone and beside `scripts.warm_popular_jobs`, at its
default rate or the one given; reader, script and server are processes of their own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import redis
import sqlalchemy

from cache import CacheService
from cache.warming.postgres import PostgresSource
from cache.warming.run import SCORES_PER_S, Run
from local.postgres import Postgres
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS, JOBS = 10_000, 100
WRITE_ROUNDS, READ_ROUNDS = 3, 10
READ_FOR_S = 4.0
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


def warm(server: Valkey, database: Postgres) -> float:
    """Scores a second of one cold run without a bound."""
    with closing(CacheService.from_url(server.url)) as cache, PostgresSource(database.url) as source:
        summary = Run(cache, source, score, scores_per_s=None).run()
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


@contextmanager
def warming(server: Valkey, database: Postgres, rate: float) -> Iterator[None]:
    """The script, at work until the end. It does not come to its own end: there is more to do than time to read."""
    script = subprocess.Popen(  # noqa: S603
        [
            *(sys.executable, "-m", "scripts.warm_popular_jobs", "benchmarks.warming_run:score"),
            *("--scores-per-second", str(rate), "--json"),
        ],
        env=os.environ | {"CACHE_URL": server.url, "DATABASE_URL": database.url},
    )
    try:
        with redis.Redis(port=server.port) as raw:
            while not raw.exists(f"match:{USERS}"):  # the one seen longest ago is the first
                if script.poll() is not None:
                    raise RuntimeError("the warming script ended before it began")
                time.sleep(0.01)
        yield
    finally:
        script.kill()
        script.wait()


def p99(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98]


def main() -> int:
    rate = float(sys.argv[1]) if sys.argv[1:] else SCORES_PER_S
    with Valkey() as server, Postgres() as database, redis.Redis(port=server.port) as raw:
        engine = sqlalchemy.create_engine(database.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(TABLES)
        engine.dispose()
        writes, warmed = [], []
        for _ in range(WRITE_ROUNDS):
            raw.flushall()
            writes.append(write(server))
            raw.flushall()
            warmed.append(warm(server, database))
        alone, beside = [], []
        for _ in range(READ_ROUNDS):
            raw.flushall()
            alone.append(read(server))
            with warming(server, database, rate):
                beside.append(read(server))
    print(f"set_match_scores alone   {statistics.median(writes):>9,.0f} scores/s  n={WRITE_ROUNDS}")
    print(f"warming, unbounded       {statistics.median(warmed):>9,.0f} scores/s  n={WRITE_ROUNDS}")
    for what, rounds in (("alone", alone), (f"beside warming at {rate:,.0f}/s", beside)):
        p50 = statistics.median(map(statistics.median, rounds))
        print(f"a reader {what:32} p50 {p50:.3f} ms  p99 {statistics.median(map(p99, rounds)):.3f} ms  n={READ_ROUNDS}")
    ratios = [p99(busy) / p99(quiet) for quiet, busy in zip(alone, beside, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"p99 beside / alone, within a round: {middle:.2f} (middle half {low:.2f} to {high:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
