"""`python -m loadtest validate`: a scenario in virtual time on a real server of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from loadtest import faults, files, report, scenarios, terminal, virtual
from loadtest.commands import options as common
from loadtest.commands import running
from loadtest.errors import ScenarioError

if TYPE_CHECKING:
    import argparse

    from loadtest.errors import ExitCode


def add_options(parser: argparse.ArgumentParser) -> None:
    common.virtual_run(parser)
    add = parser.add_argument
    add(
        "--precision",
        type=float,
        metavar="POINTS",
        help="end as soon as every interval is this narrow to either side, in percentage points; exit code 5 if the "
        "days are too few",
    )
    add("--seed", type=int, default=1, help="one seed, one result (default: 1)")
    add(
        "--fault",
        action="append",
        default=[],
        metavar="KIND@TIME",
        help=f"what goes wrong, as flush@3d or warming-stopped@36h+12h; may be repeated ({', '.join(faults.KINDS)})",
    )
    common.report(parser)


def run(options: argparse.Namespace) -> ExitCode:
    scenario = common.load_scenario(options, "users", "days", "warming")
    if options.warming == "everything" and options.users is None and scenario.users > virtual.EVERYTHING_USERS:
        scenario = scenario.changed(users=virtual.EVERYTHING_USERS)
        print(
            f"loadtest: warming everything runs on a sample of {virtual.EVERYTHING_USERS} users; --users sets another.",
            file=sys.stderr,
        )
    scenarios.check_seed(options.seed)
    if options.precision is not None and not 0 < options.precision < 100:
        raise ScenarioError(f"--precision is {options.precision}; it must lie between 0 and 100 points.")
    planned = [faults.parse(text) for text in options.fault]
    files.make_ready(options.report, report.FILES)
    with terminal.progress() as progress:
        if planned or options.precision:
            result = virtual.run(
                scenario,
                seed=options.seed,
                layout=options.layout,
                faults=planned,
                precision=options.precision and options.precision / 100,
                progress=progress,
            )
        else:
            result = running.whole(scenario, options.seed, options.layout, progress)
    return running.finish(options, result)
