"""`python -m loadtest compare BEFORE AFTER`: what changed between two verdict.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest import comparing, terminal
from loadtest.errors import ExitCode, ScenarioError
from loadtest.texts import megabytes, percent

if TYPE_CHECKING:
    import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", type=Path, metavar="BEFORE", help="verdict.json of the run to compare with")
    parser.add_argument("after", type=Path, metavar="AFTER", help="verdict.json of the run to judge")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> ExitCode:
    """TARGET_MISSED if anything got worse beyond the intervals, UNDECIDED if something could not be compared."""
    changes, different = comparing.compare(_read(options.before), _read(options.after))
    if options.json:
        print(json.dumps({"changes": [asdict(change) for change in changes], "settings": different}, indent=2))
    else:
        table = terminal.table("", "before:", "after:", "")
        for change in changes:
            show = megabytes if change.name == "memory" else percent
            colour = "[bold red]" if change.is_regression else "[green]" if change.what == "better" else ""
            figures = ["–" if value is None else show(value) for value in (change.before, change.after)]
            table.add_row(change.name, *figures, colour + change.what)
        console = terminal.console()
        console.print(table)
        for line in different:
            console.print(f"differs: {line}")
    if any(change.is_regression for change in changes):
        return ExitCode.TARGET_MISSED
    return ExitCode.PASS if all(change.is_known for change in changes) else ExitCode.UNDECIDED


def _read(path: Path) -> dict[str, Any]:
    try:
        document: Any = json.loads(path.read_text())
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}.") from None
    except ValueError:
        raise ScenarioError(f"{path} is no JSON.") from None
    if not isinstance(document, dict) or not document.keys() >= {"classes", "sizing", "assumptions"}:
        raise ScenarioError(f"{path} is no verdict.json of this load test.")
    return document
