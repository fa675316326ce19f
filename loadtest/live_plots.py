"""Pictures of a live run, as SVG texts; made as those of `plots`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl

from loadtest.plots import BLUE, GREEN, GREY, ORANGE, STYLE, figure_of, legend, svg

if TYPE_CHECKING:
    from loadtest.live_result import LiveResult

_ASKED: Final = "asked, operations/s"
_LINES: Final = ((BLUE, "-", "o"), (GREEN, "-.", "s"), (ORANGE, "--", "^"), (GREY, ":", "D"))


def all_of(result: LiveResult) -> list[str]:
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        return [_latency(result), _rates(result), _processors(result)]


def _latency(result: LiveResult) -> str:
    """Percentiles over the asked rate, with the limit that ends the test."""
    figure, axis = figure_of("Latency from the due time", "ms (log scale)", _ASKED)
    for point, (colour, dash, marker) in zip(("p50", "p95", "p99", "p99.9"), _LINES, strict=True):
        values = [step.latency_us[point] / 1000 for step in result.steps]
        axis.plot(_asked(result), values, color=colour, linestyle=dash, marker=marker, markersize=4, label=point)
    axis.axhline(result.limit_ms, color="black", linewidth=0.8, label="limit of p99")
    axis.set_yscale("log")
    return _finished(figure, axis, result)


def _rates(result: LiveResult) -> str:
    figure, axis = figure_of("Asked and achieved rate", "operations/s", _ASKED)
    axis.plot(_asked(result), _asked(result), color=ORANGE, linestyle="--", label="asked")
    achieved = [step.achieved for step in result.steps]
    axis.plot(_asked(result), achieved, color=BLUE, marker="o", markersize=4, label="achieved")
    axis.set_yscale("log")
    axis.set_yticks(_asked(result))
    _plain_numbers(axis.yaxis)
    return _finished(figure, axis, result)


def _processors(result: LiveResult) -> str:
    """Of the load generator, and of the server's busiest and idlest node."""
    figure, axis = figure_of("Processors", "% of one core", _ASKED)
    told = [(step.asked, step.server_cpu.values()) for step in result.steps if step.server_cpu]
    if told:
        is_cluster = any(len(shares) > 1 for _, shares in told)
        busiest = [100 * max(shares) for _, shares in told]
        at = [asked for asked, _ in told]
        axis.plot(at, busiest, color=BLUE, marker="o", markersize=4, label="busiest node" if is_cluster else "server")
        if is_cluster:
            idlest = [100 * min(shares) for _, shares in told]
            axis.plot(at, idlest, color=GREEN, linestyle="-.", marker="s", markersize=4, label="idlest node")
    own = [(step.asked, 100 * step.generator_cpu) for step in result.steps if step.generator_cpu is not None]
    if own:
        axis.plot(
            *zip(*own, strict=True), color=ORANGE, linestyle="--", marker="^", markersize=4, label="load generator"
        )
    axis.set_ylim(bottom=0)
    return _finished(figure, axis, result)


def _asked(result: LiveResult) -> list[float]:
    return [step.asked for step in result.steps]


def _finished(figure: Any, axis: Any, result: LiveResult) -> str:
    """With the steps' rates on a log scale, and a grey ground from the step that was not reached on."""
    axis.set_xscale("log")
    low, high = min(_asked(result)) / 1.3, max(_asked(result)) * 1.3
    axis.set_xlim(low, high)
    axis.set_xticks(_asked(result), minor=False)
    _plain_numbers(axis.xaxis)
    broken = next((step.asked for step in result.steps if not step.is_reached(result.limit_ms)), None)
    if broken is not None:
        held = result.last_held.asked if result.last_held else low
        axis.axvspan((held * broken) ** 0.5, high, facecolor="0.88", zorder=0, label="not held")
    legend(figure, axis)
    return svg(figure)


def _plain_numbers(axis: Any) -> None:
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.set_minor_formatter(lambda *_: "")
