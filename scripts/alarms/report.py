"""What a person sees of a rehearsal: a table on the terminal, the same as Markdown, and a picture of the matrix."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from loadtest import terminal

if TYPE_CHECKING:
    from pathlib import Path

    from scripts.alarms.rehearsal import Result, Ring, Row

RUNBOOKS: Final = "docs/runbooks"
# Several nodes that ring alike are one column, and the children of composites page nobody.
_NODE: Final = re.compile(r"^cache-[0-9-]*\d-")
_CHILD: Final = re.compile(r"-(floor|drop)$")
_HOUR, _DAY = 60, 1_440


def duration(minutes: int) -> str:
    if minutes < 2 * _HOUR:
        return f"{minutes} min"
    return f"{minutes / _HOUR:.3g} h" if minutes < 2 * _DAY else f"{minutes / _DAY:.2g} d"


def cleared(ring: Ring) -> str:
    """When the alarm ended, counted from the repair."""
    if ring.cleared is None:
        return "not within 3 days"
    return duration(ring.cleared) if ring.cleared > 0 else "before it"


def kind_of(name: str) -> str:
    """The alarm without the number of its node."""
    return _NODE.sub("", name)


def grouped(row: Row) -> dict[str, Ring]:
    """The alarms that page, nodes taken together: the first to ring, the last to clear."""
    found: dict[str, Ring] = {}
    for name, ring in row.rings.items():
        if _CHILD.search(name):
            continue
        kind = kind_of(name)
        if kind not in found or ring.rang < found[kind].rang:
            found[kind] = ring
    return dict(sorted(found.items(), key=lambda item: item[1].rang))


def show(result: Result) -> None:
    console = terminal.console()
    console.print(
        f"Alarms of stack {result.stack}, rehearsed: when they page after the fault, and clear after its repair. "
        f"Runbooks are in {RUNBOOKS}/."
    )
    table = terminal.table("fault", "lasts:", "pages", "after:", "clears", "times:", "runbook")
    for row in result.rows:
        first = (row.fault.name, duration(row.fault.lasts))
        for kind, ring in grouped(row).items():
            table.add_row(*first, kind, duration(ring.rang), cleared(ring), str(ring.times), runbook(result, kind))
            first = ("", "")
        if first[0]:
            table.add_row(*first, "[dim]nothing[/dim]")
    console.print(table)
    rang = ", ".join(f"{name} {times} time(s)" for name, times in result.false_alarms.items()) or "nothing rang"
    console.print(f"In ordinary weeks ({result.weeks}): {rang}.")
    for problem in result.problems:
        console.print(f"[bold red]MISMATCH[/bold red] {problem}", soft_wrap=True)
    console.print(
        "[bold red]The alarms do not do what is expected.[/bold red]"
        if result.problems
        else "[green]Every alarm does what is expected.[/green]"
    )


def runbook(result: Result, kind: str) -> str:
    """The file's name in `RUNBOOKS`."""
    page = next(page for name, page in result.alarms.items() if kind_of(name) == kind)
    return page.removeprefix(f"{RUNBOOKS}/")


def markdown(result: Result) -> str:
    """The matrix as a table for the documentation."""
    lines = [
        "| fault | what happens | pages | after | clears, after the repair | times |",
        "|---|---|---|---|---|---|",
    ]
    for row in result.rows:
        rings = grouped(row)
        cells = [
            ", ".join(f"[{kind}](runbooks/{runbook(result, kind)})" for kind in rings) or "nothing",
            ", ".join(duration(ring.rang) for ring in rings.values()),
            ", ".join(cleared(ring) for ring in rings.values()),
            ", ".join(str(ring.times) for ring in rings.values()),
        ]
        lines.append(f"| `{row.fault.name}` | {row.fault.what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def picture(result: Result, path: Path) -> None:
    """The matrix as an SVG: faults down, alarms across, the minutes until they page in the cells."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = [grouped(row) for row in result.rows]
    kinds = list(dict.fromkeys(kind for rings in rows for kind in rings))
    cells = np.full((len(rows), len(kinds)), np.nan)
    for down, rings in enumerate(rows):
        for kind, ring in rings.items():
            cells[down, kinds.index(kind)] = ring.rang
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "alarms", "font.size": 8}):
        figure = Figure(figsize=(3 + 0.45 * len(kinds), 1.5 + 0.26 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.imshow(np.log10(cells), cmap="cividis_r", aspect="auto", vmin=0, vmax=3.5)
        axes.set_xticks(range(len(kinds)), kinds, rotation=60, ha="right")
        axes.set_yticks(range(len(rows)), [row.fault.name for row in result.rows])
        axes.set_xticks(np.arange(-0.5, len(kinds)), minor=True)
        axes.set_yticks(np.arange(-0.5, len(rows)), minor=True)
        axes.grid(which="minor", color="#dddddd", linewidth=0.5)
        axes.tick_params(which="minor", length=0)
        for down, across in np.argwhere(~np.isnan(cells)):
            dark = cells[down, across] > _HOUR
            axes.text(
                across, down, f"{cells[down, across]:.0f}", ha="center", va="center", color="white" if dark else "black"
            )
        axes.set_title("Minutes from a fault to its page; empty: the alarm stays quiet", fontsize=9)
        figure.savefig(path, metadata={"Date": None})
