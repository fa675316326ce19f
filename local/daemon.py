"""What stands in for AWS under one stack, in a process of its own: `python -m local.daemon FOLDER`.

Commands come and go; the provider, moto and the servers stay from the first `up` to `destroy` or `down`. The daemon
ends, and takes the state folder with it, when nothing of the stack is left after a command, when it is told to, and
when a command dies without a farewell. So a state folder without a living daemon is worth nothing: `control` starts
anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import queue
import secrets
import shutil
import signal
import sys
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any, Final

from local.aws.caches import Caches
from local.aws.cloud import Cloud
from local.aws.provider import ProviderServer
from local.aws.resources import Resources
from local.certificates import write_private
from local.control import FILE, LOCK
from local.valkey import HOST

# The command that started the daemon connects at once, or has died.
_FIRST_COMMAND_WITHIN_S: Final = 60


class Daemon:
    """The control socket: one command at a time, questions at any time. `ended` gets a word once all is over."""

    def __init__(self, resources: Resources, caches: Caches, listener: Listener) -> None:
        self._resources = resources
        self._caches = caches
        self._listener = listener
        self._command = threading.Lock()
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.waiting: list[Connection] = []  # they learn of the end by its closing them
        self._is_closing = False

    def serve(self) -> None:
        first = threading.Timer(_FIRST_COMMAND_WITHIN_S, self._end_if_idle)
        first.daemon = True
        first.start()
        while not self._is_closing:
            try:
                connection = self._listener.accept()
            except (OSError, EOFError, AuthenticationError):  # somebody without the key, or the end
                continue
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self) -> None:
        self._is_closing = True
        self._listener.close()

    def _end_if_idle(self) -> None:
        if not len(self._resources) and self._command.acquire(blocking=False):
            self.ended.put("no command came")

    def _answer(self, connection: Connection) -> None:
        with contextlib.suppress(OSError, EOFError):
            match connection.recv_bytes().decode():
                case "command":
                    self._accompany(connection)
                case "describe":
                    connection.send_bytes(json.dumps(self._caches.endpoints()).encode())
                case "down":
                    self.waiting.append(connection)
                    self.ended.put("told so")

    def _accompany(self, connection: Connection) -> None:
        """From a command's start to its end. A command that dies in between leaves nobody to look after the stack."""
        if not self._command.acquire(blocking=False):
            connection.send_bytes(b"busy")
            return
        connection.send_bytes(b"go")
        try:
            connection.recv_bytes()
        except (OSError, EOFError):
            self.ended.put("the command died")
            return
        if len(self._resources):
            self._command.release()
            connection.send_bytes(b"kept")
        else:
            self.waiting.append(connection)
            self.ended.put("nothing is left")


def main(folder: Path) -> None:
    """Runs until the end, and holds the lock until the state folder, which must exist, is gone."""
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = _serve(folder)
        shutil.rmtree(folder, ignore_errors=True)
    for connection in waiting:
        with contextlib.suppress(OSError):
            connection.send_bytes(b"ended")
            connection.close()


def _serve(folder: Path) -> list[Connection]:
    """Answers until it is told to end. Who wants to know of the end."""
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    key = (f"LOCAL{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30))
    authkey = secrets.token_bytes(32)
    with Cloud() as cloud, Caches(folder, dict([key])) as caches:
        listener = Listener((HOST, 0), authkey=authkey)
        resources = Resources(cloud, caches)
        with ProviderServer(resources) as server:
            daemon = Daemon(resources, caches, listener)
            signal.signal(signal.SIGTERM, lambda *_: daemon.ended.put("terminated"))
            threading.Thread(target=daemon.serve, daemon=True).start()
            known: dict[str, Any] = {
                "pid": os.getpid(),
                "control_port": listener.address[1],
                "authkey": authkey.hex(),
                "provider_port": server.port,
                "passphrase": secrets.token_urlsafe(30),
                "environment": {
                    "AWS_ENDPOINT_URL": cloud.endpoint,
                    "AWS_ACCESS_KEY_ID": key[0],
                    "AWS_SECRET_ACCESS_KEY": key[1],
                },
            }
            write_private(folder / FILE, json.dumps(known).encode())
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            daemon.ended.get()
            daemon.close()
    return daemon.waiting


if __name__ == "__main__":
    main(Path(sys.argv[1]))
