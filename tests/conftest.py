"""Real servers for the tests. A server that does not start fails the tests that need it; none is skipped."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest
import redis
import sqlalchemy

from cache import CacheService
from local.postgres import Postgres
from local.valkey import Valkey
from tests import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

START = 1_767_571_200
# Some tests interrupt a command: a shell that runs the suite in its background makes all of it deaf to that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The same examples every time, for as long as they take: what fails has failed because of a change.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True, database=None)
# `make soak`: others every time, for half an hour and more; where CI is set, Hypothesis would take the same ones.
hypothesis.settings.register_profile("soak", deadline=None, max_examples=100_000, derandomize=False, database=None)
hypothesis.settings.load_profile("steady")


class ManualClock:
    """The clock of library and server; both move together."""

    def __init__(self, server: Valkey) -> None:
        self._server = server
        self._now = START
        server.set_time(START)

    def now(self) -> float:
        return self._now

    def advance(self, seconds: int) -> None:
        self._now += seconds
        self._server.set_time(self._now)


@pytest.fixture
def deadline_s() -> float:
    """Of an operation. Longer than the library's, so that a busy machine is not taken for a server in trouble."""
    return patient.DEADLINE_S


@pytest.fixture(autouse=True)
def _deadline(deadline_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in patient.limits(deadline_s):
        monkeypatch.setattr(f"{module}.{name}", value)


@pytest.fixture(scope="session")
def server() -> Iterator[Valkey]:
    with Valkey(movable_clock=True, start_time=START) as running:
        yield running


@pytest.fixture
def client(server: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.socket_url) as connected:
        connected.flushall()
        connected.config_resetstat()
        yield connected


@pytest.fixture
def clock(server: Valkey, client: redis.Redis) -> ManualClock:
    return ManualClock(server)


@pytest.fixture(params=["hash", "keys"])
def cache(request: pytest.FixtureRequest, server: Valkey, clock: ManualClock) -> Iterator[CacheService]:
    service = CacheService.from_url(server.socket_url, layout=request.param, clock=clock, jitter=lambda: 0.0)
    yield service
    service.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture
def database(postgres: Postgres) -> Iterator[sqlalchemy.Engine]:
    """An empty database."""
    engine = sqlalchemy.create_engine(postgres.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS web CASCADE")
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    yield engine
    engine.dispose()
