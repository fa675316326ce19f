"""Rehearse the alarms of a stack: which ring at which fault, how soon, and which stay quiet.

The alarms are those that the stack's program declares. They are evaluated as CloudWatch does, on the metrics of
ordinary days with faults in them, at their edges, and over weeks in which nothing is wrong. How the cache answers to a
fault was measured by the load test; --fresh measures it again. What should ring and what may is written in
scripts/alarms/expectations.toml.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra import recorded
from loadtest import terminal
from loadtest.errors import LoadTestError
from local.errors import LocalError
from scripts import common
from scripts.alarms import expectations, faults, measured, rehearsal, report
from scripts.alarms.expectations import ExpectationsError
from scripts.alarms.measured import Run, RunError
from scripts.alarms.series import EvaluationError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from scripts.alarms.faults import Fault

_EXIT_CODES: Final = """exit codes: 0 everything as expected; 1 an error; 2 wrong usage or settings;
3 an alarm rang and should not have, or did not and should"""
_DAYS_A_WEEK: Final = 7


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return common.guarded("rehearse_alarms", lambda: _rehearse(options))


def _rehearse(options: argparse.Namespace) -> int:
    chosen = common.stack_settings(options.stack)
    try:
        runs = _Runs(options.runs, seed=options.seed, fresh=options.fresh)
        expected = expectations.load(options.expectations)
        if options.report:
            options.report.mkdir(parents=True, exist_ok=True)
        with terminal.progress() as progress:
            result = rehearsal.rehearse(
                recorded.declare(chosen),
                expected,
                seed=options.seed,
                days=_DAYS_A_WEEK * options.weeks,
                runs=partial(runs, progress=progress),
                progress=progress,
            )
    except OSError as error:
        raise common.UsageError(f"--report {options.report} cannot be written: {error.strerror}.") from None
    except (EvaluationError, ExpectationsError) as error:
        raise common.UsageError(str(error)) from None
    except (LoadTestError, LocalError, RunError) as error:
        raise common.ScriptError(str(error)) from None
    if options.report:
        (options.report / "alarms.json").write_text(json.dumps(rehearsal.as_json(result), indent=2) + "\n")
        (options.report / "alarms.md").write_text(report.markdown(result))
        report.picture(result, options.report / "alarms.svg")
    if options.json:
        print(json.dumps(rehearsal.as_json(result), indent=2))
    else:
        report.show(result)
    return 3 if result.problems else 0


class _Runs:
    """The load test's runs: kept ones, or fresh ones that are kept instead."""

    def __init__(self, folder: Path, *, seed: int, fresh: bool) -> None:
        self._folder = folder
        self._seed = seed
        self._fresh = fresh
        self._driven: set[Path] = set()
        if fresh:
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, fault: Fault, *, progress: Callable[[str, float], None]) -> Run:
        file = measured.path(self._folder, fault, faults.all_faults())
        if self._fresh and file not in self._driven:
            run = measured.drive(
                fault, seed=self._seed, progress=lambda what, share: progress(f"{fault.name}: {what}", share)
            )
            run.save(file)
            self._driven.add(file)
        return Run.load(file)


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("rehearse_alarms", __doc__, _EXIT_CODES)
    add = parser.add_argument
    add("--stack", required=True, help="a stack with a Pulumi.<stack>.yaml, such as prod")
    add("--seed", type=common.from_number(0), default=1, help="of the traffic; one seed, one result (default: 1)")
    add("--weeks", type=common.from_number(1), default=4, help="ordinary weeks: nothing may ring (default: 4)")
    add("--expectations", type=Path, default=expectations.FILE, metavar="FILE", help="other expectations")
    add("--fresh", action="store_true", help="drive the load test anew, on a server: minutes, and keep its runs")
    add("--runs", type=Path, default=measured.FOLDER, metavar="DIR", help="where runs are kept")
    add("--report", type=Path, metavar="DIR", help="also write alarms.json, alarms.md and alarms.svg there")
    add("--json", action="store_true", help="print JSON instead of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
