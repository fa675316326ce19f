"""A connection that redis-py makes, with its handshake, TLS and credentials, and that is read and written here.

redis-py takes each reply through a dozen calls; a hit, which has two, is an eighth faster without them.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from cache.replies import TROUBLE, NonsenseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.commands import Command, Reply

_RECEIVE_BYTES: Final = 65_536
_LEAST_S: Final = 0.001
_TIMEVAL: Final = struct.Struct("@ll")
INCOMPLETE: Final[Any] = object()

_pack: Any = hiredis.pack_command  # its stub wants a narrower tuple


class Wire:
    """For one thread at a time. Replies are as redis-py gives them; an error that the server answered is one too.

    `send` and `receive` raise what redis-py raises, or OSError; the wire is not to be used again then. `epoch` and
    `replace_at` are the pool's.
    """

    __slots__ = ("_buffer", "_connection", "_limit_by_system", "_limit_s", "_reader", "_socket", "epoch", "replace_at")

    def __init__(self, connection: Any, *, epoch: int, replace_at: float) -> None:
        """Connects. Raises what connecting raises."""
        self.epoch = epoch
        self.replace_at = replace_at
        self._connection = connection
        # A reply of the handshake may take as long as connecting: TLS and a token are no lookup.
        connection.socket_timeout = connection.socket_connect_timeout
        connection.connect()
        if connection.can_read():
            connection.disconnect()
            raise NonsenseError("The handshake had more replies than commands.")
        self._socket: socket.socket = connection._get_socket()
        self._buffer = bytearray(_RECEIVE_BYTES)
        self._reader = new_reader()
        self._limit_s = 0.0
        self._socket.settimeout(None)
        # gevent's sockets do not block beneath, and TLS would try again.
        self._limit_by_system = os.get_blocking(self._socket.fileno()) and not isinstance(self._socket, ssl.SSLSocket)

    def send(self, batch: Sequence[Command], left_s: float) -> None:
        self._limit(left_s)
        words = pack(batch)
        if not self._limit_by_system:
            self._socket.sendall(words)
            return
        try:
            sent = self._socket.send(words)  # `sendall` would give each piece the whole time
        except BlockingIOError:
            sent = 0
        if sent < len(words):
            raise RedisTimeoutError("the server did not take all in time")

    def receive(self, count: int, give_up_at: float) -> list[Reply]:
        """That many replies. Where the time is over, one read is left for what has arrived meanwhile."""
        reader, buffer = self._reader, self._buffer
        replies: list[Reply] = []
        is_late = False
        while True:
            left_s = give_up_at - time.monotonic()
            if is_late:  # a reply that trickles in would go on without end
                raise RedisTimeoutError("no whole reply in time")
            is_late = left_s <= 0
            self._limit(left_s)
            try:
                received = self._socket.recv_into(buffer)
            except BlockingIOError:
                raise RedisTimeoutError("no reply in time") from None
            if not received:
                raise RedisConnectionError("the server has closed the connection")
            reader.feed(buffer, 0, received)  # type: ignore[arg-type] # its stub knows no bytearray
            while (reply := reader.gets()) is not INCOMPLETE:
                replies.append(reply)
            if len(replies) == count:
                return replies
            if len(replies) > count:
                raise NonsenseError(f"{count} commands had more replies.")

    def is_usable(self) -> bool:
        """Nothing to read: neither the end of the stream, nor a reply that nobody waited for."""
        try:
            return not self._reader.has_data() and not self._connection.can_read()
        except TROUBLE:
            return False

    def close(self) -> None:
        with suppress(*TROUBLE):
            self._connection.disconnect()

    def _limit(self, left_s: float) -> None:
        """How long the next step may take. Setting it asks the system, so one that is about right will do."""
        if left_s * 0.9 < self._limit_s < left_s * 1.1:
            return
        self._limit_s = max(left_s, _LEAST_S)
        if not self._limit_by_system:
            self._socket.settimeout(self._limit_s)
            return
        # With a limit of Python's each step asks the system twice, which costs a hit 2 us.
        seconds, rest_s = divmod(self._limit_s, 1)
        limit = _TIMEVAL.pack(int(seconds), int(rest_s * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def pack(batch: Sequence[Command]) -> bytes:
    """By hiredis itself: redis-py's own packing looks at each word once more."""
    return b"".join([_pack(words) for words in batch])


def new_reader() -> hiredis.Reader:
    """Its `gets` answers errors as redis-py's exceptions, and `INCOMPLETE` where a reply is not whole yet."""
    parse_error: Any = DefaultParser.parse_error
    return hiredis.Reader(protocolError=InvalidResponse, replyError=parse_error, notEnoughData=INCOMPLETE)
