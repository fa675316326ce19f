"""Rising steps of load in real time. `python -m loadtest live` starts Locust with this file.

Each Locust user is one connection that takes the next operation that is due. At the end of each step, workers send
latencies and hits to the master, which ends the test at the first step that is not reached.
"""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, perf_counter, process_time
from typing import Any

import gevent
from locust import User, constant, events, task
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from loadtest import terminal
from loadtest.errors import ExitCode
from loadtest.live import REQUEST_NAMES, Live, add_options, for_locust, hits_of
from loadtest.live_result import LiveResult
from loadtest.locust_processes import Interrupts, Processes, leave_on_interrupt, one_sentence
from loadtest.result import versions
from loadtest.steps import Mix, Schedule, Step, Tally, step_of

_TALLY = "roleferry_tally"
_PAUSE_S = 1.0
# Of the pause: what is due at a step's very end has so long to be answered, or a slow answer would count as none.
_STRAGGLERS_S = 0.5
# Workers begin later than the master, and so they end: they have to connect first.
_REPORTS_AT_MOST_S = 30.0


class _Run:
    """What one process needs; Locust hands no object of ours to its listeners."""

    def __init__(self) -> None:
        self.live: Live
        self.schedule: Schedule
        self.mix: Mix
        self.processes: Processes
        self.stopped_because: str | None = "interrupted"  # None once the steps are over
        self.tally = Tally()
        self.reported: dict[str, dict[str, Any]] = {}  # by worker
        self.steps: list[Step] = []


_run = _Run()
leave_on_interrupt()


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    add_options(parser)
    add = parser.add_argument
    add("--steps", default="200,400,800,1600,3200,6400,12800", help="operations a second, by steps")
    add("--step-seconds", type=float, default=15.0)
    add("--limit-ms", type=float, default=50.0, help="p99 from the due time that ends the test")
    add("--pool", type=int, default=50, help="connections of the library in each process, on a cluster to each node")
    add("--report-file", default="", help="where to write the steps as JSON")


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    Interrupts(environment)
    if isinstance(environment.runner, MasterRunner):
        environment.runner.register_message(_TALLY, _gather)
    if not isinstance(environment.runner, WorkerRunner):
        _connect(environment)


def _connect(environment: Any) -> None:
    with one_sentence():
        _run.live = for_locust(
            environment,
            environment.host,
            is_worker=isinstance(environment.runner, WorkerRunner),
            max_connections=environment.parsed_options.pool,
        )


def _rates(options: Any) -> list[float]:
    return [float(rate) for rate in options.steps.split(",")]


@events.test_start.add_listener
def _begin(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    while environment.runner is None:  # the master may start a worker before its runner is known here
        gevent.sleep(0.01)
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        _connect(environment)
    _run.processes = processes = Processes(environment)
    _run.mix = Mix(_run.live.scenario, _run.live.people, options.seed + processes.number)
    gc.freeze()  # else the collector walks all people again and again, 30 ms each time, which would count as latency
    # One that joins late does nothing: the others have the whole load already.
    rates = [rate / processes.count for rate in _rates(options)] if processes.number < processes.count else []
    # Every process counts from here: a master's start reaches its workers within milliseconds.
    _run.schedule = Schedule(rates, options.step_seconds, monotonic() + 1.0, _PAUSE_S)
    if not isinstance(runner, MasterRunner):
        gevent.spawn(_watch_this_process, runner)
    if not isinstance(runner, WorkerRunner):
        gevent.spawn(_watch_steps, environment)


def _sleep_until(at: float) -> None:
    gevent.sleep(max(0.0, at - monotonic()))


def _watch_this_process(runner: Any) -> None:
    """Notes at the end of each step what this process did in it, and tells the master."""
    live, schedule, tally = _run.live, _run.schedule, _run.tally
    catalog = live.scenario.catalog
    unanswered, hits = 0, hits_of({}, catalog)
    for number in range(len(schedule.rates)):
        _sleep_until(schedule.begin_of(number))
        cpu_s_before = process_time()
        _sleep_until(schedule.end_of(number))
        cpu_s = process_time()
        _sleep_until(schedule.end_of(number) + _STRAGGLERS_S)
        unanswered_before, hits_before = unanswered, hits
        unanswered, hits = live.unanswered(), hits_of(live.counts(), catalog)
        tally.hits[number] = {
            name: (hits[name][0] - hits_before[name][0], hits[name][1] - hits_before[name][1]) for name in hits
        }
        tally.unanswered[number] = unanswered - unanswered_before
        tally.cpu_s[number] = cpu_s - cpu_s_before
        if isinstance(runner, WorkerRunner):  # at once: the next step must not begin before this one is judged
            runner.send_message(_TALLY, tally.packed())


def _watch_steps(environment: Any) -> None:
    """Judges each step at its end; the first that is not reached is the last."""
    options, schedule = environment.parsed_options, _run.schedule
    server = _run.live.server
    _sleep_until(schedule.began)
    before = server.cpu_s()
    for number, asked in enumerate(_rates(options)):
        _sleep_until(schedule.end_of(number) + _STRAGGLERS_S)
        _wait_for_reports(environment.runner, number)
        if _run.processes.trouble:
            break
        after = server.cpu_s()
        # A node that is new in this step, or was restarted, has no share of it.
        used = {
            node: (after[node] - before[node]) / options.step_seconds
            for node in after
            if 0 <= before.get(node, -1.0) <= after[node]
        }
        before = after
        _run.steps.append(step_of(_gathered(), number, asked, options.step_seconds, used))
        if not _run.steps[-1].is_reached(options.limit_ms):
            break
    _run.stopped_because = _run.processes.trouble or None
    environment.runner.quit()


def _wait_for_reports(runner: Any, step: int) -> None:
    """Until what was done in this step is known here, or will never be."""
    processes = _run.processes
    missing: set[str] = set()
    with gevent.Timeout(_REPORTS_AT_MOST_S, exception=False):
        while True:
            processes.look()
            missing = _missing(runner, step)
            if processes.trouble or not missing:
                return
            gevent.sleep(0.01)
    processes.lost |= missing


def _missing(runner: Any, step: int) -> set[str]:
    """Who has yet to tell what was done in this step."""
    if not isinstance(runner, MasterRunner):
        return set() if step in _run.tally.cpu_s else {"this process"}
    reported = {worker for worker, packed in _run.reported.items() if step in packed["cpu_s"]}
    return {*_run.processes.workers} - reported


def _gathered() -> Tally:
    if not _run.reported:
        return _run.tally
    tally = Tally()
    for packed in _run.reported.values():
        tally.merge_packed(packed)
    return tally


def _gather(msg: Any, **_: Any) -> None:
    """On the master. It holds the sums since the start: what was lost comes with the next."""
    _run.reported[msg.node_id] = msg.data


@events.quitting.add_listener
def _judge(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return
    options, live = environment.parsed_options, _run.live
    result = LiveResult(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        host=live.server.name,
        server=live.server.version(),
        scenario=live.scenario.name,
        seed=options.seed,
        layout=options.layout,
        connections=options.num_users,
        generators=_run.processes.count,
        step_s=options.step_seconds,
        limit_ms=options.limit_ms,
        targets={each.name: each.target_hit_rate for each in live.scenario.catalog},
        versions=versions(live.server.version()),
        steps=_run.steps,
        stopped_because=_run.stopped_because,
    )
    terminal.show_live(result)
    if options.report_file:
        with one_sentence():
            result.write(Path(options.report_file))
    if result.is_partial:
        code = ExitCode.ERROR
    elif result.steps and result.steps[0].is_reached(result.limit_ms):
        code = ExitCode.PASS
    else:
        code = ExitCode.UNDECIDED
    environment.process_exit_code = int(code)


class Connection(User):
    """Takes whatever is due next."""

    wait_time = constant(0)

    @task
    def next_operation(self) -> None:
        due = _run.schedule.next_due(monotonic())
        if due is None:
            raise StopUser
        step, at = due
        _sleep_until(at)
        call = _run.mix.next()
        sent = perf_counter()
        _run.live.call(call)
        done = monotonic()
        name = REQUEST_NAMES.get(call.call, "match.list")
        _run.tally.add(step, name, (done - at) * 1e6)
        _run.live.fire(name, (perf_counter() - sent) * 1000)
