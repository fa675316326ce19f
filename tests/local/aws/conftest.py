from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from local.aws.caches import Caches
from local.aws.cloud import Cloud
from local.aws.provider import ProviderServer
from local.aws.resources import Resources
from tests.infra import stack
from tests.local.aws.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.infra.stack import Declared

ACCESS_KEYS = {"AKIDLOCAL": "a-secret-of-this-machine"}


@dataclass(frozen=True)
class LocalAws:
    """Everything of one stack but the daemon around it."""

    cloud: Cloud
    caches: Caches
    resources: Resources
    port: int

    def client(self, service: str) -> Any:
        return self.cloud.client(service, "us-east-1")


@pytest.fixture
def local_aws(tmp_path: Path) -> Iterator[LocalAws]:
    with running(tmp_path) as made:
        yield made


@contextlib.contextmanager
def running(folder: Path) -> Iterator[LocalAws]:
    """Moto's state is the process's: one at a time."""
    with Cloud() as cloud, Caches(folder, ACCESS_KEYS) as caches:
        resources = Resources(cloud, caches)
        with ProviderServer(resources) as server:
            yield LocalAws(cloud, caches, resources, server.port)


@pytest.fixture
def engine_of(local_aws: LocalAws) -> Iterator[Callable[[str], Engine]]:
    """`engine_of("prod")` is an engine for that stack."""
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Engine:
            return stack.enter_context(contextlib.closing(Engine(local_aws.port, name)))

        yield make


@pytest.fixture(scope="session")
def stacks() -> dict[str, Declared]:
    """What the program declares, without any provider."""
    return {name: stack.declare(name) for name in stack.STACKS}
