"""`make audit`: two security checkers on the declared stacks. Exit code 0: every failure has a waiver with its reason.

1: a failure without one, a waiver that covers nothing any more, or a check that reported nothing. 2: wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tests.audit.expected import EXPECTED
from tests.audit.findings import judge
from tests.audit.tools import CHECKOV, PROWLER, ToolError, checkov, prowler
from tests.audit.waivers import WAIVERS
from tests.infra import stack

if TYPE_CHECKING:
    from tests.audit.findings import Finding, Verdict


def main(argv: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="make audit", description=(__doc__ or "").partition(".")[0])
    parser.add_argument("--uv", default="uv", help="the uv that makes the tools' environments")
    parser.add_argument("--json", action="store_true", help="print the verdict for machines")
    arguments = parser.parse_args(argv)
    progress = Console(stderr=True)
    try:
        with progress.status("Declaring the stacks …") as status:
            stacks = {name: stack.declare(name) for name in stack.STACKS}
            every_option = stack.declare("prod", stack.EVERY_OPTION)
            status.update(f"{CHECKOV} on {len(stacks) + 1} plans …")
            findings = checkov(arguments.uv, {**stacks, "every-option": every_option})
            status.update(f"{PROWLER} on an account with {len(stacks)} stacks …")
            findings += prowler(arguments.uv, list(stacks.values()))
    except (ToolError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    verdict = judge(findings, WAIVERS, EXPECTED)
    if arguments.json:
        print(json.dumps(_for_machines(verdict), indent=2))
    else:
        _show(verdict, Console())
    return 0 if verdict.is_good else 1


def _show(verdict: Verdict, console: Console) -> None:
    waived = Table("tool", "check", "fails", "waived because", title="Failures with a waiver", title_justify="left")
    for waiver, covered in verdict.waived.items():
        waived.add_row(waiver.tool, waiver.check, str(len(covered)), waiver.reason)
    console.print(waived)
    problems = Table("tool", "check", "problem", title="Problems", title_justify="left")
    by_check = groupby(sorted(verdict.failed, key=_tool_and_check), key=_tool_and_check)
    for (tool, failing), findings in by_check:
        first, *others = findings
        more = f" (and {len(others)} more)" if others else ""
        problems.add_row(tool, failing, f"{first.resource}: {first.text}{more}")
    for waiver in verdict.unused:
        problems.add_row(waiver.tool, waiver.check, "its waiver covers nothing: remove it from tests/audit/waivers.py")
    for check in verdict.silent:
        problems.add_row(*check.split(":"), "reported nothing: the tool has gone blind, or the stack lost the resource")
    for check in verdict.new:
        problems.add_row(*check.split(":"), "reports for the first time: add it to tests/audit/expected.py")
    if problems.row_count:
        console.print(problems)
    counts = ", ".join(f"{tool} {count}" for tool, count in verdict.passed.items())
    console.print(f"Passed: {counts}. Checks that reported: {len(EXPECTED) - len(verdict.silent)} of {len(EXPECTED)}.")
    console.print("[green]Good.[/]" if verdict.is_good else f"[red]{problems.row_count} problem(s).[/]")


def _tool_and_check(finding: Finding) -> tuple[str, str]:
    return finding.tool, finding.check


def _for_machines(verdict: Verdict) -> dict[str, Any]:
    return {
        "is_good": verdict.is_good,
        "passed": dict(verdict.passed),
        "failed": [vars(finding) for finding in verdict.failed],
        "waived": [
            {"tool": waiver.tool, "check": waiver.check, "reason": waiver.reason, "count": len(findings)}
            for waiver, findings in verdict.waived.items()
        ],
        "silent": verdict.silent,
        "new": verdict.new,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
