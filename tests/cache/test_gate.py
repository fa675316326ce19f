"""When a link's callers stop asking a server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cache.breaker import FAILURES_TO_OPEN, Breaker
from cache.clock import SystemClock
from cache.commands import Unavailable, get
from cache.gate import Gate, Operation
from cache.pending import Pending
from cache.replies import NoConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.commands import Reply


def ending(step: Callable[[], object]) -> list[Reply] | Unavailable:
    """What a sending that asks for nothing more answers."""
    try:
        step()
    except StopIteration as done:
        answer: list[Reply] | Unavailable = done.value
        return answer
    raise AssertionError("it asked for more")


def callers_without_a_connection(*, others_are_answered: bool) -> Breaker:
    """As many as open a breaker; meanwhile another caller's read is answered, or not."""
    breaker = Breaker()
    gate = Gate(breaker, Pending(SystemClock()), on_failure=lambda: None)
    waiting = [gate.sending((get("key"),), Operation()) for _ in range(FAILURES_TO_OPEN)]
    for caller in waiting:
        next(caller)
    if others_are_answered:
        other = gate.sending((get("key"),), Operation())
        next(other)
        assert ending(partial(other.send, [b"value"])) == [b"value"]
    for caller in waiting:
        assert ending(partial(caller.throw, NoConnectionError())) == Unavailable("NoConnectionError")
    return breaker


def test_more_callers_than_connections_do_not_open_the_breaker_of_a_server_that_answers() -> None:
    assert callers_without_a_connection(others_are_answered=True).allows()


def test_callers_without_a_connection_open_the_breaker_of_a_server_that_answers_nobody() -> None:
    assert not callers_without_a_connection(others_are_answered=False).allows()


def test_an_operation_that_has_failed_asks_no_more() -> None:
    """Else a write in an outage would take a deadline for each of its steps."""
    gate, operation = Gate(Breaker(), Pending(SystemClock()), on_failure=lambda: None), Operation()
    sending = gate.sending((get("key"),), operation)
    next(sending)
    ending(partial(sending.throw, TimeoutError()))

    assert ending(partial(next, gate.sending((get("key"),), operation))) == Unavailable("lost")
