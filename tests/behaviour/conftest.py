from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from local.valkey import Valkey
from tests.behaviour.services import LAYOUTS, SHELLS, Threads, make_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture
def raw(shared_server: Valkey) -> Iterator[redis.Redis]:
    """A plain client of the server, empty and with its counts at zero."""
    client = redis.Redis(port=shared_server.port)
    client.flushall()
    client.config_resetstat()
    yield client
    client.close()


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(shell: str, layout: str, shared_server: Valkey, raw: redis.Redis) -> Iterator[Callable[..., Any]]:
    """Makes services, each with its own connections, as another process would have."""
    services = []

    def make(url: str = shared_server.url, **options: Any) -> Any:
        service = make_service(shell, url, **{"layout": layout, "jitter": lambda: 0.0, **options})
        services.append(service)
        return service

    yield make
    for service in services:
        service.close()


@pytest.fixture
def service(connect: Callable[..., Any]) -> Any:
    return connect()


@pytest.fixture
def threads() -> Threads:
    return Threads()
