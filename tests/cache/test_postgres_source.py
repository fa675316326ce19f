"""The two queries of warming on a real PostgreSQL, with the indexes that docs/warming.md asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy

from cache.warming.postgres import Jobs, PostgresSource, Users
from cache.warming.run import ActiveUser, WarmingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.postgres import Postgres

WEEK = timedelta(days=7)
# 30 days of views of 10,000 jobs; a tenth of the users seen in the last week.
TABLES = """
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, last_login timestamptz NOT NULL);
CREATE TABLE job_views (job_id bigint NOT NULL, user_id bigint NOT NULL, viewed_at timestamptz NOT NULL);
INSERT INTO users
SELECT n, 'user ' || n, now() - mod(n * 7919, {users}) * interval '70 days' / {users}
FROM generate_series(1::bigint, {users}) n;
INSERT INTO job_views
SELECT 1 + mod(n * n, 9973), n, now() - n * interval '30 days' / {users} FROM generate_series(1::bigint, {users}) n;
CREATE INDEX users_last_login ON users (last_login, id);
CREATE INDEX job_views_viewed_at ON job_views (viewed_at, job_id);
"""


def fill(database: sqlalchemy.Engine, users: int) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql(TABLES.format(users=users))
        connection.exec_driver_sql("VACUUM ANALYZE")


@pytest.fixture
def source(postgres: Postgres) -> Iterator[PostgresSource]:
    with PostgresSource(postgres.url) as source:
        yield source


def plan(database: sqlalchemy.Engine, query: Any, **parameters: object) -> list[dict[str, Any]]:
    """The nodes of the plan that the server chose, with what each really read."""
    compiled = query.compile(dialect=database.dialect)
    with database.connect() as connection:
        answer = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}", parameters).scalar()
    assert isinstance(answer, list)
    return list(_nodes(answer[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def check_plans(database: sqlalchemy.Engine, users: int) -> None:
    """Each query reads what it needs, from its index, whatever the tables' size."""
    now = datetime.now(UTC)
    jobs = plan(database, Jobs().query(), since=now - timedelta(days=1), limit=100)
    middle = plan(database, Users().query(), last_seen=now - timedelta(days=3), user_id=users // 2, limit=2_000)

    scans = [node for node in (*jobs, *middle) if "Scan" in node["Node Type"]]
    assert [(node["Node Type"], node["Index Name"]) for node in scans] == [
        ("Index Only Scan", "job_views_viewed_at"),
        ("Index Only Scan", "users_last_login"),
    ]
    assert scans[0]["Actual Rows"] <= users / 30 + 1
    assert scans[1]["Actual Rows"] == 2_000
    assert not any(node["Node Type"] == "Sort" for node in middle)


def test_both_queries_read_from_their_index_and_no_more_than_they_need(database: sqlalchemy.Engine) -> None:
    """`python -m tests.cache.test_postgres_source` does the same at a million users."""
    fill(database, 50_000)

    check_plans(database, 50_000)


def test_active_users_come_page_by_page_each_once(database: sqlalchemy.Engine, source: PostgresSource) -> None:
    fill(database, 50_000)
    since = datetime.now(UTC) - WEEK

    pages = list(source.pages(since, None))

    users = [user.user_id for page in pages for user in page]
    assert len(users) == len(set(users)) == source.count_users(since, None) == pytest.approx(5_000, abs=2)
    assert max(map(len, pages)) == 2_000
    assert all(user.last_seen > since for page in pages for user in page)
    behind = [user.user_id for page in source.pages(since, pages[0][-1]) for user in page]
    assert behind == users[2_000:]


def test_popular_jobs_are_those_of_the_last_day(database: sqlalchemy.Engine, source: PostgresSource) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql(TABLES.format(users=1))
        connection.exec_driver_sql(
            "TRUNCATE job_views; INSERT INTO job_views SELECT job, 1, now() - age FROM (VALUES "
            "(7, interval '1 hour'), (7, '2 hours'), (8, '1 hour'), (9, '25 hours'), (9, '26 hours'), (9, '27 hours')"
            ") AS seen (job, age)"
        )

    assert source.popular_jobs(100) == [7, 8]
    assert source.popular_jobs(1) == [7]


def test_names_of_tables_and_columns_are_the_application_s(database: sqlalchemy.Engine, postgres: Postgres) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql(
            'CREATE SCHEMA web; CREATE TABLE web."Clicks" (job bigint, "at" timestamptz); '
            'INSERT INTO web."Clicks" VALUES (5678, now()); CREATE TABLE web.people (person bigint, seen timestamptz); '
            "INSERT INTO web.people VALUES (1234, now())"
        )
    own = Jobs("web.Clicks", "job", "at"), Users("web.people", "person", "seen")

    with PostgresSource(postgres.url, jobs=own[0], users=own[1]) as source:
        assert source.popular_jobs(100) == [5678]
        assert [[user.user_id for user in page] for page in source.pages(datetime.now(UTC) - WEEK, None)] == [[1234]]


def test_queries_may_be_one_s_own(database: sqlalchemy.Engine, postgres: Postgres) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE featured (job bigint); INSERT INTO featured VALUES (3), (4)")
        connection.exec_driver_sql("CREATE TABLE seen (id bigint, at timestamptz); INSERT INTO seen VALUES (7, now())")
    with PostgresSource(
        postgres.url,
        jobs_sql="SELECT job FROM featured WHERE CAST(:since AS timestamptz) < now() ORDER BY job LIMIT :limit",
        users_sql="SELECT id, at FROM seen WHERE (at, id) > (:last_seen, :user_id) ORDER BY at, id LIMIT :limit",
    ) as source:
        assert source.popular_jobs(100) == [3, 4]
        assert [user.user_id for page in source.pages(datetime.now(UTC) - WEEK, None) for user in page] == [7]
        assert source.count_users(datetime.now(UTC), None) == 0


def test_a_query_of_one_s_own_that_does_not_go_on_ends_the_run(database: sqlalchemy.Engine, postgres: Postgres) -> None:
    stuck = "SELECT 7, CAST(:last_seen AS timestamptz) WHERE :user_id = :user_id LIMIT :limit"

    with (
        PostgresSource(postgres.url, users_sql=stuck) as source,
        pytest.raises(WarmingError, match="users_sql gave user 7 again"),
    ):
        list(source.pages(datetime.now(UTC) - WEEK, None))


@pytest.mark.parametrize("url", ["mysql://user:secret@host/name", "nonsense:secret"])
def test_a_url_of_something_else_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="database's URL") as refused:
        PostgresSource(url)

    assert "secret" not in str(refused.value)


def test_a_database_that_is_away_is_one_sentence() -> None:
    away = PostgresSource("postgresql://user:secret@127.0.0.1:1/name")

    with pytest.raises(WarmingError, match="PostgreSQL does not answer the query: connection") as raised:
        away.popular_jobs(100)

    assert "secret" not in str(raised.value)


def test_a_table_that_is_not_there_is_named(database: sqlalchemy.Engine, source: PostgresSource) -> None:
    with pytest.raises(WarmingError, match='relation "users" does not exist'):
        list(source.pages(datetime.now(UTC), ActiveUser(1, datetime.now(UTC))))


def main() -> None:
    """At a million users."""
    from local.postgres import Postgres

    with Postgres() as server:
        database = sqlalchemy.create_engine(server.url, isolation_level="AUTOCOMMIT")
        fill(database, 1_000_000)
        check_plans(database, 1_000_000)
        database.dispose()
    print("1,000,000 users: both queries read from their index alone.")  # noqa: T201


if __name__ == "__main__":
    main()
