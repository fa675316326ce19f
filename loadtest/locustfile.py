"""RoleFerry's traffic in real time: `locust -f loadtest/locustfile.py --host redis://… [--stationary-start]`.

Each Locust user is one person of the scenario. Ends with the same verdict table and exit code as `python -m loadtest
validate`. From a cold start the hit rates are UNDECIDED; `--stationary-start` first writes the stationary state.
"""

from __future__ import annotations

import sys
from itertools import count
from random import Random
from time import time
from typing import Any

import gevent
from gevent import GreenletExit
from locust import User, constant, events, task
from locust.runners import MasterRunner, WorkerRunner

from loadtest import ports, terminal, texts, verdict, webtab
from loadtest.errors import LoadTestError, ScenarioError
from loadtest.live import CountsByPerson, Live, add_options, for_locust, hits_of
from loadtest.locust_processes import Interrupts, Processes, leave_on_interrupt, one_sentence
from loadtest.scenarios import DAY_S
from loadtest.steps import UNANSWERED
from loadtest.traffic import Action
from loadtest.webtab import HitRates

_COLD = "not judged: the run started cold; add --stationary-start"
_FEWER = "not judged: {users} of the scenario's {all} users took part, so its traffic was not reached"
_MORE = "not judged: {users} users took part, and the scenario has {all}: some were played twice"
_COUNTS = "roleferry_counts"
_UNANSWERED = "roleferry_unanswered"
_OVER = "roleferry_over"
_MEMORY_EVERY_S = 10
_HIT_RATES_EVERY_S = 5
_PROCESSES_EVERY_S = 1


class _Run:
    """What one process needs; Locust hands no object of ours to its listeners."""

    def __init__(self) -> None:
        self.interrupts: Interrupts
        self.hit_rates: HitRates | None = None  # of Locust's page
        self.live: Live
        self.connected_by: tuple[Any, ...] = ()  # the host and the options that `live` is of
        self.has_tested = False
        self.test = _Test()


class _Test:
    """One test: on Locust's page one can follow another."""

    def __init__(self) -> None:
        self.processes: Processes
        self.watchers: list[gevent.Greenlet] = []
        self.next_person = count()
        self.most_users = 0
        self.is_over = False
        # By worker, its last report. It holds the sums since the start: a lost or repeated one does no harm.
        self.gathered: dict[str, dict[str, Any]] = {}
        self.has_told_all: set[str] = set()  # workers


_run = _Run()
leave_on_interrupt()


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    add_options(parser)
    add = parser.add_argument
    add("--sessions-per-user-day", type=float, help="instead of the scenario's: real days are long")
    add("--stationary-start", action="store_true", help="write the stationary state first, so that rates are judged")


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    _run.interrupts = Interrupts(environment)
    if isinstance(environment.runner, WorkerRunner):
        return  # a worker learns the options and the host when the test starts
    options = environment.parsed_options
    with one_sentence():
        if environment.web_ui:
            # Locust's page would fail with a traceback, and the test would go on without it.
            where = options.web_host or ""
            ports.check_free(options.web_port, "Locust's page", "Choose another --web-port.", host=where)
        _connect(environment)
    if environment.web_ui:
        _run.hit_rates = HitRates(_run.live.scenario.catalog)
        webtab.add_to(environment.web_ui, _run.hit_rates)
    with one_sentence():
        _write_stationary_state(environment)


def _connect(environment: Any) -> None:
    host, *_, sessions = _run.connected_by = _settings(environment)
    try:
        changed = None if sessions is None else float(sessions)  # the page gives a text
    except ValueError:
        raise ScenarioError(f"sessions_per_user_day is {sessions!r}; it must be a number, as 0.5.") from None
    is_worker = isinstance(environment.runner, WorkerRunner)
    _run.live = for_locust(environment, host, is_worker=is_worker, sessions_per_user_day=changed)


def _settings(environment: Any) -> tuple[Any, ...]:
    """What Locust's page lets one change before each test."""
    options = environment.parsed_options
    return (
        environment.host or Person.host,
        *(options.scenario, options.scenarios, options.seed, options.layout, options.iam, options.stationary_start),
        None if options.sessions_per_user_day == "" else options.sessions_per_user_day,  # "" of an empty field
    )


def _write_stationary_state(environment: Any) -> None:
    if environment.parsed_options.stationary_start:
        print("Writing the stationary state …", file=sys.stderr)  # noqa: T201
        _run.live.write_stationary_start()


@events.test_start.add_listener
def _begin(environment: Any, **_: Any) -> None:
    while environment.runner is None:  # the master may start a worker before its runner is known here
        gevent.sleep(0.01)
    runner = environment.runner
    is_worker = isinstance(runner, WorkerRunner)
    if is_worker:
        with one_sentence():
            _connect(environment)
    elif _run.has_tested or _run.connected_by != _settings(environment):
        _connect_anew(environment)
    _run.has_tested = True
    _run.live.started = time()
    _run.test = test = _Test()
    test.processes = processes = Processes(environment)
    # People are dealt out to the processes in turn.
    test.next_person = count(processes.number, processes.count)
    test.watchers.append(gevent.spawn(_platform, acts=not is_worker, warms=not isinstance(runner, MasterRunner)))
    if not is_worker:
        test.watchers += [gevent.spawn(_watch_memory), gevent.spawn(_watch_processes, processes)]
    if _run.hit_rates:
        _run.hit_rates.clear()
        test.watchers.append(gevent.spawn(_watch_hit_rates, _run.hit_rates))


def _connect_anew(environment: Any) -> None:
    """Another test of Locust's page: its counts begin at nothing, its host and options may be others."""
    try:
        _connect(environment)
        _write_stationary_state(environment)
    except LoadTestError as error:
        print(f"loadtest: {error}", file=sys.stderr)  # noqa: T201
        environment.runner.log_exception("loadtest", str(error), "")
        raise GreenletExit from None  # ends what starts the test, and nothing else


@events.test_stopping.add_listener
def _stop_watching(environment: Any, **_: Any) -> None:
    if not isinstance(environment.runner, WorkerRunner):
        gevent.killall(_run.test.watchers, block=False)
        _look(_run.test.processes)


@events.test_stop.add_listener
def _end(environment: Any, **_: Any) -> None:
    gevent.killall(_run.test.watchers, block=False)
    _run.test.is_over = True
    _run.live.ended = time()
    runner = environment.runner
    if isinstance(runner, MasterRunner) and environment.parsed_options.headless and not runner.worker_count:
        gevent.spawn(runner.quit)  # Locust itself would wait for the time limit


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
    _run.test.most_users = max(_run.test.most_users, user_count)


def _watch_hit_rates(hit_rates: HitRates) -> None:
    while True:
        gevent.sleep(_HIT_RATES_EVERY_S)
        hit_rates.sample(hits_of(_gathered(), _run.live.scenario.catalog))


def _watch_memory() -> None:
    while True:
        _run.live.sample_memory()
        gevent.sleep(_MEMORY_EVERY_S)


def _watch_processes(processes: Processes) -> None:
    while True:
        gevent.sleep(_PROCESSES_EVERY_S)
        _look(processes)


def _look(processes: Processes) -> None:
    if processes.look():
        print(f"loadtest: {processes.trouble}; the verdict will be partial.", file=sys.stderr)  # noqa: T201
        if _run.hit_rates:
            _run.hit_rates.remark = f"PARTIAL: {processes.trouble}"


@events.report_to_master.add_listener
def _report(data: dict[str, Any], **_: Any) -> None:
    if hasattr(_run, "live"):  # the first report may come before the start
        data[_COUNTS] = _run.live.counts()
        data[_UNANSWERED] = _run.live.unanswered()
        data[_OVER] = _run.test.is_over


@events.worker_report.add_listener
def _gather(client_id: str, data: dict[str, Any], **_: Any) -> None:
    if _COUNTS in data:
        _run.test.gathered[client_id] = data
        (_run.test.has_told_all.add if data[_OVER] else _run.test.has_told_all.discard)(client_id)


def _gathered() -> CountsByPerson:
    """The counts of this process and of all workers."""
    counted = _run.live.counts()
    for report in _run.test.gathered.values():
        for name, by_person in report[_COUNTS].items():
            sums = counted.setdefault(name, {})
            for person, (hits, lookups) in by_person.items():
                before = sums.get(int(person), (0, 0))
                sums[int(person)] = before[0] + hits, before[1] + lookups
    return counted


@events.quitting.add_listener
def _judge(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return
    live, test = _run.live, _run.test
    if test.is_over and isinstance(environment.runner, MasterRunner):
        test.processes.collect(test.has_told_all)
    live.sample_memory()
    counted = _gathered()
    result = live.result(counted, _stopped_because(environment, counted))
    judgement = verdict.judge(result, _why_undecided(environment))
    terminal.show(result, judgement)
    environment.process_exit_code = int(judgement.exit_code)


def _stopped_because(environment: Any, counted: CountsByPerson) -> str | None:
    """Why something is missing of what was to be measured; None if nothing is."""
    test, live = _run.test, _run.live
    if test.is_over and test.processes.trouble:
        return f"{test.processes.trouble}."
    if _run.interrupts.happened and environment.parsed_options.run_time:
        return "it was interrupted before its time limit."
    lookups = sum(lookups for _, lookups in hits_of(counted, live.scenario.catalog).values())
    unanswered = live.unanswered() + sum(report[_UNANSWERED] for report in test.gathered.values())
    if unanswered > UNANSWERED * lookups:
        return f"{texts.percent(unanswered / lookups)} of the lookups were not answered by the server."
    return None


def _why_undecided(environment: Any) -> str | None:
    if not environment.parsed_options.stationary_start:
        return _COLD
    users, wanted = _run.test.most_users, _run.live.scenario.users
    if users == wanted:
        return None
    return (_FEWER if users < wanted else _MORE).format(users=users, all=wanted)


class Person(User):
    """One person of the scenario: the stream of `traffic.Behaviour`, in real time."""

    host = "redis://127.0.0.1:6379"
    wait_time = constant(0)

    def on_start(self) -> None:
        person = next(_run.test.next_person) % _run.live.scenario.users
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
