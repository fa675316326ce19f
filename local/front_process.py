"""The process behind `tls_front`: `python -m local.front_process SETTINGS`.

Takes TLS connections, judges IAM tokens, puts the local server's password in their place and copies all other bytes.
Replies are never looked at: a command whose token is refused goes on with a wrong password, and the server's own
refusal comes back in its right order, whatever the protocol and the pipeline.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import ssl
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local.iam_token import IamAccess, is_valid
from local.valkey import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

READY: Final = "The front takes connections."
DONE: Final = b"done\n"

# https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html: a connection is cut, or prolonged by another
# AUTH or HELLO with a new token.
CONNECTION_LIFE_S: Final = 12 * 3600
_LOOK_EVERY_S: Final = 1.0
# A command's name ends within so many bytes; only these commands are taken apart.
_VERB_WITHIN: Final = 32
_MAY_AUTHENTICATE: Final = re.compile(b"auth|hello", re.IGNORECASE)


class Front:
    """What all connections share: who may come in, what time it is, and who is connected by IAM."""

    def __init__(self) -> None:
        self.access: IamAccess | None = None
        self.offset_s = 0.0
        self.clients: set[Client] = set()

    def now(self) -> float:
        return time.time() + self.offset_s

    def change(self, settings: Mapping[str, Any]) -> None:
        self.access = IamAccess(**settings["access"]) if settings["access"] else None
        self.offset_s = settings["offset_s"]
        self.cut()

    def cut(self) -> None:
        now = self.now()
        for client in [client for client in self.clients if client.cut_at <= now]:
            client.transport.abort()

    def password(self, user: bytes, given: bytes) -> bytes | None:
        """What the local server takes for `given`; None if that is no IAM user."""
        if self.access is None:
            return None
        name = user.decode(errors="replace")
        password = self.access.users.get(name)
        if password is None:
            return None
        if is_valid(given.decode(errors="replace"), name, self.access, self.now()):
            return password.encode()
        return secrets.token_hex().encode()


class Client(asyncio.Protocol):
    """The client's side of a connection: whole commands are passed on, those that authenticate rewritten."""

    transport: asyncio.Transport

    def __init__(self, front: Front, server_port: int) -> None:
        self._front = front
        self._server_port = server_port
        self._server: Server | None = None
        self._received = bytearray()
        self.cut_at = float("inf")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._front.clients.add(self)
        transport.pause_reading()
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        try:
            _, server = await asyncio.get_running_loop().create_connection(
                lambda: Server(self.transport), HOST, self._server_port
            )
        except OSError:
            self.transport.abort()
            return
        self._server = server
        if self.transport.is_closing():
            server.transport.close()
        else:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        assert self._server is not None
        self._received += data
        try:
            self._server.transport.write(self._whole_commands())
        except ValueError:  # not the protocol: the server would say so and close
            self.transport.abort()

    def _whole_commands(self) -> bytes:
        received, passed_on = self._received, bytearray()
        start = 0
        while (end := end_of_command(received, start)) is not None:
            if _MAY_AUTHENTICATE.search(received, start, min(end, start + _VERB_WITHIN)):
                passed_on += self._rewritten(bytes(received[start:end]))
            else:
                passed_on += received[start:end]
            start = end
        del received[:start]
        return bytes(passed_on)

    def _rewritten(self, command: bytes) -> bytes:
        """`AUTH user password`, or `HELLO 3 … AUTH user password …`, as the local server takes it."""
        words = words_of(command)
        at = password_at(words)
        if at is None:
            return command
        password = self._front.password(words[at - 1], words[at])
        if password is None:
            return command
        self.cut_at = self._front.now() + CONNECTION_LIFE_S
        words[at] = password
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)

    def pause_writing(self) -> None:
        if self._server is not None:
            self._server.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._server is not None:
            self._server.transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        self._front.clients.discard(self)
        if self._server is not None:
            self._server.transport.close()


class Server(asyncio.Protocol):
    """The local server's side: its bytes go to the client as they are."""

    transport: asyncio.Transport

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def pause_writing(self) -> None:
        self._client.pause_reading()

    def resume_writing(self) -> None:
        self._client.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        self._client.close()


def end_of_command(received: bytearray, start: int) -> int | None:
    """Where the command at `start` ends; None if its end has not come yet. Raises ValueError for nonsense."""
    line_end = received.find(b"\r\n", start)
    if line_end < 0:
        return None
    at = line_end + 2
    if received[start] != ord("*"):  # an inline command: one line
        return at
    for _ in range(int(received[start + 1 : line_end])):
        line_end = received.find(b"\r\n", at)
        if line_end < 0:
            return None
        length = int(received[at + 1 : line_end])
        if length < 0:
            raise ValueError(f"a word of {length} bytes")
        at = line_end + 2 + length + 2
    return at if at <= len(received) else None


def words_of(command: bytes) -> list[bytes]:
    if not command.startswith(b"*"):
        return command.split() or [b""]
    words: list[bytes] = []
    at = command.index(b"\r\n") + 2
    while at < len(command):
        line_end = command.index(b"\r\n", at)
        start, at = line_end + 2, line_end + 2 + int(command[at + 1 : line_end]) + 2
        words.append(command[start : at - 2])
    return words


def password_at(words: list[bytes]) -> int | None:
    """Where the password of a named user is, in `AUTH user password` and `HELLO 3 … AUTH user password …`."""
    match words[0].upper():
        case b"AUTH":
            return 2 if len(words) == 3 else None
        case b"HELLO":
            at = 2
            while at + 2 < len(words):
                if words[at].upper() == b"AUTH":
                    return at + 2
                at += 2  # SETNAME and the name
    return None


async def serve(settings: Mapping[str, Any]) -> None:
    front = Front()
    front.change(settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings["certificate"])
    loop = asyncio.get_running_loop()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        front.change(json.loads(await reader.readline()))
        writer.write(DONE)
        writer.close()

    async with contextlib.AsyncExitStack() as servers:
        for port, server_port in settings["ports"].items():
            client = partial(Client, front, server_port)
            made = await loop.create_server(client, HOST, int(port), ssl=context)
            await servers.enter_async_context(made)
        await servers.enter_async_context(await asyncio.start_unix_server(control, settings["control"]))
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            front.cut()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
