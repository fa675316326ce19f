from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.infra import stack

if TYPE_CHECKING:
    from tests.infra.stack import Declared


@pytest.fixture(scope="session")
def stacks() -> dict[str, Declared]:
    return {name: stack.declare(name) for name in stack.STACKS}


@pytest.fixture(scope="session")
def prod(stacks: dict[str, Declared]) -> Declared:
    return stacks["prod"]


@pytest.fixture(params=stack.STACKS)
def declared(request: pytest.FixtureRequest, stacks: dict[str, Declared]) -> Declared:
    """Each stack in turn."""
    return stacks[request.param]
