"""The report's pictures, as SVG texts. Readable in black and white: lines differ in dash and marker too."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from cache.nodes import NODE_TYPES

if TYPE_CHECKING:
    from loadtest.counts import TypeCounts
    from loadtest.result import Result
    from loadtest.verdict import Judgement

# Okabe and Ito's palette for colour-blind readers.
_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"
_STYLE = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "roleferry"}


def hit_rates(result: Result, judgement: Judgement) -> str:
    """Hit rate of each cache type by virtual day, with its target and its prediction."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(7.2, 9.6), layout="constrained")
        judged = [row for row in judgement.rows if row.verdict]
        axes = figure.subplots(len(judged), 1, sharex=True)
        for axis, row in zip(axes, judged, strict=True):
            days, rates = _by_day(result.counts.types[row.name])
            axis.plot(days, rates, color=_BLUE, marker="o", markersize=3, label="measured")
            axis.axhline(100 * row.target, color=_ORANGE, linestyle="--", label="target")
            if row.predicted is not None:
                axis.axhline(100 * row.predicted, color=_GREEN, linestyle=":", label="predicted")
            axis.set_ylabel("hit rate, %")
            axis.set_title(f"{row.name}: {row.verdict}", loc="left", fontweight="bold")
            low = min([*rates, 100 * row.target, 100 * (row.predicted or 1)])
            axis.set_ylim(low - (101 - low) * 0.15, 100 + (101 - low) * 0.05)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
        axes[-1].set_xlabel("virtual day")
        return _svg(figure)


def memory(result: Result) -> str:
    """Memory of the server by virtual day, beside what the node types can use."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        axis: Any = figure.subplots()
        days = [sample.hour / 24 for sample in result.memory]
        axis.plot(days, [sample.used_bytes / 1e6 for sample in result.memory], color=_BLUE, label="measured")
        for node, dash in zip(NODE_TYPES.values(), ("--", ":"), strict=False):
            axis.axhline(node.usable_bytes / 1e6, color=_ORANGE, linestyle=dash, label=f"usable, {node.name}")
        axis.set_yscale("log")
        axis.set_ylabel("MB (log scale)")
        axis.set_xlabel("virtual day")
        axis.legend(loc="center right", frameon=False)
        return _svg(figure)


def _by_day(counted: TypeCounts) -> tuple[list[float], list[float]]:
    """Sums per day, never means of means: hours have different numbers of lookups."""
    days = counted.by(minutes=24 * 60)
    return [day + 0.5 for day in days], [100 * hits / lookups for hits, lookups in days.values()]


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
