"""The library's limits, made so long that a busy machine is not taken for a server in trouble.

A process of a test's own calls `wait_long()` before it uses the library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from cache.link import CONNECT_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S: Final = 10.0


def limits(deadline_s: float) -> Iterator[tuple[str, str, float]]:
    """(module, name, value) of each limit; connecting never has less time than an operation."""
    for module in ("link", "async_link", "cluster_link", "async_cluster_link"):
        yield f"cache.{module}", "DEADLINE_S", deadline_s
    for module in ("link", "async_link"):
        yield f"cache.{module}", "CONNECT_TIMEOUT_S", max(CONNECT_TIMEOUT_S, deadline_s)


def wait_long() -> None:
    """For the rest of this process."""
    for module, name, value in limits(DEADLINE_S):
        setattr(importlib.import_module(module), name, value)
