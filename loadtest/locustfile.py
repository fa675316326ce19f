"""RoleFerry's traffic in real time: `locust -f loadtest/locustfile.py --host redis://… [--stationary-start]`.

Each Locust user is one person of the scenario. Ends with the same verdict table and exit code as `python -m loadtest
validate`. From a cold start the hit rates are UNDECIDED; `--stationary-start` first writes the stationary state.
"""

from __future__ import annotations

import socket
import sys
from itertools import count
from random import Random
from time import time
from typing import Any

import gevent
from locust import User, constant, events, task
from locust.runners import MasterRunner, WorkerRunner

from loadtest import terminal, verdict, webtab
from loadtest.errors import ExitCode, LoadTestError
from loadtest.live import CountsByPerson, Live, add_options, for_locust, hits_of
from loadtest.scenarios import DAY_S
from loadtest.traffic import Action
from loadtest.webtab import HitRates

_COLD = "not judged: the run started cold; add --stationary-start"
_FEWER = "not judged: {users} of the scenario's {all} users took part, so its traffic was not reached"
_COUNTS = "roleferry_counts"
_MEMORY_EVERY_S = 10
_HIT_RATES_EVERY_S = 5


class _Run:
    """What one process needs; Locust hands no object of ours to its listeners."""

    def __init__(self) -> None:
        self.live: Live
        self.is_stationary = False
        self.next_person = count()
        self.most_users = 0
        self.gathered: dict[str, CountsByPerson] = {}  # by worker


_run = _Run()


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    add_options(parser)
    add = parser.add_argument
    add("--sessions-per-user-day", type=float, help="instead of the scenario's: real days are long")
    add("--stationary-start", action="store_true", help="write the stationary state first, so that rates are judged")


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return  # a worker learns the options and the host when the test starts
    if environment.web_ui:
        _check_port(environment.parsed_options.web_host or "", environment.parsed_options.web_port)
    _connect(environment)
    if environment.web_ui:
        hit_rates = HitRates(_run.live.scenario.catalog)
        webtab.add_to(environment.web_ui, hit_rates)
        gevent.spawn(_watch_hit_rates, hit_rates)
    if environment.parsed_options.stationary_start:
        print("Writing the stationary state …", file=sys.stderr)  # noqa: T201
        try:
            _run.live.write_stationary_start()
        except LoadTestError as error:
            print(f"loadtest: {error}", file=sys.stderr)  # noqa: T201
            sys.exit(int(error.exit_code))


def _check_port(host: str, port: int) -> None:
    """Locust's page would fail with a traceback, and the test would go on without it."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        print(f"loadtest: port {port} for Locust's page: {error.strerror}. Choose another --web-port.", file=sys.stderr)  # noqa: T201
        sys.exit(int(ExitCode.ERROR))


def _connect(environment: Any) -> None:
    options = environment.parsed_options
    host = environment.host or Person.host
    _run.live = for_locust(environment, host, sessions_per_user_day=options.sessions_per_user_day)
    _run.is_stationary = options.stationary_start


@events.test_start.add_listener
def _begin(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    while environment.runner is None:  # the master may start a worker before its runner is known here
        gevent.sleep(0.01)
    runner = environment.runner
    is_worker = isinstance(runner, WorkerRunner)
    if is_worker:
        _connect(environment)
    # People are dealt out to the workers in turn.
    workers = max(options.processes or 1, options.expect_workers or 1)
    _run.next_person = count(runner.worker_index, workers) if is_worker else count()
    gevent.spawn(_platform, acts=not is_worker, warms=not isinstance(runner, MasterRunner))
    if not is_worker:
        gevent.spawn(_watch_memory)


def _platform(*, acts: bool, warms: bool) -> None:
    """Vacancies, updates, warming. Every process follows the vacancies; one tells the cache of the rest."""
    for delay, operation in _run.live.behaviour.platform():
        gevent.sleep(delay)
        if operation.action is Action.WARM:
            if warms:
                _run.live.warm()
        elif acts or operation.action is Action.REPLACE_VACANCY:
            _run.live.perform(operation)


@events.spawning_complete.add_listener
def _spawned(user_count: int, **_: Any) -> None:
    _run.most_users = max(_run.most_users, user_count)


def _watch_hit_rates(hit_rates: HitRates) -> None:
    while True:
        gevent.sleep(_HIT_RATES_EVERY_S)
        hit_rates.sample(hits_of(_gathered(), _run.live.scenario.catalog))


def _watch_memory() -> None:
    while True:
        _run.live.sample_memory()
        gevent.sleep(_MEMORY_EVERY_S)


@events.report_to_master.add_listener
def _report(data: dict[str, Any], **_: Any) -> None:
    if hasattr(_run, "live"):  # the first report may come before the start
        data[_COUNTS] = _run.live.counts()


@events.worker_report.add_listener
def _gather(client_id: str, data: dict[str, Any], **_: Any) -> None:
    # Each report holds the sums since the start: a lost or repeated one does no harm.
    _run.gathered[client_id] = data.get(_COUNTS, {})


def _gathered() -> CountsByPerson:
    """The counts of this process and of all workers."""
    counted = _run.live.counts()
    for counts in _run.gathered.values():
        for name, by_person in counts.items():
            counted.setdefault(name, {}).update({int(person): (n[0], n[1]) for person, n in by_person.items()})
    return counted


@events.quitting.add_listener
def _judge(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return
    live = _run.live
    live.sample_memory()
    result = live.result(_gathered(), clock_note="real")
    judgement = verdict.judge(result, _why_undecided(live))
    terminal.show(result, judgement)
    environment.process_exit_code = int(judgement.exit_code)


def _why_undecided(live: Live) -> str | None:
    if not _run.is_stationary:
        return _COLD
    if _run.most_users < live.scenario.users:
        return _FEWER.format(users=_run.most_users, all=live.scenario.users)
    return None


class Person(User):
    """One person of the scenario: the stream of `traffic.Behaviour`, in real time."""

    host = "redis://127.0.0.1:6379"
    wait_time = constant(0)

    def on_start(self) -> None:
        person = next(_run.next_person) % _run.live.scenario.users
        self._stream = _run.live.behaviour.user(person, start_s=time() % DAY_S)
        # Behaviour lies on a grid, for virtual time. In real time its users must not all come at the grid's instants.
        self._due_at = time() + Random(person).random() * _run.live.scenario.resolution_s

    @task
    def next_operation(self) -> None:
        delay, operation = next(self._stream)
        # From the time it was meant to happen: a slow answer must not delay what follows.
        self._due_at += delay
        gevent.sleep(max(0.0, self._due_at - time()))
        _run.live.perform(operation)
