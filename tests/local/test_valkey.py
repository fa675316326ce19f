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
from local.faketime import SharedClock, faketime_library
from local.valkey import HOST, Valkey
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


@pytest.fixture
def _movable() -> None:
    if faketime_library() is None:
        pytest.skip("no clock to move on this machine; the driver deletes keys")


@pytest.mark.usefixtures("_movable")
def test_a_moved_clock_is_seen_by_the_next_command(client: redis.Redis, clock: ManualClock) -> None:
    seen = []
    for _ in range(2_000):
        clock.advance(10)
        seconds, _ = client.time()
        seen.append(seconds)

    assert seen == list(range(START + 10, START + 20_010, 10))


@pytest.mark.usefixtures("_movable")
def test_the_clock_stands_still_to_the_millisecond(client: redis.Redis, clock: ManualClock) -> None:
    clock.advance(10)
    client.set("key", "value", ex=3_600)
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(10_000):
            pipeline.pttl("key")
        left_ms = set(pipeline.execute())

    assert left_ms == {3_600_000}


@pytest.mark.usefixtures("_movable")
def test_a_key_expires_at_its_virtual_deadline(client: redis.Redis, clock: ManualClock) -> None:
    client.set("key", "value", ex=3_600)

    clock.advance(3_600)
    assert client.get("key") == b"value"  # it lives to the end of its last millisecond
    clock.advance(1)
    assert client.get("key") is None


@pytest.mark.usefixtures("_movable")
def test_each_server_has_a_clock_of_its_own(client: redis.Redis, clock: ManualClock) -> None:
    with Valkey(movable_clock=True, start_time=START) as server, redis.Redis.from_url(server.url) as other:
        clock.advance(10)
        server.set_time(START + 20)

        assert (client.time(), other.time()) == ((START + 10, 0), (START + 20, 0))


@pytest.mark.usefixtures("_movable")
def test_nothing_is_left_in_shared_memory_by_a_server_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = _note_clocks(monkeypatch)
    with Valkey(movable_clock=True) as server:
        assert not [file for file in clocks[0].files if file.exists()]

        server.stop()
        with pytest.raises(AssertionError, match="cannot be moved"):
            server.set_time(START)


@pytest.mark.usefixtures("_movable")
def test_nothing_is_left_in_shared_memory_by_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = _note_clocks(monkeypatch)
    with pytest.raises(LocalError, match="did not start"), Valkey("--unknown", "1", movable_clock=True):
        pass

    assert not [file for file in clocks[0].files if file.exists()]


@pytest.mark.usefixtures("_movable")
def test_nothing_is_left_by_a_machine_that_starts_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clocks = _note_clocks(monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError), Valkey(movable_clock=True):
        pass

    assert not [file for file in clocks[0].files if file.exists()]
    assert not list(tmp_path.iterdir())


def _note_clocks(monkeypatch: pytest.MonkeyPatch) -> list[SharedClock]:
    clocks: list[SharedClock] = []

    def note(start_s: int) -> SharedClock:
        clocks.append(SharedClock(start_s))
        return clocks[-1]

    monkeypatch.setattr("local.valkey.SharedClock", note)
    return clocks


_KILLED_WHILE_IT_STARTS = """
import os, signal
from local import valkey

def kill(self, _process):
    print(*self._clock.files, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

valkey.Valkey._wait_until_ready = kill
with valkey.Valkey(movable_clock=True):
    pass
"""


@pytest.mark.usefixtures("_movable")
def test_nothing_is_left_in_shared_memory_by_a_parent_that_is_killed_while_the_server_starts() -> None:
    parent = subprocess.run([sys.executable, "-c", _KILLED_WHILE_IT_STARTS], stdout=subprocess.PIPE, check=False)

    assert parent.returncode == -signal.SIGKILL
    files = [Path(os.fsdecode(file)) for file in parent.stdout.split()]
    assert len(files) == 2
    while any(file.exists() for file in files):  # the guard removes them a moment later; the test's time limit ends it
        time.sleep(0.01)


@pytest.mark.usefixtures("_movable")
def test_a_time_that_no_clock_shows_does_not_stop_the_clock(client: redis.Redis, clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="format 'q'"):
        clock._server.set_time(10**12)

    clock.advance(1)
    assert client.time() == (START + 1, 0)


@pytest.mark.usefixtures("_movable")
def test_a_server_that_is_killed_while_it_reads_its_clock_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.faketime.PATIENCE_S", 0.1)
    clocks = _note_clocks(monkeypatch)
    with Valkey(movable_clock=True) as server:
        assert clocks[0]._try_wait(clocks[0]._semaphore) == 0  # as the server does

        with pytest.raises(LocalError, match=r"held its clock for 0\.1 s"):
            server.set_time(START)


@pytest.mark.usefixtures("_movable")
def test_shared_memory_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("local.faketime._SHARED_MEMORY", tmp_path / "missing")

    assert faketime_library() is None  # whoever asks first deletes keys at their deadlines instead
    with pytest.raises(LocalError, match=r"no shared memory in .*missing; movable_clock"), Valkey(movable_clock=True):
        pass
