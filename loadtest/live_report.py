"""`live.html`: a live run for people. The same tables stand in the report of a run in virtual time beside it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from loadtest import live_plots, markup, texts

if TYPE_CHECKING:
    from loadtest.live_result import LiveResult
    from loadtest.steps import Step

FILE: Final = "live.html"
_PERCENTILES: Final = ("p50, ms", "p95, ms", "p99, ms", "p99.9, ms")


def html(result: LiveResult) -> str:
    return markup.page(
        f"Live load: {result.server}",
        [
            f'<p class="verdict">{markup.text(result.conclusion)}</p>',
            markup.paragraphs(
                [
                    f"{result.host}, {result.when}: scenario `{result.scenario}`, layout {result.layout}, seed "
                    f"{result.seed}; steps of {result.step_s:g} s by {result.connections} connections of "
                    f"{result.generators} load generator{'s' if result.generators > 1 else ''}.",
                    *([result.comparison] if result.comparison else []),
                ]
            ),
            "<h2>Steps</h2>" + steps(result),
            markup.pictures(live_plots.all_of(result)) if result.steps else "",
            "<h2>Operations</h2>" + "".join(_operations(step, result) for step in result.steps),
            "<h2>Hit rates</h2>" + _hit_rates(result),
            "<h2>Processors of the server</h2>" + _processors(result),
            "<h2>Versions</h2>" + markup.pairs(result.versions.items()),
        ],
    )


def steps(result: LiveResult) -> str:
    """Rates, latencies and processors of each step."""
    rows = [(f"{step.asked:,.0f}", _outcome(step, result), *texts.step_cells(step)) for step in result.steps]
    head = ("asked/s", "", "achieved/s", *_PERCENTILES, "unanswered", "server CPU", "generator CPU")
    return markup.table(head, rows, numbers={*range(len(head))} - {1}) + markup.paragraphs(
        [
            "Latency counts from the time at which an operation was due, not from when it was sent: a stall shows in "
            "every operation that it delayed. An operation is a call of the library; a list of scores is one.",
            "Unanswered are lookups that went on without the cache, since none answered within the library's deadline. "
            "Processors are in shares of one core; of several nodes, the idlest and the busiest.",
        ]
    )


def _outcome(step: Step, result: LiveResult) -> str:
    name, said = ("PASS", "held") if step.is_reached(result.limit_ms) else ("FAIL", "not held")
    return f'<span class="verdict {name}">{said}</span>'


def _operations(step: Step, result: LiveResult) -> str:
    """Open for the last step that was held."""
    rows = [(escape(name), f"{seen['count']:,}", *texts.milliseconds(seen)) for name, seen in step.operations.items()]
    table = markup.table(("operation", "count", *_PERCENTILES), rows, numbers=range(1, 6))
    is_open = " open" if step is (result.last_held or result.steps[-1]) else ""
    return (
        f"<details{is_open}><summary>At {step.asked:,.0f} a second: {_outcome(step, result)}</summary>{table}</details>"
    )


def _hit_rates(result: LiveResult) -> str:
    """By step, beside the target."""
    head = ("cache type", "target", "all steps", *(f"at {step.asked:,.0f}/s" for step in result.steps))
    rows = [
        (
            escape(name),
            texts.target(target),
            _rate(*result.hits[name]),
            *(_rate(*step.hits.get(name, (0, 0))) for step in result.steps),
        )
        for name, target in result.targets.items()
    ]
    return markup.table(head, rows, numbers=range(1, len(head))) + markup.paragraphs(
        [
            "Not judged: the cache was as it was found, and minutes say nothing of a TTL of a day. "
            "`python -m loadtest validate` judges the targets over weeks."
        ]
    )


def _rate(hits: int, lookups: int) -> str:
    return texts.percent(hits / lookups if lookups else None)


def _processors(result: LiveResult) -> str:
    nodes = sorted({node for step in result.steps for node in step.server_cpu})
    if not nodes:
        return markup.paragraphs(["Not known: this user may not ask the server for `INFO`."])
    head = ("node", *(f"at {step.asked:,.0f}/s" for step in result.steps))
    rows = [(escape(node), *(texts.percent(step.server_cpu.get(node), 0) for step in result.steps)) for node in nodes]
    return markup.table(head, rows, numbers=range(1, len(head)))
