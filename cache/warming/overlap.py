"""Flows that do not depend on each other: while the server answers one, the next computes."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
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
    with ThreadPoolExecutor(at_once) as waiters:
        under_way = _UnderWay(service, compute, waiters)
        try:
            for flow in flows:
                under_way.start(flow)
                while len(under_way) == at_once:
                    under_way.go_on()
            while len(under_way):
                under_way.go_on()
        finally:
            under_way.close()


class _UnderWay:
    """Flows, by the answer that each waits for."""

    def __init__(self, service: CacheService, compute: Callable[..., Any], waiters: ThreadPoolExecutor) -> None:
        self._service = service
        self._compute = compute
        self._waiters = waiters
        self._waiting: dict[Future[Any], tuple[Flow[None], Operation]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self, flow: Flow[None]) -> None:
        self._until_it_waits(flow, partial(next, flow), Operation())

    def go_on(self) -> None:
        """With one that has its answer."""
        answered = wait(self._waiting, return_when=FIRST_COMPLETED).done
        # Of several the one that has waited longest.
        answer = next(each for each in self._waiting if each in answered)
        flow, operation = self._waiting.pop(answer)
        self._until_it_waits(flow, _resuming(flow, answer.result), operation)

    def close(self) -> None:
        for flow, _ in self._waiting.values():
            flow.close()

    def _until_it_waits(self, flow: Flow[None], resume: Callable[[], Step], operation: Operation) -> None:
        try:
            step = resume()
            while isinstance(step, Compute):
                step = _resuming(flow, partial(self._compute, *step.arguments))()
        except StopIteration:
            return
        self._waiting[self._waiters.submit(self._service.act, step, no_compute, operation)] = flow, operation


def _resuming(flow: Flow[None], act: Callable[[], Any]) -> Callable[[], Step]:
    try:
        answer = act()
    except BaseException as error:  # noqa: BLE001 - the flow cleans up and lets it pass
        return partial(flow.throw, error)
    return partial(flow.send, answer)
