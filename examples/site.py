"""The application: each page, and what it asks the cache for."""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Self

import prometheus_client
import sqlalchemy
from fastapi import Cookie, Depends, FastAPI, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.dialects.postgresql import JSONB

from cache import MISS
from cache.enrichment import Companies, EnrichmentUnavailableError
from cache.metrics import Publisher
from cache.metrics.prometheus import Prometheus
from cache.middleware import AsgiCacheMetrics
from cache.warming.postgres import VIEWS_WITHIN, Jobs
from cache.warming.run import POPULAR_JOBS
from examples import scores

if TYPE_CHECKING:
    from cache import CacheService
    from cache.enrichment import Provider

COOKIE = "session"
_IS_USER = re.compile(r"[0-9]{1,18}").fullmatch
_POPULAR_FOR_S = 60
_text = sqlalchemy.text
_LOGIN = _text(
    "INSERT INTO sessions VALUES (:user, :token, now()) "
    "ON CONFLICT (user_id) DO UPDATE SET token = excluded.token, started_at = excluded.started_at"
)
_SESSION = _text("SELECT token FROM sessions WHERE user_id = :user AND started_at > now() - interval '8 hours'")
_JOB = _text(
    "SELECT title, company_id, domain FROM jobs JOIN companies ON companies.id = company_id WHERE jobs.id = :job"
)
_VIEW = _text("INSERT INTO job_views (job_id, user_id) VALUES (:job, :user)")
_SAVE = _text(
    "INSERT INTO preferences VALUES (:user, :data) ON CONFLICT (user_id) DO UPDATE SET data = excluded.data"
).bindparams(sqlalchemy.bindparam("data", type_=JSONB))


class Preferences(BaseModel):
    """What a user may say of the jobs that are wanted: numbers of skills, and a salary a year."""

    model_config = ConfigDict(extra="forbid")
    skills: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(max_length=100)
    salary: int = Field(ge=1, le=10_000_000)


class Site:
    """`with Site(engine, cache, provider) as site:`; `site.app` is the ASGI application.

    Everything in the cache has its truth in the database, sessions too: a cache that is gone makes pages slower, and
    fails none. `cache` and `engine` are the caller's to close.
    """

    def __init__(self, engine: sqlalchemy.Engine, cache: CacheService, provider: Provider) -> None:
        self._engine = engine
        self._cache = cache
        self._companies = Companies(cache, provider)
        self._registry = prometheus_client.CollectorRegistry()
        self._publisher = Publisher(cache, [Prometheus(self._registry)])
        self.app = FastAPI(title="RoleFerry, a small example")
        self.app.add_middleware(AsgiCacheMetrics, requests=self._publisher.requests)
        self._declare_pages()

    def __enter__(self) -> Self:
        self._publisher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._publisher.close()

    # -- who is there ------------------------------------------------------------------------------------------

    def login(self, user_id: int, response: Response) -> dict[str, Any]:
        """The example knows no passwords."""
        session = {"token": secrets.token_urlsafe(16)}
        with self._engine.begin() as connection:
            known = connection.execute(_text("UPDATE users SET last_login = now() WHERE id = :user"), {"user": user_id})
            if not known.rowcount:
                raise HTTPException(404, f"There is no user {user_id}.")
            connection.execute(_LOGIN, {"user": user_id, "token": session["token"]})
        self._cache.start_session(user_id, session)
        response.set_cookie(COOKIE, f"{user_id}.{session['token']}", httponly=True, samesite="strict")
        return {"user_id": user_id}

    def user(self, session: Annotated[str | None, Cookie()] = None) -> int:
        """The user who is signed in: asked of the cache by every page, and of the database where the cache has none.

        What the database knew is not written back: the user may sign out between that read and the write.
        """
        number, _, token = (session or "").partition(".")
        if not _IS_USER(number):
            raise HTTPException(401, "Sign in first.")
        user_id = int(number)
        stored = self._cache.get_session(user_id, default=MISS)
        if stored is MISS:
            with self._engine.connect() as connection:
                stored = {"token": connection.scalar(_SESSION, {"user": user_id}) or ""}
        if not stored["token"] or not hmac.compare_digest(stored["token"].encode(), token.encode()):
            raise HTTPException(401, "Sign in first.")
        return user_id

    def logout(self, user_id: int) -> None:
        with self._engine.begin() as connection:
            connection.execute(_text("DELETE FROM sessions WHERE user_id = :user"), {"user": user_id})
        self._cache.end_session(user_id)

    # -- pages -------------------------------------------------------------------------------------------------

    def jobs(self, user_id: int) -> list[dict[str, Any]]:
        """The popular jobs, the best for this user first."""
        popular = self._cache.get_with_lock("report:popular-jobs", self._popular, _POPULAR_FOR_S)
        found = self._scores(user_id, popular)
        best = sorted(found, key=lambda job_id: -found[job_id]["score"])
        return [{"job_id": job_id, **found[job_id]} for job_id in best]

    def job(self, user_id: int, job_id: int) -> dict[str, Any]:
        with self._engine.begin() as connection:
            row = connection.execute(_JOB, {"job": job_id}).one_or_none()
            if row is None:
                raise HTTPException(404, f"There is no job {job_id}.")
            connection.execute(_VIEW, {"job": job_id, "user": user_id})
        try:
            company = self._companies.get(row.company_id, row.domain)
        except EnrichmentUnavailableError:
            company = None  # the page does without
        return {"title": row.title, "company": company, "score": self._scores(user_id, [job_id])[job_id]}

    def preferences(self, user_id: int) -> dict[str, Any]:
        found: dict[str, Any] = self._cache.get_ijp(user_id, lambda: scores.load_preferences(self._engine, user_id))
        return found

    def change_preferences(self, user_id: int, data: dict[str, Any]) -> None:
        def save() -> None:
            with self._engine.begin() as connection:
                connection.execute(_SAVE, {"user": user_id, "data": data})

        self._cache.update_ijp(user_id, data, save=save)

    def _scores(self, user_id: int, job_ids: list[int]) -> dict[int, Any]:
        def compute(missing: list[int]) -> dict[int, Any]:
            return scores.calculate(self._engine, self.preferences(user_id), missing)

        return self._cache.match_scores(user_id, job_ids, compute)

    def _popular(self) -> list[int]:
        since = datetime.now(UTC) - VIEWS_WITHIN
        with self._engine.connect() as connection:
            return list(connection.scalars(Jobs().query(), {"since": since, "limit": POPULAR_JOBS}))

    # -- addresses ---------------------------------------------------------------------------------------------

    def _declare_pages(self) -> None:
        app, signed_in = self.app, Depends(self.user)
        app.post("/login/{user_id}")(self.login)

        @app.post("/logout")
        def logout(user: int = signed_in) -> None:
            self.logout(user)

        @app.get("/jobs")
        def jobs(user: int = signed_in) -> list[dict[str, Any]]:
            return self.jobs(user)

        @app.get("/jobs/{job_id}")
        def job(job_id: int, user: int = signed_in) -> dict[str, Any]:
            return self.job(user, job_id)

        @app.get("/preferences")
        def preferences(user: int = signed_in) -> dict[str, Any]:
            return self.preferences(user)

        @app.put("/preferences")
        def change_preferences(data: Preferences, user: int = signed_in) -> None:
            self.change_preferences(user, data.model_dump())

        @app.get("/metrics")
        def metrics() -> Response:
            page = prometheus_client.generate_latest(self._registry)
            return Response(page, media_type=prometheus_client.CONTENT_TYPE_LATEST)
