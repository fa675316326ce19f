"""What tests ask a server, and how they wait for what comes to pass in it."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.valkey import Valkey


def until(condition: Callable[[], Any], timeout_s: float = 60) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come to pass"
        time.sleep(0.001)


def pid(server: Valkey) -> int:
    with redis.Redis(port=server.port) as client:
        return int(client.info("server")["process_id"])


def is_up(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def calls(raw: redis.Redis, command: str) -> int:
    """How often the server was sent this command."""
    return int(raw.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))
