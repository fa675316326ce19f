"""Popular jobs and active users from PostgreSQL: two queries on the application's own tables, each for an index."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy
from sqlalchemy import bindparam, column, func, select, table, text, tuple_
from sqlalchemy.exc import SQLAlchemyError

from cache.warming.run import ActiveUser, WarmingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnClause, ColumnElement, Executable

VIEWS_WITHIN: Final = timedelta(days=1)
_PAGE_USERS: Final = 2_000
_CONNECT_TIMEOUT_S: Final = 5
_STATEMENT_TIMEOUT_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Jobs:
    """The table of views, one row for each. A table may be written with its schema: `web.job_views`."""

    table: str = "job_views"
    job_id: str = "job_id"
    viewed_at: str = "viewed_at"

    def query(self) -> Executable:
        """The job ids of most views since `:since`, at most `:limit`. Index: (viewed_at, job_id)."""
        job: ColumnClause[Any] = column(self.job_id)
        viewed_at: ColumnClause[Any] = column(self.viewed_at)
        return (
            select(job)
            .select_from(_table(self.table))
            .where(viewed_at > bindparam("since"))
            .group_by(job)
            .order_by(func.count().desc(), job)
            .limit(bindparam("limit"))
        )


@dataclass(frozen=True, slots=True)
class Users:
    """The table of users, with the time when each was last seen (a `timestamptz`)."""

    table: str = "users"
    user_id: str = "id"
    last_seen: str = "last_login"

    def query(self) -> Executable:
        """(id, last seen) behind (`:last_seen`, `:user_id`), at most `:limit`. Index: (last_seen, user_id)."""
        user, seen = self._columns()
        page = select(user, seen).select_from(_table(self.table)).where(self._behind()).order_by(seen, user)
        return page.limit(bindparam("limit"))

    def count_query(self) -> Executable:
        """How many there are behind (`:last_seen`, `:user_id`), by the same index."""
        return select(func.count()).select_from(_table(self.table)).where(self._behind())

    def _columns(self) -> tuple[ColumnClause[Any], ColumnClause[Any]]:
        return column(self.user_id), column(self.last_seen)

    def _behind(self) -> ColumnElement[bool]:
        user, seen = self._columns()
        return tuple_(seen, user) > tuple_(bindparam("last_seen"), bindparam("user_id"))


class PostgresSource:
    """A source of `cache.warming.run` on any PostgreSQL. Reads pages of 2,000 users, and holds no transaction open.

    `jobs_sql` and `users_sql` are queries of one's own instead of the tables: with the parameters, the columns and the
    order of the two above.
    """

    def __init__(
        self,
        url: str,
        *,
        jobs: Jobs | None = None,
        users: Users | None = None,
        jobs_sql: str | None = None,
        users_sql: str | None = None,
    ) -> None:
        """Raises ValueError for a URL that is none of PostgreSQL's. Connects at the first query."""
        users = users or Users()
        self._jobs = (jobs or Jobs()).query() if jobs_sql is None else text(jobs_sql)
        self._users = users.query() if users_sql is None else text(users_sql)
        self._count = users.count_query() if users_sql is None else None
        self._engine = sqlalchemy.create_engine(
            _psycopg(url),
            pool_size=1,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_MS}",
            },
        )

    def __enter__(self) -> PostgresSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def popular_jobs(self, limit: int) -> list[int]:
        rows = self._rows(self._jobs, since=datetime.now(UTC) - VIEWS_WITHIN, limit=limit)
        if any(type(row[0]) is not int for row in rows):
            raise WarmingError("the query for jobs gave something else than whole numbers in its first column.")
        return [row[0] for row in rows]

    def count_users(self, since: datetime, after: ActiveUser | None) -> int:
        """How many there are; 0 where only a query of one's own could tell."""
        if self._count is None:
            return 0
        return int(self._rows(self._count, **_position(since, after))[0][0])

    def pages(self, since: datetime, after: ActiveUser | None) -> Iterator[list[ActiveUser]]:
        """By keyset and not by cursor: a run of minutes keeps no snapshot, and can go on after a kill."""
        while True:
            rows = self._rows(self._users, limit=_PAGE_USERS, **_position(since, after))
            if not rows:
                return
            page = [ActiveUser(*row) for row in rows if _is_user(row)]
            if len(page) < len(rows):
                raise WarmingError("the query for users gave something else than rows of a user id and a timestamptz.")
            if page[-1] == after:
                raise WarmingError(
                    f"users_sql gave user {after.user_id} again; it must give those behind :last_seen, :user_id."
                )
            yield page
            after = page[-1]

    def _rows(self, query: Executable, **parameters: object) -> Sequence[Any]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(query, parameters).all()
        except SQLAlchemyError as error:
            # The driver's words, without the statement and its parameters; a password is in neither.
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise WarmingError(f"PostgreSQL does not answer the query: {reason}.") from error


def _is_user(row: Sequence[Any]) -> bool:
    return len(row) == 2 and type(row[0]) is int and isinstance(row[1], datetime) and row[1].tzinfo is not None


def _position(since: datetime, after: ActiveUser | None) -> dict[str, object]:
    return (
        {"last_seen": since, "user_id": -1}
        if after is None
        else {"last_seen": after.last_seen, "user_id": after.user_id}
    )


def _table(name: str) -> sqlalchemy.TableClause:
    schema, _, own = name.rpartition(".")
    return table(own, schema=schema or None)


def _psycopg(url: str) -> sqlalchemy.URL:
    try:
        parsed = sqlalchemy.make_url(url)
    except SQLAlchemyError:
        raise ValueError("the database's URL cannot be read; it looks like postgresql://user@host/name.") from None
    if parsed.drivername not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ValueError(f"the database's URL begins with {parsed.drivername!r}; it must be postgresql.")
    return parsed.set(drivername="postgresql+psycopg")
