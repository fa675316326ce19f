"""Fill a PostgreSQL database with the example's data set: users, companies, jobs, views and preferences.

Drops the example's own tables first. Three of four users were seen in the last seven days; views of jobs follow a power
law, as clicks do. The same sizes give the same data, but for the hour.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

SKILLS = 40
_SCHEMA = Path(__file__).with_name("schema.sql")
_DATA = (
    """INSERT INTO users SELECT n, 'User ' || n, now() - random() ^ 4 * interval '22 days'
       FROM generate_series(1, :users) n""",
    """INSERT INTO companies
       SELECT n, CASE WHEN random() < 0.05 THEN 'unknown-' ELSE 'company-' END || n || '.example.com'
       FROM generate_series(1, :companies) n""",
    """INSERT INTO jobs
       SELECT n, 1 + mod(n, :companies), 'Job ' || n,
              ARRAY(SELECT 1 + floor(random() * :skills)::int FROM generate_series(1, 5) WHERE n > 0),
              40000 + 1000 * floor(random() * 60)::int
       FROM generate_series(1, :jobs) n""",
    """INSERT INTO preferences
       SELECT n, jsonb_build_object(
           'skills', ARRAY(SELECT 1 + floor(random() * :skills)::int FROM generate_series(1, 8) WHERE n > 0),
           'salary', 40000 + 1000 * floor(random() * 60)::int)
       FROM generate_series(1, :users) n""",
    # A random number to a high power is small as a rule: the first jobs have most views.
    """INSERT INTO job_views
       SELECT 1 + floor(random() ^ 5 * :jobs)::bigint, 1 + floor(random() * :users)::bigint,
              now() - random() * interval '3 days'
       FROM generate_series(1, 10 * :users)""",
)


def seed(engine: sqlalchemy.Engine, *, users: int, jobs: int, companies: int) -> None:
    """Raises SQLAlchemyError."""
    sizes = {"users": users, "jobs": jobs, "companies": companies, "skills": SKILLS}
    with engine.begin() as connection:
        connection.exec_driver_sql(_SCHEMA.read_text())
        connection.exec_driver_sql("SELECT setseed(0.5)")  # the same sizes, the same data
        for statement in _DATA:
            connection.execute(sqlalchemy.text(statement), sizes)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.seed", description=__doc__)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--companies", type=int, default=5_000)
    parser.epilog = "The database is the one that DATABASE_URL names, as postgresql+psycopg://user@host/name."
    options = parser.parse_args(argv)
    if min(options.users, options.jobs, options.companies) < 1:
        print("--users, --jobs and --companies must be at least 1.", file=sys.stderr)
        return 2
    if not (url := os.environ.get("DATABASE_URL")):
        print("Set DATABASE_URL, such as postgresql+psycopg://user@host/name.", file=sys.stderr)
        return 2
    began = time.monotonic()
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        seed(engine, users=options.users, jobs=options.jobs, companies=options.companies)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        print(f"The database cannot be filled: {reason}. DATABASE_URL names it.", file=sys.stderr)
        return 2
    sizes = f"{options.users:,} users, {options.jobs:,} jobs, {options.companies:,} companies"
    print(f"{sizes}, {10 * options.users:,} views in {time.monotonic() - began:.1f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
