"""A limit is for all of a batch, and for all of its replies, however steadily the pieces come."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis

from cache.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    """A connection's two ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connection: Any = redis.Connection(port=port, driver_info=None, protocol=2)  # type: ignore[no-untyped-call]
        wire = Wire(connection, epoch=0, replace_at=0)
        other_end, _ = listener.accept()
        with other_end:
            yield wire, other_end
            wire.close()


def test_a_reply_that_goes_on_beyond_the_time_is_given_up(ends: tuple[Wire, socket.socket]) -> None:
    wire, server = ends
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
    server.sendall(b"$300000\r\n%b\r\n" % bytes(300_000))  # of which one read is the beginning

    with pytest.raises(redis.TimeoutError):
        wire.receive(1, give_up_at=time.monotonic() - 1)


def test_what_arrived_before_the_time_was_over_is_read(ends: tuple[Wire, socket.socket]) -> None:
    wire, server = ends
    server.sendall(b"+OK\r\n")
    assert wire._socket.recv(1, socket.MSG_PEEK)

    assert wire.receive(1, give_up_at=time.monotonic() - 1) == [b"OK"]


def test_a_batch_that_takes_too_long_to_send_is_given_up(ends: tuple[Wire, socket.socket]) -> None:
    wire, server = ends

    def take() -> None:
        with suppress(OSError):
            while server.recv(65_536):
                time.sleep(0.001)  # all of it would take a quarter of a second

    thread = threading.Thread(target=take)
    thread.start()
    with pytest.raises(redis.TimeoutError):
        wire.send([("SET", "key", bytes(2**24))], left_s=0.02)
    wire.close()
    thread.join()
