"""Flows that do not depend on each other: while the server answers one, the next computes."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from cache.client import no_compute
from cache.commands import Compute
from cache.gate import Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from cache.commands import Flow, Step
    from cache.service import CacheService


def run_overlapping(
    service: CacheService, flows: Iterable[Flow[None]], compute: Callable[..., Any], *, at_once: int
) -> None:
    """Carries out all of them, up to `at_once` at a time, each as an operation with a deadline of its own.

    `compute`, and what the flows do between their steps, run in the caller's thread one after the other; the server is
    waited for in threads that end with the call. What one flow raises ends the others where they are.
    """
    under_way: deque[_UnderWay] = deque()
    with ThreadPoolExecutor(at_once) as senders:
        try:
            for flow in flows:
                under_way.append(_UnderWay(service, flow, compute, senders))
                while len(under_way) == at_once:
                    _go_on_with_first(under_way)
            while under_way:
                _go_on_with_first(under_way)
        finally:
            for each in under_way:
                each.flow.close()


def _go_on_with_first(under_way: deque[_UnderWay]) -> None:
    first = under_way.popleft()
    if not first.has_ended:
        first.go_on()
        under_way.append(first)


class _UnderWay:
    """A flow, and the step that another thread carries out for it."""

    def __init__(
        self, service: CacheService, flow: Flow[None], compute: Callable[..., Any], senders: ThreadPoolExecutor
    ) -> None:
        self.flow = flow
        self.has_ended = False
        self._service = service
        self._compute = compute
        self._senders = senders
        self._operation = Operation()
        self._answer: Future[Any]
        self._until_another_waits(partial(next, flow))

    def go_on(self) -> None:
        """From the answer to the next step for another thread, or to the end."""
        self._until_another_waits(self._resume(self._answer.result))

    def _until_another_waits(self, resume: Callable[[], Step]) -> None:
        try:
            step = resume()
            while isinstance(step, Compute):
                step = self._resume(partial(self._compute, *step.arguments))()
        except StopIteration:
            self.has_ended = True
        else:
            self._answer = self._senders.submit(self._service.act, step, no_compute, self._operation)

    def _resume(self, act: Callable[[], Any]) -> Callable[[], Step]:
        try:
            answer = act()
        except BaseException as error:  # noqa: BLE001 - the flow cleans up and lets it pass
            return partial(self.flow.throw, error)
        return partial(self.flow.send, answer)
