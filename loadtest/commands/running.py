"""The end that every run has: judge it, write its report, show it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from loadtest import report, terminal, verdict

if TYPE_CHECKING:
    import argparse

    from loadtest.errors import ExitCode
    from loadtest.result import Result


def finish(options: argparse.Namespace, result: Result) -> ExitCode:
    judgement = verdict.judge(result)
    document = report.write(options.report, result, judgement)
    if result.stopped_because:
        print(f"loadtest: {result.stopped_because} The report is partial.", file=sys.stderr)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        terminal.show(result, judgement)
        print(f"Report: {options.report / 'report.html'}")
    return judgement.exit_code
