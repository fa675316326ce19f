"""A server that misbehaves: passes commands on to a real one, until it is told to do otherwise."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

import hiredis


class Proxy:
    """`mode`: `pass`; `hang` (accept, say nothing); `cut` (close in the middle of a reply); or bytes, sent for each

    command instead of its reply. Replies wait while `may_reply` is clear; `accepted` counts connections.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.mode: str | bytes = "pass"
        self.may_reply = threading.Event()
        self.may_reply.set()
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.drop_connections(and_listener=True)
        for thread in self._threads:
            thread.join()

    def drop_connections(self, *, and_listener: bool = False) -> None:
        for each in self._sockets[0 if and_listener else 1 :]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _start(self, function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets += [client, server]
                self._start(self._requests, client, server)
                self._start(self._replies, client, server)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        commands = hiredis.Reader()
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if isinstance(self.mode, bytes):
                    commands.feed(data)
                    while commands.gets() is not False:
                        client.sendall(self.mode)
                elif self.mode != "hang":
                    server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _replies(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                self.may_reply.wait(60)
                if self.mode == "cut":
                    client.sendall(data[: len(data) // 2])
                    break
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
