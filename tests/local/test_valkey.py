"""The server of this machine: it starts, its clock moves, and it ends with its parent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from local.errors import LocalError
from local.valkey import HOST, Valkey, faketime_library
from tests.conftest import START

if TYPE_CHECKING:
    from tests.conftest import ManualClock

_PARENT = """
import sys
from local.valkey import Valkey
with Valkey() as server:
    print(server.port, server.unix_socket, flush=True)
    sys.stdin.read()
"""


def test_it_listens_on_this_machine_only() -> None:
    with Valkey() as server, redis.Redis.from_url(server.url) as client:
        bound: Any = client.config_get("bind")

    assert bound == {"bind": HOST}


def test_a_port_in_use_is_named() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]

        with (
            pytest.raises(LocalError, match=f"did not start on 127.0.0.1:{port}: .*Address already in use"),
            Valkey(port=port),
        ):
            pass


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_parent(how: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    port, path = parent.stdout.readline().split()
    with socket.create_connection((HOST, int(port))) as connection:
        os.kill(parent.pid, how)
        parent.communicate()

        # Blocks until the server has closed its end; its other files may close a moment later.
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    refused = _until_refused(int(port))
    folder = Path(os.fsdecode(path)).parent
    while folder.exists() and time.monotonic() < refused + 60:
        pass
    assert not folder.exists()


def _until_refused(port: int) -> float:
    """When nobody listened any more. Each try answers at once; the test's time limit ends it."""
    while True:
        try:
            socket.create_connection((HOST, port)).close()
        except OSError:
            return time.monotonic()


@pytest.mark.skipif(faketime_library() is None, reason="no clock to move on this machine; the driver deletes keys")
def test_a_moved_clock_is_seen_by_the_next_command(client: redis.Redis, clock: ManualClock) -> None:
    seen = []
    for _ in range(2_000):
        clock.advance(10)
        seconds, _ = client.time()
        seen.append(seconds)

    assert seen == list(range(START + 10, START + 20_010, 10))


@pytest.mark.skipif(faketime_library() is None, reason="no clock to move on this machine; the driver deletes keys")
def test_a_key_expires_at_its_virtual_deadline(client: redis.Redis, clock: ManualClock) -> None:
    client.set("key", "value", ex=3_600)

    clock.advance(3_600)
    assert client.get("key") == b"value"  # it lives to the end of its last millisecond
    clock.advance(1)
    assert client.get("key") is None
