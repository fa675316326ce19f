"""The link on which the server says what has changed: a connection and a thread of its own for each service.

`CLIENT TRACKING ON BCAST` makes the server send the name of every key under some prefixes that changes, expires or is
evicted. Messages and the answers to PING come in one order, so an answered PING proves that all of before it was read.

Whoever wants to trust what these messages keep true asks `is_fresh`. It is true only while a PING that was sent within
the last half second is answered, and the socket was read dry within the last millisecond: if not by the thread, then
by whoever asks. A thread alone would be late where a busy event loop leaves it no time; so a process that was busy, or
was stopped and goes on, reads what arrived meanwhile before it trusts anything.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cache import commands, replies
from cache.wire import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cache.commands import Command
    from cache.slots import Address

_log = logging.getLogger("cache")

# How far a lookup may be behind what lies in the socket: a look costs half a microsecond and gives up the GIL.
LOOK_EVERY_S: Final = 0.001
PING_EVERY_S: Final = 0.2
# Counted from when the answered PING was sent: a link that is silently broken is trusted for no longer.
TRUSTED_S: Final = 0.5
RETRY_EVERY_S: Final = 1.0
# A service that nobody asks any more keeps neither a connection nor a thread.
IDLE_S: Final = 60.0

_NEVER: Final = float("-inf")
_RECEIVE_BYTES: Final = 65_536
_INCOMPLETE: Final = object()
# Answers that stay the same as long as the user's rights and the server's software do.
_REFUSALS: Final = ("NOPERM", "ERR")


class RefusedError(RedisConnectionError):
    """The server does not track, or not for this user."""


class Wire:
    """A connection behind its handshake, which never waits for the rest of a message, as redis-py's own reader does."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        try:
            connection.connect()
        except ResponseError as error:  # to HELLO: no RESP3, so no messages
            raise RefusedError(str(error)) from error
        if connection.handshake_metadata.get(b"role", b"master") != b"master":
            connection.disconnect()
            raise RedisConnectionError("the server is a replica")
        self._socket: socket.socket = connection._get_socket()
        self._socket.setblocking(False)
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=ResponseError,
            encoding="utf-8",
            errors="replace",
            notEnoughData=_INCOMPLETE,
        )
        # Two of them: one must not be asked by two threads at once.
        self._waiting, self._looking = select.poll(), select.poll()
        for poll in (self._waiting, self._looking):
            poll.register(self._socket, select.POLLIN)

    def send(self, command: Command) -> None:
        self._socket.sendall(pack([command]))

    def wait(self, timeout_s: float) -> None:
        """Until something arrives, the connection ends, or the time is over."""
        self._waiting.poll(max(timeout_s, 0) * 1000)

    def has_more(self) -> bool:
        return bool(self._looking.poll(0))

    def receive(self) -> list[Any]:
        """All messages that have arrived. Raises redis.ConnectionError at the end of the stream."""
        with suppress(BlockingIOError, ssl.SSLWantReadError):
            while True:
                data = self._socket.recv(_RECEIVE_BYTES)
                if not data:
                    raise RedisConnectionError("the server has closed the connection")
                self._reader.feed(data)
        messages = []
        while (message := self._reader.gets()) is not _INCOMPLETE:
            messages.append(message)
        return messages

    def hang_up(self) -> None:
        """Ends `wait`; whoever waits there closes."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(*replies.TROUBLE):
            self._connection.disconnect()


class Tracking:
    """`on_change(key)` is called for each key that has changed, `on_doubt()` when any may have changed unseen.

    Both by whichever thread reads the message. Starts its thread when it is first asked, and again after a fork.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        prefixes: Sequence[str],
        on_change: Callable[[str], None],
        on_doubt: Callable[[], None],
    ) -> None:
        self._make = make
        self._prefixes = prefixes
        self._on_change = on_change
        self._on_doubt = on_doubt
        self._wire: Wire | None = None
        self._is_refused = False
        self.reset()

    def reset(self) -> None:
        """After a fork: the connection and the thread are the parent's."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._asked_at = self._confirmed_until = self._fresh_until = self._ping_due = _NEVER
        self._ping_sent_at: float | None = None
        self._doubts = 0
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def close(self, *, wait_s: float = 1.0) -> None:
        """Ends the thread; whoever asks again starts another one."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
            self._stop = threading.Event()
            self._lose()
        if thread is not None:
            thread.join(wait_s)

    def doubt(self) -> None:
        """The server may not be the primary any more: the link is made anew."""
        with self._lock:
            self._doubts += 1
            self._lose()

    def is_fresh(self) -> bool:
        """Whether all that changed until a millisecond ago has been told."""
        now = time.monotonic()
        return now < self._fresh_until or self._look(now)

    def _look(self, now: float) -> bool:
        with self._lock:
            self._asked_at = now
            if now < self._fresh_until:  # another thread has looked
                return True
            if self._wire is None or now >= self._confirmed_until:
                if self._thread is None and not self._is_refused:
                    self._start()
                return False
            try:
                if self._wire.has_more():
                    self._receive(self._wire)
            except replies.TROUBLE:
                self._lose()
            self._fresh_until = min(now + LOOK_EVERY_S, self._confirmed_until)
            return now < self._fresh_until

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, args=(self._stop,), name="cache-near", daemon=True)
        with suppress(RuntimeError):  # the system has no more of them: whoever comes next tries again
            thread.start()
            self._thread = thread

    def _lose(self) -> None:
        self._confirmed_until = self._fresh_until = _NEVER
        self._on_doubt()
        if self._wire is not None:
            self._wire.hang_up()

    def _receive(self, wire: Wire) -> None:
        for message in wire.receive():
            if isinstance(message, ResponseError):
                raise RefusedError(str(message)) if str(message).startswith(_REFUSALS) else message
            if message == "PONG" and self._ping_sent_at is not None:
                if self._confirmed_until == _NEVER:
                    self._on_doubt()  # of what was read before the server tracked
                self._confirmed_until = self._ping_sent_at + TRUSTED_S
                self._ping_sent_at = None
            elif message == ["invalidate", None]:  # FLUSHALL
                self._on_doubt()
            elif isinstance(message, hiredis.PushNotification) and message[0] == "invalidate":
                for key in message[1]:
                    self._on_change(key)

    # -- the thread --------------------------------------------------------------------------------------------

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set() and time.monotonic() < self._asked_at + IDLE_S:
            began = time.monotonic()
            try:
                self._follow(stop)
            except RefusedError as error:
                self._is_refused = True
                _log.error("cache.near_off: the server does not track keys for this user: %s", error)
                break
            except Exception as error:  # noqa: BLE001 - a credential provider may raise anything
                replies.note_trouble(error)
                stop.wait(began + RETRY_EVERY_S - time.monotonic())
        with self._lock:
            if self._thread is threading.current_thread():
                self._thread = None

    def _follow(self, stop: threading.Event) -> None:
        """One connection's life."""
        doubts = self._doubts
        wire = Wire(self._make())
        try:
            with self._lock:
                if stop.is_set() or self._doubts != doubts:
                    return
                self._wire = wire
                wire.send(commands.track(self._prefixes))
                self._ping_due, self._ping_sent_at = _NEVER, None
                self._ping(wire)
            while not stop.is_set() and time.monotonic() < self._asked_at + IDLE_S:
                wire.wait(self._ping_due - time.monotonic())
                with self._lock:
                    self._receive(wire)
                    self._ping(wire)
        finally:
            with self._lock:
                if self._wire is wire:
                    self._lose()
                    self._wire = None
            wire.close()

    def _ping(self, wire: Wire) -> None:
        now = time.monotonic()
        if now < self._ping_due:
            return
        self._ping_due = now + PING_EVERY_S
        if self._ping_sent_at is None:
            self._ping_sent_at = now
            wire.send(commands.ping())
        elif now > self._ping_sent_at + TRUSTED_S:
            raise RedisTimeoutError("PING was not answered")


class ClusterTracking:
    """As `Tracking`, with a link to each primary of a cluster, of which `nodes` tells the addresses known now.

    A key that lies on a node is tracked there, whichever slots move: so it is fresh when all of them are.
    """

    def __init__(
        self,
        nodes: Callable[[], frozenset[Address]],
        make: Callable[..., Any],
        prefixes: Sequence[str],
        on_change: Callable[[str], None],
        on_doubt: Callable[[], None],
    ) -> None:
        self._nodes = nodes
        self._make = make
        self._prefixes = prefixes
        self._on_change = on_change
        self._on_doubt = on_doubt
        self._links: dict[Address, Tracking] = {}
        self._lock = threading.Lock()

    def reset(self) -> None:
        self._lock = threading.Lock()
        for link in self._links.values():
            link.reset()

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    def doubt(self) -> None:
        for link in self._links.values():
            link.doubt()

    def is_fresh(self) -> bool:
        nodes = self._nodes()
        if nodes != self._links.keys():
            self._follow(nodes)
        fresh = [link.is_fresh() for link in self._links.values()]  # each is asked, since that is what starts it
        return bool(fresh) and all(fresh)

    def _follow(self, nodes: frozenset[Address]) -> None:
        with self._lock:
            for address in self._links.keys() - nodes:
                self._links[address].close(wait_s=0)
            self._links = {address: self._links.get(address) or self._link(address) for address in nodes}
            self._on_doubt()  # of what was read from a node that nobody listened to

    def _link(self, address: Address) -> Tracking:
        make = partial(self._make, host=address[0], port=address[1])
        return Tracking(make, self._prefixes, self._on_change, self._on_doubt)
