"""Whether to ask the server, and what becomes of its answer. Decisions only; links send and wait."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, TypeAlias

from redis.exceptions import AskError

from cache import commands, replies
from cache.commands import Unavailable
from cache.replies import TROUBLE, ClosedError, NoConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence

    from cache.breaker import Breaker
    from cache.commands import Command, Reply
    from cache.pending import Pending

    # Yields what is to be sent in one round trip, is sent the replies or thrown what went wrong.
    Sending: TypeAlias = Generator[Sequence[Command], list[Reply], list[Reply] | Unavailable]

_log = logging.getLogger("cache")

# Invalidations that waited are sent in pieces that the server answers well within the deadline.
_PENDING_AT_ONCE: Final = 500

_BREAKER_OPEN: Final = Unavailable("breaker open")
_LOST: Final = Unavailable("lost")
_PENDING: Final = Unavailable("invalidations pending")


class Operation:
    """One operation's time with the server. After a failure it leaves the cache alone to its end."""

    __slots__ = ("is_lost", "spent_s")

    def __init__(self) -> None:
        self.spent_s = 0.0
        self.is_lost = False

    def has_waited(self) -> None:
        """Waiting for another caller's compute is not the server's fault: the deadline begins anew."""
        self.spent_s = 0.0


class Gate:
    """The breaker first, then what is pending, then the commands, then what their replies mean.

    `on_failure` is called where no connection is to be used again: the next one may lead to another primary.
    A node of a cluster `serves` some parts of what is pending, and its redirections are replies like others.
    """

    def __init__(
        self,
        breaker: Breaker,
        pending: Pending,
        on_failure: Callable[[], None],
        *,
        serves: Callable[[int], bool] = lambda _: True,
        in_cluster: bool = False,
    ) -> None:
        self._breaker = breaker
        self._pending = pending
        self._on_failure = on_failure
        self._serves = serves
        self._in_cluster = in_cluster
        self._answers = 0  # threads may lose some: it is looked at for changes only

    def sending(self, batch: Sequence[Command], operation: Operation, parts: Collection[int] | None = None) -> Sending:
        """`parts` are those that the batch is about; None means all."""
        if operation.is_lost:
            return _LOST
        if not self._breaker.allows():
            operation.is_lost = True
            return _BREAKER_OPEN
        answers_before = self._answers
        try:
            if self._pending.holds_up(parts) and not (yield from self._apply_pending(parts)):
                operation.is_lost = True
                self._breaker.gave_up()
                return _PENDING
            answer = yield from self._ask(batch)
        except TROUBLE as error:
            operation.is_lost = True
            # Where the server answers others, there are more callers than connections.
            is_full = isinstance(error, NoConnectionError) and self._answers != answers_before
            if is_full or isinstance(error, ClosedError):
                self._breaker.gave_up()
            else:
                self._failed(error)
            return Unavailable(type(error).__name__)
        except BaseException:
            self._breaker.gave_up()
            raise
        self._answers += 1
        if self._breaker.succeeded():
            _log.info("cache.available")
        return answer

    def is_safe_to_reconnect(self) -> bool:
        """Asked where a connection was found closed: not before what a new primary may not know was applied again."""
        self._pending.primary_may_have_changed(self._serves)
        return not any(map(self._serves, self._pending.parts()))

    def _apply_pending(self, parts: Collection[int] | None) -> Generator[Sequence[Command], list[Reply], bool]:
        deletions = self._pending.begin(parts)
        is_applied = False
        try:
            for first in range(0, len(deletions), _PENDING_AT_ONCE):
                answer = yield from self._ask(deletions[first : first + _PENDING_AT_ONCE])
                if isinstance(answer, Unavailable) or any(isinstance(reply, AskError) for reply in answer):
                    return False  # refused, or for another node: that one is told when the slot's move is known
            is_applied = bool(deletions)
        finally:
            if is_applied:
                self._pending.applied(deletions)
            elif deletions:
                self._pending.failed(deletions)
        return is_applied

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, NoConnectionError):
            self._on_failure()
        self._pending.primary_may_have_changed(self._serves)
        replies.note_trouble(error)
        if self._breaker.failed():
            _log.warning("cache.unavailable: %s: %s", type(error).__name__, error)

    def _ask(self, batch: Sequence[Command]) -> Sending:
        """One round trip; a second one only for scripts that the server did not know."""
        if not batch:
            return []
        answers = yield batch
        unknown = replies.unknown_scripts(batch, answers)
        if unknown:
            again = yield [commands.with_text(batch[i]) for i in unknown]
            for i, answer in zip(unknown, again, strict=True):
                answers[i] = answer
        return replies.judge(batch, answers, in_cluster=self._in_cluster)
