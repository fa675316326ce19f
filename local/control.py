"""The commands' side of the daemon: finds it, starts it, and stands by it while a command runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local.errors import LocalError, UsageError
from local.valkey import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What a daemon writes into its state folder once it answers.
FILE: Final = "daemon.json"
# It holds this for as long as it lives. A folder with such a file is ours to remove.
LOCK: Final = "daemon.lock"
_ROOT: Final = Path(__file__).resolve().parent.parent
# Below it each stack has its state folder, where none is given. Nobody else's files are there.
DEFAULT_FOLDERS: Final = _ROOT / ".local"

_NOT_NOW: Final = "what stands in for AWS under this stack is starting or ending. Try again in a moment."


@dataclass(frozen=True)
class Running:
    """A daemon that lives. `environment` is what points boto3 and the AWS command line at it."""

    provider_port: int
    environment: Mapping[str, str] = field(repr=False)
    passphrase: str = field(repr=False)
    control: tuple[int, bytes] = field(repr=False)

    def endpoints(self) -> dict[str, Any]:
        """By replication group: the ports of its nodes and the file of the certificate authority."""
        with self._connection() as connection:
            connection.send_bytes(b"describe")
            answer: dict[str, Any] = json.loads(connection.recv_bytes())
            return answer

    def down(self) -> None:
        """Ends it with all that it runs; returns once it has ended."""
        with contextlib.suppress(EOFError, OSError), self._connection() as connection:
            connection.send_bytes(b"down")
            connection.recv_bytes()

    @contextlib.contextmanager
    def command(self) -> Iterator[None]:
        """While a command runs. Raises LocalError if another one does, or the daemon is about to end."""
        try:
            connection = self._connection()
            connection.send_bytes(b"command")
            answer = connection.recv_bytes()
        except (OSError, EOFError, AuthenticationError):
            raise LocalError(_NOT_NOW) from None
        with connection:
            if answer == b"busy":
                raise LocalError("another command runs on this stack. Wait for it, or run: python -m local down")
            yield
            connection.send_bytes(b"done")
            with contextlib.suppress(EOFError, OSError):
                connection.recv_bytes()

    def _connection(self) -> Connection:
        port, key = self.control
        return Client((HOST, port), authkey=key)


def find(folder: Path) -> Running | None:
    """The daemon of a state folder; None if none lives."""
    if not _is_locked(folder / LOCK):
        return None
    try:
        known = json.loads((folder / FILE).read_text())
        running = Running(
            known["provider_port"],
            known["environment"],
            known["passphrase"],
            (known["control_port"], bytes.fromhex(known["authkey"])),
        )
        running.endpoints()
    except (OSError, ValueError, KeyError, EOFError, AuthenticationError):
        return None
    return running


def _is_locked(file: Path) -> bool:
    """Whether a living daemon holds the lock; a number of a process or a port may be somebody else's by now."""
    try:
        with file.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    return False


def remove(folder: Path) -> None:
    """Removes what a daemon left, and in a default folder a Pulumi that outlived it.

    Raises UsageError for a folder that holds somebody's files, LocalError while a daemon is starting or ending there.
    """
    if not folder.exists():
        return
    if _is_locked(folder / LOCK):
        raise LocalError(_NOT_NOW)
    is_ours = (folder / LOCK).exists() or folder.parent == DEFAULT_FOLDERS
    if not folder.is_dir() or (any(folder.iterdir()) and not is_ours):
        raise UsageError(f"{folder} is no state folder, and would be removed. Give --state one that is new or empty.")
    shutil.rmtree(folder, ignore_errors=True)


def start(folder: Path, environment: Mapping[str, str]) -> Running:
    """A daemon with an empty state folder; what an earlier one left there is of no use to it. Raises LocalError."""
    remove(folder)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UsageError(f"the state folder {folder} cannot be made: {error.strerror}. Give another --state.") from None
    (folder / LOCK).touch(mode=0o600)
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "local.daemon", str(folder)],
            cwd=_ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert daemon.stdout is not None
    with daemon.stdout as said:
        is_ready = said.readline() == b"ready\n"
    running = find(folder) if is_ready else None
    if running is None:
        daemon.kill()
        daemon.wait()
        words = (folder / "log").read_text().strip().rpartition("\n")[2]
        raise LocalError(f"the local AWS did not start: {words or 'it said nothing'}")
    daemon.returncode = 0  # it outlives this process on purpose
    return running
