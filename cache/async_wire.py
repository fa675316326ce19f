"""As `wire`, for asyncio: what redis-py has connected is taken over from its streams."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

from cache.replies import TROUBLE, NonsenseError
from cache.wire import INCOMPLETE, new_reader, pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.commands import Command, Reply


class AsyncWire(asyncio.Protocol):
    """For one task at a time, which must not use it again after a failure or a cancellation."""

    def __init__(self, connection: Any, *, epoch: int, replace_at: float) -> None:
        self.epoch = epoch
        self.replace_at = replace_at
        self._connection = connection
        self._clients_own_connecting = connection.redis_connect_func
        connection.redis_connect_func = self._handshake
        self._transport: Any = None
        self._reader = new_reader()
        self._replies: list[Reply] = []
        self._awaited = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    async def connect(self) -> None:
        await self._connection.connect()
        if await self._connection.can_read():
            raise NonsenseError("The handshake had more replies than commands.")
        self._transport.set_protocol(self)

    async def _handshake(self, connection: Any) -> None:
        self._transport = connection._writer.transport  # to be aborted however far this gets
        answer = (
            connection.on_connect()
            if self._clients_own_connecting is None
            else self._clients_own_connecting(connection)
        )
        if isawaitable(answer):
            await answer

    def send(self, batch: Sequence[Command]) -> None:
        self._awaited = len(batch)
        self._transport.write(pack(batch))

    async def receive(self) -> list[Reply]:
        """The replies to the batch."""
        if self._error is None and len(self._replies) < self._awaited:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error
        replies, self._replies, self._awaited = self._replies, [], 0
        return replies

    def is_usable(self) -> bool:
        """Nothing was read since the last batch: neither the end of the stream, nor a reply that nobody waited for."""
        return self._error is None and not self._reader.has_data() and not self._transport.is_closing()

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()  # under TLS a polite end would wait for the server's part in it
        with suppress(*TROUBLE):
            await self._connection.disconnect(nowait=True)

    # -- what the event loop calls -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        replies = self._replies
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not INCOMPLETE:
                replies.append(reply)
        except Exception as error:  # noqa: BLE001 - the task that waits is told, not the event loop
            self._end(error)
            return
        if len(replies) == self._awaited:
            self._wake()
        elif len(replies) > self._awaited:
            self._end(NonsenseError(f"{self._awaited} commands had more replies."))

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or RedisConnectionError("the server has closed the connection"))

    def _end(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
