"""Everything that the example needs, on this machine: database, cache, enrichment stand-in, and the application."""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy
import uvicorn

from cache.enrichment import Clearbit
from examples.seed import seed
from examples.site import Site
from local.clearbit import ClearbitServer
from local.errors import LocalError
from local.postgres import Postgres
from local.valkey import HOST, Valkey, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from cache import CacheService

# What a call to the real API takes, roughly.
CLEARBIT_LATENCY_S = 0.2


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses of what runs, and the engine of the seeded database."""

    engine: sqlalchemy.Engine
    database_url: str
    cache_url: str
    clearbit_url: str


@contextmanager
def servers(*, users: int, jobs: int, companies: int) -> Iterator[Servers]:
    """A seeded database, an empty cache, and the stand-in."""
    with Postgres() as postgres, Valkey() as valkey, ClearbitServer(latency_s=CLEARBIT_LATENCY_S) as clearbit:
        engine = sqlalchemy.create_engine(postgres.url, pool_size=20)
        try:
            seed(engine, users=users, jobs=jobs, companies=companies)
            yield Servers(engine, postgres.url, valkey.url, clearbit.url)
        finally:
            engine.dispose()


@contextmanager
def application(running: Servers, cache: CacheService, *, port: int | None = None) -> Iterator[str]:
    """The application on these servers; gives its URL, and closes `cache` at the end."""
    with (
        closing(cache),
        Clearbit("the-stand-in-takes-any-key", url=running.clearbit_url) as provider,
        Site(running.engine, cache, provider) as site,
        serve(site.app, port=port) as url,
    ):
        yield url


@contextmanager
def serve(app: FastAPI, *, port: int | None = None) -> Iterator[str]:
    """Serves an application on 127.0.0.1, in a thread; gives its URL. Raises LocalError for a port that is in use."""
    port = port or free_port()
    server = _Server(uvicorn.Config(app, host=HOST, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    server.has_started.wait()
    if not server.started:
        thread.join()
        raise LocalError(f"port {port} of {HOST} cannot be had; is something else using it?")
    try:
        yield f"http://{HOST}:{port}"
    finally:
        server.should_exit = True
        thread.join()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_started = threading.Event()

    def run(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        with suppress(SystemExit):  # it could not start: `started` says so
            super().run(sockets)  # type: ignore[arg-type]

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        try:
            await super().startup(sockets)  # type: ignore[arg-type]
        finally:
            self.has_started.set()
