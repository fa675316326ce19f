"""What a person sees: progress on standard error, the verdict on standard output."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from loadtest import report
from loadtest.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loadtest.verdict import Judgement, Row
    from loadtest.virtual import Result

_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.UNDECIDED: "yellow"}
_WIDTH_IN_A_FILE = 128


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """A bar while it runs; nothing where standard error is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        shown: dict[str, object] = {}

        def update(what: str, share: float) -> None:
            if what not in shown:
                shown[what] = bar.add_task(what, total=1.0)
            bar.update(shown[what], completed=share)  # type: ignore[arg-type]

        yield update


def show(result: Result, judgement: Judgement) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_IN_A_FILE)
    scenario = result.scenario
    console.print(
        f"Scenario {scenario.name}: {scenario.users:,} users, {scenario.days} virtual days, seed {result.seed}, "
        f"layout {result.layout}; {result.server_version}, {result.wall_s + result.history_wall_s:.0f} s"
    )
    console.print(verdict_table(judgement.rows))
    console.print(_sizing_table(judgement))
    for line in [*report.partial_lines(result), *report.notes(judgement), *report.fault_lines(result)]:
        console.print(line, highlight=False)
    for line in [*report.warming_lines(result), *report.counting_lines(result)]:
        console.print(line, highlight=False)


def verdict_table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("cache type", "target", "measured", "95 % interval", "predicted", "lookups"):
        table.add_column(name, justify="left" if name == "cache type" else "right")
    table.add_column("verdict")
    table.add_column("would flip at")
    for row in rows:
        table.add_row(
            row.name,
            report.percent(row.target, 0),
            report.percent(row.measured),
            report.interval(row),
            report.percent(row.predicted),
            f"{row.lookups:,}",
            f"[{_COLOURS[row.verdict]}]{row.verdict}" if row.verdict else "not judged",
            row.flip or "",
        )
    return table


def _sizing_table(judgement: Judgement) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("node type", "usable", "used at most", "share"):
        table.add_column(name, justify="left" if name == "node type" else "right")
    table.add_column("verdict")
    for node in judgement.sizing:
        table.add_row(
            node.node_type,
            report.megabytes(node.usable_bytes),
            report.megabytes(node.used_bytes),
            f"{100 * node.used_bytes / node.usable_bytes:.1f} %",
            f"[{_COLOURS[node.verdict]}]{node.verdict}",
        )
    return table
