"""What counting and the middleware cost: `python -m benchmarks.counting`. Nothing but this process is involved."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from cache.metrics import RequestTally
from cache.middleware import AsgiCacheMetrics
from cache.stats import Stats, counted_request

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS = 30, 5_000


def us_per_call(*ways: Callable[[], object]) -> list[list[float]]:
    """Microseconds a call of each way, in rounds that take turns: what disturbs one disturbs all."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, taken in zip(ways, times, strict=True):
            began = time.perf_counter()
            for _ in range(CALLS):
                way()
            taken.append((time.perf_counter() - began) / CALLS * 1e6)
    return times


def one_request(application: Any) -> Callable[[], None]:
    """Runs an ASGI application's coroutine, which never waits, to its end."""
    scope = {"type": "http", "route": Route(), "path_params": {"job_id": 1}, "root_path": ""}

    async def send(_message: Any) -> None: ...

    def run() -> None:
        with contextlib.suppress(StopIteration):
            application(scope, None, send).send(None)

    return run


class Route:
    path = "/jobs/{job_id}"
    param_convertors = {"job_id": None}  # noqa: RUF012 - as Starlette's


def main() -> int:
    stats, requests = Stats(), RequestTally()
    misses: dict[str, int] = {}

    def lookup() -> None:
        stats.lookup("match", hits=100, misses=misses, data_reads=1, bookkeeping_reads=1)

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        lookup()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def in_a_request() -> list[list[float]]:
        with counted_request():
            return us_per_call(lookup)

    outside, bare, marked = us_per_call(
        lookup, one_request(application), one_request(AsgiCacheMetrics(application, requests))
    )
    (inside,) = asyncio.run(in_a_request())
    added = [with_it - without for with_it, without in zip(marked, bare, strict=True)]
    for what, taken in (
        ("count one lookup, outside of requests", outside),
        ("count one lookup, in a request", inside),
        ("middleware, added to a request", added),
    ):
        quartiles = statistics.quantiles(taken, n=4)
        print(f"{what:40} {quartiles[1]:6.2f} us  (quartiles {quartiles[0]:.2f} to {quartiles[2]:.2f}, n={ROUNDS})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
