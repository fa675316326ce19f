from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra import recorded
from scripts import common

if TYPE_CHECKING:
    from infra.recorded import Declared


@pytest.fixture(scope="session")
def prod() -> Declared:
    return recorded.declare(common.stack_settings("prod"))
