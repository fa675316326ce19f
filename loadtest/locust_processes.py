"""The processes of a run by Locust: who takes part, who ends before its time, and what Ctrl-C does to each.

Both of Locust's files use it.
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import gevent
from locust.runners import STATE_INIT, MasterRunner, WorkerRunner

from loadtest.errors import ExitCode, LoadTestError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

# After so many missed heartbeats, one a second, a worker has ended; one that is just starved of its processor has not.
_MISSED_HEARTBEATS: Final = 10
# A busy worker has to stop its people before it can tell.
_LAST_REPORTS_WITHIN_S: Final = 10.0
# On a terminal Ctrl-C reaches master and workers alike; the master's own word lets a worker report once more.
_WORD_OF_THE_MASTER_S: Final = 3.0


class Processes:
    """Those that share one test, from its start: `workers` by their ids, none where Locust runs in one process."""

    def __init__(self, environment: Any) -> None:
        self._runner = environment.runner
        options = environment.parsed_options
        if isinstance(self._runner, MasterRunner):
            clients = self._runner.clients
            # Locust sends the options to each worker with the start of the test.
            options.workers = [client.id for client in clients.ready + clients.spawning + clients.running]
        self.workers: list[str] = getattr(options, "workers", [])
        self.lost: set[str] = set()
        self.late: set[str] = set()  # who joined behind the start: Locust moves people to them

    @property
    def count(self) -> int:
        """How many make load."""
        return len(self.workers) or 1

    @property
    def number(self) -> int:
        """This process's own, from 0; one that joined late has `count`."""
        if not isinstance(self._runner, WorkerRunner):
            return 0
        own = self._runner.client_id
        return self.workers.index(own) if own in self.workers else len(self.workers)

    def look(self) -> bool:
        """Notes on the master who has ended or joined while the test goes on; whether that is news."""
        if not isinstance(self._runner, MasterRunner):
            return False
        before = len(self.lost), len(self.late)
        clients = self._runner.clients
        nobody = not self._runner.worker_count  # Locust stops the test then, sooner than one worker is given up here
        for worker in self.workers:
            client = clients.get(worker)
            if nobody or client is None or client.heartbeat <= -_MISSED_HEARTBEATS:
                self.lost.add(worker)
        self.late |= set(clients) - set(self.workers)
        return (len(self.lost), len(self.late)) != before

    def collect(self, reported: Container[str]) -> None:
        """Takes on the master, behind the test, what workers have yet to tell; who does not is lost.

        Locust waits half a second for it. `reported` grows by the listener of `worker_report`.
        """
        waiting = self.workers
        with gevent.Timeout(_LAST_REPORTS_WITHIN_S, exception=False):
            while waiting := [worker for worker in waiting if worker not in reported and worker not in self.lost]:
                self._runner.handle_message(*self._runner.server.recv_from_client())
        self.lost.update(waiting)

    @property
    def trouble(self) -> str:
        """For people: what makes the measurement partial; empty if nothing does."""
        said = []
        if self.lost:
            said.append(
                f"{len(self.lost)} of {self.count} workers answered no more before the test was over, and their "
                "share of the traffic is missing from then on"
            )
        if self.late:
            said.append(
                f"{len(self.late)} worker{'s' if len(self.late) > 1 else ''} joined when the test had begun, and took "
                "over work of the others"
            )
        return "; ".join(said)


def leave_on_interrupt() -> None:
    """Lets Ctrl-C end this process without a word, before there is a test. To be called before Locust forks."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(int(ExitCode.ERROR)))


@contextmanager
def one_sentence() -> Iterator[None]:
    """Ends the process where what is done in it cannot be."""
    try:
        yield
    except LoadTestError as error:
        print(f"loadtest: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(int(error.exit_code))


class Interrupts:
    """Lets Ctrl-C end a test as its time limit would. To be made by the main greenlet.

    gevent would raise KeyboardInterrupt in whatever runs: in a person, who shows a traceback, or in its own loop.
    """

    def __init__(self, environment: Any) -> None:
        self.happened = False
        self._environment = environment
        self._main = gevent.getcurrent()
        gevent.signal_handler(signal.SIGINT, self._end)
        gevent.signal_handler(signal.SIGTERM, self._end, by_locust=True)

    def _end(self, *, by_locust: bool = False) -> None:
        """`by_locust`: Locust ends the test by itself, once it has begun."""
        if self.happened:  # the command that started this process sends its own again
            return
        self.happened = True
        runner = self._environment.runner
        if not (isinstance(runner, WorkerRunner) or _has_begun(self._environment)):
            print("loadtest: interrupted before the test began.", file=sys.stderr)  # noqa: T201
            gevent.kill(self._main, SystemExit(int(ExitCode.ERROR)))
        elif not by_locust and isinstance(runner, WorkerRunner):
            gevent.sleep(_WORD_OF_THE_MASTER_S)
            runner.quit()
        elif not by_locust:
            gevent.kill(self._main, KeyboardInterrupt)


def _has_begun(environment: Any) -> bool:
    """Whether Locust's main greenlet just waits for the end."""
    if environment.web_ui:
        return environment.web_ui.greenlet is not None
    is_waiting: bool = environment.runner.state == STATE_INIT
    return not is_waiting
