"""What a person sees: progress on standard error, the verdict on standard output."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from loadtest import texts
from loadtest.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loadtest.live_result import LiveResult
    from loadtest.result import Result
    from loadtest.verdict import Judgement, Row

_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.UNDECIDED: "yellow"}
_WIDTH_IN_A_FILE = 140


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """A bar while it runs; nothing where standard error is no terminal."""
    error = Console(stderr=True)
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error, disable=not error.is_terminal, transient=True) as bar:
        shown: dict[str, object] = {}

        def update(what: str, share: float) -> None:
            if what not in shown:
                shown[what] = bar.add_task(what, total=1.0)
            bar.update(shown[what], completed=share)  # type: ignore[arg-type]

        yield update


def console() -> Console:
    """Standard output, wide enough for the tables where it is no terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=_WIDTH_IN_A_FILE, highlight=False)


def table(*columns: str) -> Table:
    """An empty table; columns whose name ends with a colon hold numbers."""
    empty = Table(box=None, pad_edge=False)
    for name in columns:
        # Folded where it is narrow: a figure that is cut short is a wrong one.
        empty.add_column(name.removesuffix(":"), justify="right" if name.endswith(":") else "left", overflow="fold")
    return empty


def show(result: Result, judgement: Judgement) -> None:
    out = console()
    scenario = result.scenario
    took = "" if result.is_live else f", {result.wall_s + result.history_wall_s:.0f} s"
    out.print(
        f"Scenario {scenario.name}: {scenario.users:,} users, {result.span}, seed {result.seed}, "
        f"layout {result.layout}; {result.server_version}{took}"
    )
    _print_verdicts(out, judgement.rows)
    out.print(_sizing_table(judgement))
    for line in [*texts.remarks(result), *texts.notes(judgement), *texts.fault_lines(result)]:
        out.print(line)
    for line in [*texts.cost_lines(result), *texts.warming_lines(result), *texts.counting_lines(result)]:
        out.print(line)


def _print_verdicts(out: Console, rows: list[Row]) -> None:
    """Where the table is too wide, what would flip a row is said below it."""
    whole = _verdict_table(rows, with_flips=True)
    if Measurement.get(out, out.options.update(max_width=_WIDTH_IN_A_FILE), whole).maximum <= out.width:
        out.print(whole)
        return
    out.print(_verdict_table(rows, with_flips=False))
    for row in rows:
        if row.flip:
            out.print(f"{row.name} would flip at {row.flip}")


def _verdict_table(rows: list[Row], *, with_flips: bool) -> Table:
    head = ["cache type", "target:", "measured:", "95 % interval:", "predicted:", "lookups:", "verdict"]
    filled = table(*head, *(["would flip at"] if with_flips else []))
    for row in rows:
        filled.add_row(
            row.name,
            *texts.row_cells(row),
            f"[{_COLOURS[row.verdict]}]{row.verdict}" if row.verdict else "not judged",
            *([row.flip or ""] if with_flips else []),
        )
    return filled


def show_live(result: LiveResult) -> None:
    out = console()
    out.print(f"{result.server} at {result.host}; {result.connections} connections, layout {result.layout}")
    rates = table(
        *("asked/s:", "achieved/s:", "p50 ms:", "p95 ms:", "p99 ms:", "p99.9 ms:"),
        *("unanswered:", "server CPU:", "generator CPU:"),
    )
    for step in result.steps:
        rates.add_row(f"{step.asked:,.0f}", *texts.step_cells(step))
    out.print(rates)
    if result.steps:
        operations = table("operation, last step", "count:", "p50 ms:", "p95 ms:", "p99 ms:", "p99.9 ms:")
        for name, seen in result.steps[-1].operations.items():
            operations.add_row(name, f"{seen['count']:,}", *texts.milliseconds(seen))
        out.print(operations)
    for name, (hits, lookups) in result.hits.items():
        out.print(
            f"{name}: {texts.percent(hits / lookups if lookups else None)} of {lookups:,} lookups hit, all workers"
        )
    out.print(result.conclusion)


def _sizing_table(judgement: Judgement) -> Table:
    filled = table("node type", "usable:", "used at most:", "share:", "verdict")
    for node in judgement.sizing:
        verdict = f"[{_COLOURS[node.verdict]}]{node.verdict}"
        filled.add_row(node.node_type, *texts.node_cells(node), verdict)
    return filled
