"""Rising steps of load in real time. `python -m loadtest live` starts Locust with this file.

Each Locust user is one connection that takes the next operation that is due. Workers ship latencies and hits to the
master, which ends the test at the first step that is not reached.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from time import monotonic, perf_counter, process_time, time
from typing import Any

import gevent
from locust import User, constant, events, task
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from loadtest import terminal
from loadtest.errors import ExitCode
from loadtest.live import REQUEST_NAMES, Live, add_options, for_locust, hits_of
from loadtest.steps import Mix, Schedule, Step, Tally, conclusion, step_of

_TALLY = "roleferry_tally"
_HITS = "roleferry_hits"
# Reports of workers come every three seconds.
_REPORTS_S = 4.0


class _Run:
    """What one process needs; Locust hands no object of ours to its listeners."""

    def __init__(self) -> None:
        self.live: Live
        self.schedule: Schedule
        self.mix: Mix
        self.tally = Tally()
        self.reported: dict[str, dict[str, Any]] = {}  # by worker
        self.hits: dict[str, dict[str, tuple[int, int]]] = {}
        self.server_cpu_s: list[float | None] = []
        self.steps: list[Step] = []


_run = _Run()


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    add_options(parser)
    add = parser.add_argument
    add("--steps", default="200,400,800,1600,3200", help="operations a second, step after step")
    add("--step-seconds", type=float, default=15.0)
    add("--limit-ms", type=float, default=50.0, help="p99 from the due time that ends the test")
    add("--report-file", default="", help="where to write the steps as JSON")


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    if not isinstance(environment.runner, WorkerRunner):
        _run.live = for_locust(environment, environment.host)


def _rates(options: Any) -> list[float]:
    return [float(rate) for rate in options.steps.split(",")]


@events.test_start.add_listener
def _begin(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    while environment.runner is None:  # the master may start a worker before its runner is known here
        gevent.sleep(0.01)
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        _run.live = for_locust(environment, environment.host)
    workers = max(options.processes or 1, options.expect_workers or 1)
    index = runner.worker_index if isinstance(runner, WorkerRunner) else 0
    _run.mix = Mix(_run.live.scenario, _run.live.people, options.seed + index)
    # Every process counts from here: a master's start reaches its workers within milliseconds.
    _run.schedule = Schedule([rate / workers for rate in _rates(options)], options.step_seconds, monotonic() + 1.0)
    if not isinstance(runner, MasterRunner):
        gevent.spawn(_watch_own_processor, options.step_seconds)
    if not isinstance(runner, WorkerRunner):
        gevent.spawn(_watch_steps, environment)


def _watch_own_processor(step_s: float) -> None:
    gevent.sleep(max(0.0, _run.schedule.began - monotonic()))
    for number in range(len(_run.schedule.rates)):
        before = process_time()
        gevent.sleep(step_s)
        _run.tally.cpu_s[number] = process_time() - before


def _watch_steps(environment: Any) -> None:
    """Judges each step at its end; the first that is not reached is the last."""
    options, schedule = environment.parsed_options, _run.schedule
    waits_s = _REPORTS_S if isinstance(environment.runner, MasterRunner) else 0.2
    gevent.sleep(max(0.0, schedule.began - monotonic()))
    before = _run.live.server_cpu_s()
    for number, asked in enumerate(_rates(options)):
        gevent.sleep(max(0.0, schedule.began + (number + 1) * options.step_seconds - monotonic()))
        after = _run.live.server_cpu_s()
        used = None if before is None or after is None else (after - before) / options.step_seconds
        before = after
        gevent.sleep(waits_s)
        _run.steps.append(step_of(_gathered(), number, asked, options.step_seconds, used))
        if not _run.steps[-1].is_reached(options.limit_ms):
            break
    environment.runner.quit()


def _gathered() -> Tally:
    if not _run.reported:
        return _run.tally
    tally = Tally()
    for packed in _run.reported.values():
        tally.merge_packed(packed)
    return tally


@events.report_to_master.add_listener
def _report(data: dict[str, Any], **_: Any) -> None:
    if hasattr(_run, "live"):  # the first report may come before the start
        data[_TALLY] = _run.tally.packed()
        data[_HITS] = hits_of(_run.live.counts(), _run.live.scenario.catalog)


@events.worker_report.add_listener
def _gather(client_id: str, data: dict[str, Any], **_: Any) -> None:
    if _TALLY in data:
        _run.reported[client_id], _run.hits[client_id] = data[_TALLY], data[_HITS]


@events.quitting.add_listener
def _judge(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return
    options = environment.parsed_options
    by_worker = list(_run.hits.values()) or [hits_of(_run.live.counts(), _run.live.scenario.catalog)]
    hits = {
        name: (sum(each[name][0] for each in by_worker), sum(each[name][1] for each in by_worker))
        for name in _run.live.scenario.catalog.names()
    }
    said = conclusion(_run.steps, options.limit_ms)
    terminal.show_steps(_run.steps, hits, said)
    if options.report_file:
        document = {"steps": [asdict(step) for step in _run.steps], "hits": hits, "conclusion": said, "at": time()}
        Path(options.report_file).write_text(json.dumps(document, indent=2) + "\n")
    is_first_reached = bool(_run.steps) and _run.steps[0].is_reached(options.limit_ms)
    environment.process_exit_code = int(ExitCode.PASS if is_first_reached else ExitCode.UNDECIDED)


class Connection(User):
    """Takes whatever is due next."""

    wait_time = constant(0)

    @task
    def next_operation(self) -> None:
        due = _run.schedule.next_due(monotonic())
        if due is None:
            raise StopUser
        step, at = due
        gevent.sleep(max(0.0, at - monotonic()))
        call = _run.mix.next()
        sent = perf_counter()
        _run.live.call(call)
        done = monotonic()
        name = REQUEST_NAMES.get(call.call, "match.list")
        _run.tally.add(step, name, (done - at) * 1e6)
        _run.live.fire(name, (perf_counter() - sent) * 1000)
