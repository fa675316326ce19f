"""A run of a scenario, and the end that every run has: judge it, write its report, show it."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from loadtest import parallel, report, terminal, verdict, virtual

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from loadtest.errors import ExitCode
    from loadtest.result import Result
    from loadtest.scenarios import Scenario

# A run of fewer is over before another process would pay.
_USERS_OF_A_PROCESS: Final = 1_000


def whole(scenario: Scenario, seed: int, layout: str, progress: Callable[[str, float], None]) -> Result:
    """All days of a scenario without faults, in several processes where that is faster."""
    run = partial(virtual.run, scenario, seed=seed, layout=layout)
    processes = min(parallel.processors(), scenario.users // _USERS_OF_A_PROCESS)
    return parallel.run(run, processes=processes, progress=progress) if processes > 1 else run(progress=progress)


def finish(options: argparse.Namespace, result: Result) -> ExitCode:
    judgement = verdict.judge(result)
    try:
        report.write(options.report, result, judgement)
    finally:  # a full disk must not lose the verdict, nor a reader who leaves the report
        if options.json:
            print(json.dumps(report.document(result, judgement), indent=2))
        else:
            terminal.show(result, judgement)
    if result.stopped_because:
        print(f"loadtest: {result.stopped_because} The report is partial.", file=sys.stderr)
    if not options.json:
        print(f"Report: {options.report / 'report.html'}")
    return judgement.exit_code
