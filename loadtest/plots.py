"""The report's pictures, as SVG texts. Readable in black and white: lines differ in dash and marker too.

Each is narrow, so that its letters are still readable at a phone's width; the report sets them beside each other
where there is room.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from cache.nodes import NODE_TYPES
from loadtest.scenarios import DAY_S

if TYPE_CHECKING:
    from loadtest.counts import TypeCounts
    from loadtest.result import Result
    from loadtest.verdict import Judgement, Row

# Okabe and Ito's palette for colour-blind readers.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
STYLE: Final = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "roleferry"}
_SIZE: Final = (4.0, 2.9)  # inches
_NUMBER_WIDTH: Final = 0.05  # of the picture
_LEAST_MB: Final = 0.1  # a flushed server has nothing, which no log scale reaches
# Up to this many days hours are shown, beyond it days.
_HOURLY_DAYS: Final = 4


def hit_rates(result: Result, judgement: Judgement) -> list[str]:
    """Hit rate of each cache type over virtual time, with its target, its prediction and the faults."""
    return [_hit_rate(result, row) for row in judgement.rows if row.verdict]


def _hit_rate(result: Result, row: Row) -> str:
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axis = figure_of(f"{row.name}: {row.verdict}", "hit rate, %")
        days, rates = _over_time(result.counts.types[row.name], result.scenario.days)
        axis.plot(days, rates, color=BLUE, marker="o", markersize=2.5, linewidth=1, label="measured")
        axis.axhline(100 * row.target, color=ORANGE, linestyle="--", label="target")
        lines = [*rates, 100 * row.target]
        if row.predicted is not None:
            axis.axhline(100 * row.predicted, color=GREEN, linestyle=":", linewidth=2, label="predicted")
            lines.append(100 * row.predicted)
        low = min(lines)
        axis.set_ylim(low - (101 - low) * 0.15, 100 + (101 - low) * 0.05)
        _mark_faults(axis, result)
        legend(figure, axis)
        return svg(figure)


def activity(result: Result) -> str:
    """Scores that each hourly warming computed, and invalidations of users and jobs in each hour."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axis = figure_of("Warming and invalidations", "in each hour (log scale)")
        hours = sorted(result.activity)
        for i, (label, colour, style) in enumerate(
            (("scores warmed", BLUE, "-"), ("invalidations", ORANGE, "--")),
        ):
            counts = [result.activity[hour][i] for hour in hours]
            axis.plot([hour / 24 for hour in hours], counts, color=colour, linestyle=style, linewidth=1, label=label)
        axis.set_yscale("symlog", linthresh=1)  # there are hours without any
        axis.set_ylim(bottom=0)
        _mark_faults(axis, result)
        legend(figure, axis)
        return svg(figure)


def memory(result: Result) -> str:
    """Memory of the server over virtual time, beside what the node types can use."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure, axis = figure_of("Memory of the data", "MB (log scale)")
        days = [sample.hour / 24 for sample in result.memory]
        axis.plot(days, [sample.used_bytes / 1e6 for sample in result.memory], color=BLUE, label="measured")
        for node, dash in zip(NODE_TYPES.values(), ("--", ":"), strict=False):
            label = f"{node.name.removeprefix('cache.')} can use"
            axis.axhline(node.usable_bytes / 1e6, color=ORANGE, linestyle=dash, label=label)
        axis.set_yscale("log")
        axis.set_ylim(bottom=_LEAST_MB)
        _mark_faults(axis, result)
        legend(figure, axis)
        return svg(figure)


def figure_of(title: str, ylabel: str, xlabel: str = "virtual day") -> tuple[Figure, Any]:
    """An empty picture, and its axes."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axis = figure.subplots()
    axis.set_title(title, loc="left", fontweight="bold")
    axis.set_ylabel(ylabel)
    axis.set_xlabel(xlabel)
    return figure, axis


def legend(figure: Figure, axis: Any) -> None:
    """Below the picture: inside it would cover lines."""
    handles, labels = axis.get_legend_handles_labels()
    columns = 2 if max(map(len, labels)) > 14 else 3  # long ones would not fit beside each other
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=9)


def _mark_faults(axis: Any, result: Result) -> None:
    run_days = result.ran_s / DAY_S
    begins = [fault.at_s / DAY_S for fault in result.faults]
    for number, fault in enumerate(result.faults, start=1):
        begin = begins[number - 1]
        end = run_days if fault.until_s is None else min(fault.until_s / DAY_S, run_days)
        axis.axvspan(begin, max(end, begin), facecolor="0.85", zorder=0)
        axis.axvline(begin, color=GREY, linewidth=1)
        # Below the numbers that it would touch.
        above = sum(begin - other < _NUMBER_WIDTH * run_days for other in begins[: number - 1])
        axis.annotate(
            f"{number}",
            (begin, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, -9 - 10 * above),
            textcoords="offset points",
            fontsize=9,
            fontweight="bold",
        )


def _over_time(counted: TypeCounts, days: int) -> tuple[list[float], list[float]]:
    """Sums per day or hour, never means of means: hours have different numbers of lookups."""
    width = 60 if days <= _HOURLY_DAYS else 24 * 60
    windows = counted.by(minutes=width)
    return (
        [(window + 0.5) * width / (24 * 60) for window in windows],
        [100 * hits / lookups for hits, lookups in windows.values()],
    )


def svg(figure: Figure) -> str:
    """The picture as a text for a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
