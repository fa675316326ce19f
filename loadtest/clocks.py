"""The one clock of a virtual-time run: library, driver and server ask it, the driver moves it.

`ServerClock` moves the server's own clock. Where that cannot be done, `DeletingClock` deletes each key at its virtual
deadline instead: what the server would expire is gone at the same virtual second.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from cache import commands
from loadtest.errors import ServerGoneError
from local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.commands import Command, Reply
    from loadtest.pipeline import Pipeline
    from local.valkey import Valkey


class ServerClock:
    """The server's clock stands still between moves, so that a run depends on its seed alone."""

    how: Final = "virtual; the server's own clock is moved (libfaketime)"

    def __init__(self, server: Valkey, epoch_s: int) -> None:
        self._server = server
        self._now = epoch_s
        server.set_time(epoch_s)

    def now(self) -> float:
        return self._now

    def move(self, epoch_s: int) -> None:
        """Raises ServerGoneError if the server was killed while it read its clock."""
        self._now = epoch_s
        try:
            self._server.set_time(epoch_s)
        except LocalError as error:
            raise ServerGoneError(f"the server went away: {error}") from None


class DeletingClock:
    """Keeps the deadline of every key that is written, and deletes the keys whose time has come."""

    how: Final = "virtual; the server's clock cannot be moved here, so each key is deleted at its virtual deadline"

    def __init__(self, epoch_s: int) -> None:
        self._now = epoch_s
        self._deadlines: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []
        self.pipeline: Pipeline | None = None

    def now(self) -> float:
        return self._now

    def move(self, epoch_s: int) -> None:
        self._now = epoch_s
        expired = []
        # As the server: a key lives to the end of its last millisecond, so at its deadline it is still there.
        while self._queue and self._queue[0][0] < epoch_s:
            deadline, key = heapq.heappop(self._queue)
            if self._deadlines.get(key) == deadline:
                del self._deadlines[key]
                expired.append(key)
        if expired and self.pipeline:
            self.pipeline.send([("UNLINK", *expired)])

    def on_replies(self, batch: Sequence[Command], replies: Sequence[Reply]) -> None:
        for command, reply in zip(batch, replies, strict=True):
            match command[0], command:
                case "UNLINK", (_, *unlinked):
                    for gone in unlinked:
                        self._deadlines.pop(str(gone), None)
                case "FLUSHALL", _:
                    self._deadlines.clear()
                case "SET", (_, key, _, "EX", ttl):
                    self._expires(key, ttl)
                case "GETEX", (_, key, "EX", ttl) if reply is not None:
                    self._expires(key, ttl)
                case "EXPIRE", (_, key, ttl) if reply:
                    self._expires(key, ttl)
                case "EVALSHA", _:
                    self._script(command, reply)

    def _script(self, command: Command, reply: Reply) -> None:
        """What the library's scripts set a TTL for; their headers say which words these are."""
        match commands.script_name(command), command:
            case "ensure_generation", (_, _, _, key, _, ttl, _):
                if str(key) not in self._deadlines:
                    self._expires(key, ttl)
            case "fill_scores" | "replace_scores", (_, _, _, key, _, ttl, *_) if reply:
                self._expires(key, ttl)
            case "take_lease", (_, _, _, key, _, life_ms) if reply:
                self._expires(key, int(life_ms) / 1000)
            case "fill", (_, _, _, key, lease, _, _, ttl) if reply:
                self._expires(key, ttl)
                self._deadlines.pop(str(lease), None)

    def _expires(self, key: object, ttl_s: object) -> None:
        deadline = self._now + float(str(ttl_s))
        self._deadlines[str(key)] = deadline
        heapq.heappush(self._queue, (deadline, str(key)))
