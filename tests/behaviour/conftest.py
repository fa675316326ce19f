from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from cache.access import acl_rules
from local.valkey import Valkey
from tests.behaviour.services import LAYOUTS, SHELLS, Threads, make_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Valkey]:
    with Valkey() as server:
        with redis.Redis(port=server.port) as client:
            client.execute_command("ACL", "SETUSER", "app", "on", ">secret", *acl_rules("report:*", "other", "own"))
        yield server


@pytest.fixture(scope="session")
def app_url(shared_server: Valkey) -> str:
    """The shared server as the application's user, who may do just what the library needs."""
    return f"redis://app:secret@127.0.0.1:{shared_server.port}"


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
def connect(shell: str, layout: str, app_url: str, raw: redis.Redis) -> Iterator[Callable[..., Any]]:
    """Makes services, each with its own connections, as another process would have."""
    services = []

    def make(url: str = app_url, **options: Any) -> Any:
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
