from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from cache.access import acl_rules
from local.cluster import ValkeyCluster
from local.valkey import Valkey
from tests.behaviour.services import LAYOUTS, PLACES, SHELLS, ClusterClient, Threads, make_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RULES = ("ACL", "SETUSER", "app", "on", ">secret", *acl_rules("report:*", "other", "own"))


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module that is about one place or layout alone names it, as in `PLACE = "standalone"`."""
    for name in ("layout", "place"):
        only = getattr(metafunc.module, name.upper(), None)
        if only is not None and name in metafunc.fixturenames:
            metafunc.definition.add_marker(pytest.mark.parametrize(name, [only]))


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Valkey]:
    with Valkey() as server:
        with redis.Redis(port=server.port) as client:
            client.execute_command(*_RULES)
        yield server


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster() as cluster:
        for node in cluster.nodes:
            client: Any = node.client
            client.execute_command(*_RULES)
        yield cluster


@pytest.fixture
def server() -> Iterator[Valkey]:
    """A server of the test's own."""
    with Valkey() as own:
        yield own


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def port(place: str, request: pytest.FixtureRequest) -> int:
    """Of the shared server, or of a node of the shared cluster."""
    if place == "cluster":
        return int(request.getfixturevalue("shared_cluster").primaries[0].port)
    return int(request.getfixturevalue("shared_server").port)


@pytest.fixture
def app_url(port: int) -> str:
    """The shared server as the application's user, who may do just what the library needs."""
    return f"redis://app:secret@127.0.0.1:{port}"


@pytest.fixture
def raw(place: str, port: int) -> Iterator[Any]:
    """A plain client of the server, empty and with its counts at zero."""
    client = ClusterClient(port) if place == "cluster" else redis.Redis(port=port)
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
def connect(shell: str, layout: str, place: str, app_url: str, raw: redis.Redis) -> Iterator[Callable[..., Any]]:
    """Makes services, each with its own connections, as another process would have."""
    services = []

    def make(url: str = app_url, **options: Any) -> Any:
        defaults = {"layout": layout, "jitter": lambda: 0.0, "cluster": place == "cluster"}
        service = make_service(shell, url, **{**defaults, **options})
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
