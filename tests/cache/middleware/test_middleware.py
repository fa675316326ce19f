"""`X-Cache-Hit` and the request counts, through real applications on a real cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from flask import Flask

from cache import AsyncCacheService
from cache.metrics import RequestTally
from cache.middleware import AsgiCacheMetrics, WsgiCacheMetrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import redis

    from cache import CacheService
    from local.valkey import Valkey


HEADER = "x-cache-hit"


class Site:
    """A FastAPI application that looks up what the path says."""

    def __init__(self, url: str) -> None:
        self.cache = AsyncCacheService.from_url(url)
        self.requests = RequestTally()
        self.may_go_on = asyncio.Event()
        self.waiting = 0
        self.background_done = asyncio.Event()
        app = FastAPI()
        app.add_middleware(AsgiCacheMetrics, requests=self.requests)
        router = APIRouter(prefix="/jobs")
        router.get("/{job_id}")(self.job)
        app.include_router(router)
        sub = FastAPI()
        sub.get("/reports/{name}")(self.nothing)
        app.mount("/admin", sub)
        app.mount("/tenants/{tenant}", sub)
        app.get("/nothing")(self.nothing)
        app.get("/later")(self.later)
        app.get("/stream")(self.stream)
        app.get("/broken")(self.broken)
        self.app = app

    async def get(self, path: str) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)

    async def look_up(self, job_id: int) -> object:
        async def compute(jobs: list[int]) -> dict[int, dict[str, Any]]:
            return {job: {"score": 1} for job in jobs}

        return await self.cache.match_scores(1234, [job_id], compute)

    async def job(self, job_id: int, other: int | None = None, *, meet: bool = False) -> object:
        if meet:  # both are in flight before either looks anything up
            self.waiting += 1
            if self.waiting == 2:
                self.may_go_on.set()
            await self.may_go_on.wait()
        found = await asyncio.create_task(self.look_up(job_id))  # a task of the request counts for it
        if other is not None:
            await self.look_up(other)
        return found

    def nothing(self) -> None:
        return None

    async def later(self, tasks: BackgroundTasks) -> None:
        tasks.add_task(self.look_up, 999)
        tasks.add_task(self.background_done.set)

    async def stream(self) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            await self.look_up(998)
            yield "x"

        return StreamingResponse(body())

    async def broken(self) -> None:
        await self.look_up(997)
        raise RuntimeError("no page")


@pytest.fixture
def visit(server: Valkey, client: redis.Redis) -> Callable[[Callable[[Site], Awaitable[None]]], None]:
    def run(visits: Callable[[Site], Awaitable[None]]) -> None:
        async def main() -> None:
            site = Site(server.socket_url)
            try:
                await visits(site)
            finally:
                await site.cache.close()

        asyncio.run(main())

    return run


def test_a_request_is_a_hit_if_every_lookup_was(visit: Any) -> None:
    async def visits(site: Site) -> None:
        first = await site.get("/jobs/1")
        second = await site.get("/jobs/1")
        mixed = await site.get("/jobs/1?other=2")

        assert [response.headers[HEADER] for response in (first, second, mixed)] == ["", "1", ""]
        assert site.requests.take() == {("miss", "/jobs/{job_id}"): 2, ("hit", "/jobs/{job_id}"): 1}

    visit(visits)


def test_a_request_without_lookups_has_no_header(visit: Any) -> None:
    async def visits(site: Site) -> None:
        assert HEADER not in (await site.get("/nothing")).headers
        assert site.requests.take() == {("none", "/nothing"): 1}

    visit(visits)


def test_requests_at_once_do_not_count_for_each_other(visit: Any) -> None:
    async def visits(site: Site) -> None:
        await site.get("/jobs/1")

        hit, miss = await asyncio.gather(site.get("/jobs/1?meet=true"), site.get("/jobs/2?meet=true"))

        assert (hit.headers[HEADER], miss.headers[HEADER]) == ("1", "")

    visit(visits)


def test_what_comes_after_the_response_began_counts_for_no_request(visit: Any) -> None:
    async def visits(site: Site) -> None:
        later = await site.get("/later")
        await site.background_done.wait()
        stream = await site.get("/stream")

        assert HEADER not in later.headers
        assert HEADER not in stream.headers
        assert site.requests.take() == {("none", "/later"): 1, ("none", "/stream"): 1}

    visit(visits)


def test_endpoints_are_templates_and_never_paths(visit: Any) -> None:
    async def visits(site: Site) -> None:
        for path in ("/admin/reports/may", "/tenants/7/reports/may", "/jobs/x", "/wp-login.php", "/broken"):
            await site.get(path)

        assert site.requests.take() == {
            ("none", "/admin/reports/{name}"): 1,
            ("none", "/reports/{name}"): 1,
            ("none", "/jobs/{job_id}"): 1,
            ("none", "unmatched"): 1,
            ("miss", "/broken"): 1,
        }

    visit(visits)


# -- WSGI -------------------------------------------------------------------------------------------------------


@pytest.fixture
def flask(cache: CacheService) -> Iterator[tuple[Any, RequestTally]]:
    app = Flask("test")
    requests = RequestTally()

    @app.get("/jobs/<int:job_id>")
    def job(job_id: int) -> dict[str, Any]:
        return {"scores": cache.match_scores(1234, [job_id], lambda jobs: {each: {"score": 1} for each in jobs})}

    @app.get("/nothing")
    def nothing() -> str:
        return ""

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("no page")

    app.wsgi_app = WsgiCacheMetrics(app.wsgi_app, requests)  # type: ignore[method-assign]
    app.config["PROPAGATE_EXCEPTIONS"] = True
    with app.test_client() as visitor:
        yield visitor, requests


def test_flask_requests_are_told_and_counted_the_same_way(flask: tuple[Any, RequestTally]) -> None:
    visitor, requests = flask

    headers = [visitor.get(path).headers.get(HEADER) for path in ("/jobs/1", "/jobs/1", "/nothing", "/wp-login.php")]
    with pytest.raises(RuntimeError):
        visitor.get("/broken")

    assert headers == ["", "1", None, None]
    assert requests.take() == {
        ("miss", "/jobs/<int:job_id>"): 1,
        ("hit", "/jobs/<int:job_id>"): 1,
        ("none", "/nothing"): 1,
        ("none", "unmatched"): 2,  # an error that passes through Flask has forgotten its route
    }


@pytest.mark.parametrize("requests", [RequestTally(), None], ids=["counted", "not counted"])
def test_a_response_that_starts_again_with_an_error_is_one_request(requests: RequestTally | None) -> None:
    started = []

    def app(environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        start("500 Internal Server Error", [], (None, None, None))
        return []

    WsgiCacheMetrics(app, requests)({}, lambda status, headers, *error: started.append(status))  # type: ignore[arg-type]

    assert started == ["200 OK", "500 Internal Server Error"]
    assert requests is None or requests.take() == {("none", "unmatched"): 1}
