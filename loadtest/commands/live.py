"""`python -m loadtest live --host URL`: steps of rising load on a server, until latency or the achieved rate breaks."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadtest import files, live_report, live_result, ports, reference
from loadtest.commands import options as common
from loadtest.errors import ExitCode, LoadTestError, ScenarioError
from loadtest.live_result import LiveResult
from local.valkey import HOST, free_port

if TYPE_CHECKING:
    import argparse

_LOCUSTFILE: Final = Path(__file__).parent.parent / "locust_steps.py"
# It first hears of the end when it has started, and then takes leave of its workers.
_ENDS_WITHIN_S: Final = 60
# Locust's own, where workers on other machines look for their master.
_PORT: Final = 5557


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--host",
        required=True,
        metavar="URL",
        help="the server, or a node or the configuration endpoint of a cluster, as redis://127.0.0.1:6379 or rediss://…",
    )
    add("--iam", default="", metavar="USER:CACHE:REGION", help="sign in at ElastiCache with a token by IAM")
    common.scenario(parser, with_users=False)
    common.layout(parser)
    add("--steps", default="200,400,800,1600,3200,6400,12800", metavar="RATES", help="operations a second, by steps")
    add("--step-seconds", type=float, default=15.0, metavar="S", help="length of each step (default: 15)")
    add("--limit-ms", type=float, default=50.0, metavar="MS", help="p99 that ends the test (default: 50)")
    add("--connections", type=int, default=50, help="operations at once, over all processes (default: 50)")
    add("--processes", type=int, default=1, help="load generators on this machine (default: 1)")
    add("--workers", type=int, default=0, metavar="N", help="wait for N workers on other machines instead")
    add("--reference", action="store_true", help="first compare the library's batches with GETs over raw sockets")
    add("--report", type=Path, default=Path("report"), metavar="DIR", help="where to write (default: report)")


def run(options: argparse.Namespace) -> ExitCode:
    _check(options)
    common.load_scenario(options)
    files.make_ready(options.report, (live_result.FILE, live_report.FILE))
    file = options.report / live_result.FILE
    comparison = str(reference.compare(options.host)) if options.reference else ""
    if comparison:
        print(comparison, flush=True)
    command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless", "--only-summary"]
    command += ["--host", options.host, "-u", str(options.connections), "-r", str(options.connections)]
    # As many as operations at once: none waits for a connection.
    command += ["--pool", str(-(-options.connections // max(options.processes, options.workers)))]
    command += ["--scenario", options.scenario, "--scenarios", str(options.scenarios), "--layout", options.layout]
    command += ["--iam", options.iam, "--steps", options.steps, "--step-seconds", str(options.step_seconds)]
    command += ["--limit-ms", str(options.limit_ms), "--report-file", str(file)]
    if options.workers:
        command += ["--master", "--expect-workers", str(options.workers)]
    elif options.processes > 1:
        port = str(free_port())  # two runs on one machine must not meet
        command += ["--processes", str(options.processes), "--master-bind-host", HOST, "--master-host", HOST]
        command += ["--master-bind-port", port, "--master-port", port]
    command += ["--skip-log-setup", "--stop-timeout", "2"]
    if options.workers:
        ports.check_free(_PORT, "the workers", "End what uses it, and try again.")
        print(f"Waiting for {options.workers} workers on port {_PORT} …", file=sys.stderr)
    returned = _generate(command)
    if returned < 0:
        raise LoadTestError(f"the load generator was ended by signal {-returned}; no report was written.")
    if file.exists():
        result = replace(LiveResult.read(file), comparison=comparison)
        result.write(file)
        page = options.report / live_report.FILE
        files.save(page, live_report.html(result))
        print(f"Report: {page}")
        if result.stopped_because:
            print(f"loadtest: {result.stopped_because}; the report is partial.", file=sys.stderr)
    return ExitCode(_code(returned))


def _generate(command: list[str]) -> int:
    """Runs the load generator; returns its exit code. Ctrl-C ends it with a partial report, a second one at once."""
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))  # not half-way through starting
    with subprocess.Popen(command, env=_environment(), preexec_fn=_be_deaf) as generator:  # noqa: S603
        try:
            signal.signal(signal.SIGINT, handler)
            if interrupts:
                raise KeyboardInterrupt  # noqa: TRY301
            return generator.wait()
        except KeyboardInterrupt:
            print("loadtest: interrupted; ending the load generator …", file=sys.stderr)
        try:
            for _ in range(_ENDS_WITHIN_S):
                generator.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    generator.wait(timeout=1)
                    return ExitCode.ERROR
        finally:
            generator.kill()
    raise LoadTestError(f"the load generator did not end within {_ENDS_WITHIN_S} s; no report was written.")


def _be_deaf() -> None:
    """In the load generator, until it can do better at Ctrl-C than show a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _check(options: argparse.Namespace) -> None:
    try:
        rates = [float(rate) for rate in options.steps.split(",")]
    except ValueError:
        rates = []
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise ScenarioError(f"--steps is {options.steps!r}; write rates over 0 with commas, as 200,400,800.")
    for name in ("step_seconds", "limit_ms", "connections", "processes"):
        if not 0 < getattr(options, name) < math.inf:
            raise ScenarioError(
                f"--{name.replace('_', '-')} is {getattr(options, name)}; it must be finite and over 0."
            )
    if options.workers < 0:
        raise ScenarioError(f"--workers is {options.workers}; it must be 0 or more.")
    if options.workers and options.processes > 1:
        raise ScenarioError("--workers and --processes exclude each other: workers have processes of their own.")
    if options.connections < (generators := max(options.processes, options.workers)):
        raise ScenarioError(
            f"--connections is {options.connections}; each of {generators} load generators needs one at least."
        )


def _environment() -> dict[str, str]:
    """The project's root comes first on the path, wherever the command was started."""
    root = str(_LOCUSTFILE.parent.parent)
    paths = [root, os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _code(returned: int) -> int:
    known = {int(code) for code in ExitCode}
    return returned if returned in known else int(ExitCode.ERROR)
