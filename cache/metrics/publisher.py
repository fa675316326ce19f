"""The thread that reports."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from cache.catalog import CATALOG
from cache.clock import SystemClock
from cache.metrics.report import Report, RequestTally, ServerState, difference
from cache.stats import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from cache.clock import Clock
    from cache.stats import Stats

_log = logging.getLogger("cache")

INTERVAL_S: Final = 10.0
# The end of a process waits this long for the last report: about two time-outs of a sink.
CLOSE_WITHIN_S: Final = 10.0
_NOTHING: Final = Counts()


class Sink:
    """Where reports go. A sink may raise: it is logged once, and the next report is sent to it all the same."""

    def send(self, report: Report) -> None:
        """Called in the publisher's thread, about every ten seconds."""
        raise NotImplementedError

    def close(self) -> None:
        """After the last report: sends what it has kept."""

    def after_fork(self) -> None:
        """In a forked child: what was kept is the parent's to send, and so are its connections."""


class Counted(Protocol):
    """A CacheService or AsyncCacheService."""

    @property
    def stats(self) -> Stats: ...
    @property
    def pending_invalidations(self) -> int: ...


class Publisher:
    """`with Publisher(cache, [DogStatsD()]):`, or `start` and `close`; the end of the process closes it too.

    A daemon thread takes the counts of `service` every `interval_s` seconds and gives what was added to each sink. No
    sink can slow or break a lookup. A forked child starts its own thread and reports what it counts itself.
    `server` is a client of a user who may send INFO and DBSIZE, for memory, items and evictions.
    `requests` is for the middleware.
    """

    def __init__(
        self,
        service: Counted,
        sinks: Sequence[Sink],
        *,
        interval_s: float = INTERVAL_S,
        server: redis.Redis | None = None,
        clock: Clock | None = None,
    ) -> None:
        if interval_s <= 0:
            raise ValueError(f"interval_s is {interval_s!r}; it must be more than 0 seconds.")
        self.requests = RequestTally()
        self._service = service
        self._sinks = tuple(sinks)
        self._interval_s = interval_s
        self._server = server
        self._clock = clock or SystemClock()
        self._silent: set[object] = set()
        self._is_started = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen = self._counts()
        self._began_at = self._clock.now()

    def start(self) -> Self:
        """Starts the thread, after `close` too. Safe to call twice."""
        if not self._is_started:
            self._is_started = True
            self._stop = threading.Event()
            _started.add(self)
            atexit.register(self.close)
            self._start_thread()
        return self

    def close(self) -> None:
        """Reports what is left, within some seconds, and ends the thread. Safe to call twice."""
        if self._is_started:
            self._is_started = False
            _started.discard(self)
            atexit.unregister(self.close)
            self._stop.set()
            if self._thread is not None:
                self._thread.join(CLOSE_WITHIN_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def report(self) -> None:
        """Reports now, in the calling thread."""
        with self._lock:
            report = self._take()
            for sink in self._sinks:
                self._guarded(sink, sink.send, report)

    def after_fork(self) -> None:
        self.requests.reset()
        self._begin_anew()
        for sink in self._sinks:
            sink.after_fork()
        self._start_thread()

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="cache-metrics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.report()
        self.report()
        for sink in self._sinks:
            self._guarded(sink, sink.close)

    def _guarded(self, who: object, act: Any, *arguments: object) -> Any:
        """What `act` returns; None where it raised, which is said once until it works again."""
        try:
            answer = act(*arguments)
        except Exception as error:  # noqa: BLE001 - neither a sink nor the server may end the reports of the others
            if who not in self._silent:
                self._silent.add(who)
                _log.warning("cache.metrics_failed: %s: %r", type(who).__name__, error)
            return None
        self._silent.discard(who)
        return answer

    def _take(self) -> Report:
        seen, before = self._counts(), self._seen
        began_at, self._began_at, self._seen = self._began_at, self._clock.now(), seen
        server = self._guarded(self._server, _state_of, self._server) if self._server is not None else None
        return Report(
            began_at=began_at,
            ended_at=self._began_at,
            types={name: difference(counts, before.get(name, _NOTHING)) for name, counts in seen.items()},
            requests=self.requests.take(),
            pending=self._service.pending_invalidations,
            server=server,
        )

    def _counts(self) -> dict[str, Counts]:
        stats = self._service.stats
        return {name: stats.counts(name) for name in dict.fromkeys((*CATALOG.names(), *stats.names()))}


def _state_of(client: redis.Redis) -> ServerState:
    info: Any = client.info()
    items: Any = client.dbsize()
    return ServerState(info["used_memory"], items, info["evicted_keys"])


_started: weakref.WeakSet[Publisher] = weakref.WeakSet()


def _after_fork() -> None:
    for publisher in list(_started):
        publisher.after_fork()


os.register_at_fork(after_in_child=_after_fork)
