"""`python -m loadtest simulate`: closed form, simulation and measurement of the same traffic, beside each other."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from loadtest import agreement, simulation, terminal
from loadtest.commands import options as common
from loadtest.commands import running
from loadtest.errors import ExitCode, LoadTestError, ScenarioError
from loadtest.texts import percent

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from rich.table import Table

    from loadtest.agreement import Found, Opinions, Row
    from loadtest.scenarios import Scenario


def add_options(parser: argparse.ArgumentParser) -> None:
    common.virtual_run(parser)
    add = parser.add_argument
    add("--seeds", type=int, default=5, metavar="N", help="seeds 1 to N (default: 5)")
    add("--measure", action="store_true", help="also run each seed on a server, as validate does")
    add("--json", action="store_true", help="print JSON instead of the table")


def run(options: argparse.Namespace) -> ExitCode:
    """ERROR if a cache type's rates disagree, or the server's hits are not the simulation's."""
    scenario = common.load_scenario(options, "users", "days", "warming")
    if options.seeds < 1:
        raise ScenarioError(f"--seeds is {options.seeds}; it must be 1 or more.")
    with terminal.progress() as progress:
        opinions = [
            _ask(scenario, seed, options, partial(_tell, progress, seed)) for seed in range(1, options.seeds + 1)
        ]
    try:
        rows = agreement.rows(scenario, opinions)
    except ValueError as error:
        raise LoadTestError(f"{error}: too few lookups to compare; simulate more users or days.") from None
    if options.json:
        print(json.dumps({"scenario": scenario.name, "seeds": options.seeds, "rows": [asdict(row) for row in rows]}))
    else:
        terminal.console().print(
            f"Scenario {scenario.name}: {scenario.users:,} users, {scenario.days} virtual days, "
            f"seeds 1 to {options.seeds}; apart: from the closed form, in standard errors"
        )
        terminal.console().print(_table(rows, is_measured=options.measure))
    return _judged(rows)


def _ask(
    scenario: Scenario, seed: int, options: argparse.Namespace, progress: Callable[[str, float], None]
) -> Opinions:
    counts, people = simulation.run(scenario, seed=seed, progress=progress)
    if not options.measure:
        return agreement.Opinions(people, counts, None)
    result = running.whole(scenario, seed, options.layout, progress)
    if result.stopped_because:
        raise LoadTestError(result.stopped_because)
    return agreement.Opinions(people, counts, result.counts)


def _tell(progress: Callable[[str, float], None], seed: int, what: str, share: float) -> None:
    progress(f"seed {seed}: {what}", share)


def _table(rows: list[Row], *, is_measured: bool) -> Table:
    columns = ["cache type", "closed form:", "simulated:", "apart:", "by seed"]
    table = terminal.table(*columns, *(("measured:", "apart:", "other hits:") if is_measured else ()))
    for row in rows:
        by_seed = " ".join(f"{apart:+.1f}" for apart in row.simulated.apart_by_seed)
        cells = [row.name, percent(row.predicted, 3), *_cells(row.simulated), by_seed]
        if row.measured:
            cells += [*_cells(row.measured), f"{row.other_hits}"]
        table.add_row(*cells)
    return table


def _cells(found: Found) -> tuple[str, str]:
    return f"{percent(found.hit_rate, 3)} ± {100 * found.standard_error:.3f}", f"{found.apart:+.1f}"


def _judged(rows: list[Row]) -> ExitCode:
    wrong = [f"{row.name} is over {agreement.TOLERANCE:g} standard errors apart" for row in rows if not row.agrees]
    wrong += [f"{row.name}: {row.other_hits} users have other hits on the server" for row in rows if row.other_hits]
    if wrong:
        print(f"loadtest: {'; '.join(wrong)}.", file=sys.stderr)
    return ExitCode.ERROR if wrong else ExitCode.PASS
