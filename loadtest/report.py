"""The files of a run: `verdict.json`, `report.html` (needs no other file), `junit.xml` and `summary.md`."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any, Final

from cache.nodes import NODE_TYPES
from loadtest import cifiles, files, live_report, live_result, markup, plots, sizing, texts, verdict
from loadtest.errors import LoadTestError
from loadtest.live_result import LiveResult
from loadtest.result import versions

if TYPE_CHECKING:
    from pathlib import Path

    from cache import Catalog
    from loadtest.result import Result
    from loadtest.verdict import Judgement

FILES: Final = ("verdict.json", "report.html", "junit.xml", "summary.md")


def write(folder: Path, result: Result, judgement: Judgement) -> None:
    """Writes all of `FILES`."""
    found = document(result, judgement)
    files.save(folder / "verdict.json", json.dumps(found, indent=2) + "\n")
    files.save(folder / "report.html", html(result, judgement, found, _latency(folder)))
    files.save(folder / "junit.xml", cifiles.junit(result, judgement))
    files.save(folder / "summary.md", cifiles.markdown(result, judgement))


def document(result: Result, judgement: Judgement) -> dict[str, Any]:
    """What verdict.json holds."""
    return verdict.as_json(result, judgement, versions(result.server_version))


def html(result: Result, judgement: Judgement, document: dict[str, Any], latency: str) -> str:
    """The page. `latency` is its section on what virtual time does not know."""
    scenario = result.scenario
    title = f"Hit rates: scenario {scenario.name}"
    sections = [
        f"<p>{markup.text(scenario.title)}: {scenario.users:,} users, {scenario.days} virtual days, "
        f"seed {result.seed}, layout {result.layout}. Exit code {int(judgement.exit_code)} "
        f"({judgement.exit_code.name}).</p>",
        markup.paragraphs(texts.remarks(result)),
        "<h2>Verdict</h2>" + _verdict_table(judgement),
        ("<h2>Faults</h2>" + markup.numbered(texts.fault_lines(result))) if result.faults else "",
        "<h2>Hit rate over virtual time</h2>" + markup.pictures(plots.hit_rates(result, judgement)),
        "<h2>Memory</h2>" + _sizing_table(result, judgement) + _projection_table(result.scenario.catalog),
        markup.pictures([plots.memory(result), plots.activity(result)] if result.activity else [plots.memory(result)]),
        "<h2>Latency</h2>" + latency,
        "<h2>What misses cost</h2>" + markup.paragraphs(texts.cost_lines(result)),
        "<h2>Warming</h2>" + markup.paragraphs(texts.warming_lines(result)),
        "<h2>How it was counted</h2>" + markup.paragraphs(texts.counting_lines(result)),
        "<h2>Assumptions</h2>" + markup.pairs(document["assumptions"].items()),
        "<h2>Versions</h2>" + markup.pairs(document["versions"].items()),
    ]
    return markup.page(title, sections)


def _latency(folder: Path) -> str:
    """What a live run measured, if there was one into the same folder."""
    try:
        live = LiveResult.read(folder / live_result.FILE)
    except FileNotFoundError:
        return markup.paragraphs(
            ["Virtual time has none. `python -m loadtest live --host …` measures it; it is then shown here too."]
        )
    except LoadTestError as error:
        return markup.paragraphs([str(error)])
    said = (
        f"Virtual time has none. Measured in a run of its own, at {live.host} ({live.server}), {live.when}: "
        f"{live.conclusion}"
    )
    return (
        markup.paragraphs([said])
        + live_report.steps(live)
        + f'<p><a href="{live_report.FILE}">The report of that run</a></p>'
    )


def _verdict_table(judgement: Judgement) -> str:
    head = ("cache type", "verdict", "target", "measured", "95 % interval", "predicted", "lookups", "would flip at")
    rows = [
        (
            escape(row.name),
            f'<span class="verdict {row.verdict}">{row.verdict}</span>' if row.verdict else "–",
            *texts.row_cells(row),
            escape(row.flip or ""),
        )
        for row in judgement.rows
    ]
    return markup.table(head, rows, numbers=range(2, 7)) + markup.paragraphs(texts.notes(judgement))


def _sizing_table(result: Result, judgement: Judgement) -> str:
    rows = [
        (
            node.node_type + (" (the scenario's)" if node.node_type == result.scenario.node_type else ""),
            f'<span class="verdict {node.verdict}">{node.verdict}</span>',
            *texts.node_cells(node),
        )
        for node in judgement.sizing
    ]
    table = markup.table(("node type", "verdict", "usable", "used at most", "share"), rows, numbers=range(2, 5))
    return table + markup.paragraphs(
        [f"The caching strategy plans {texts.megabytes(texts.plan_bytes(result.scenario.catalog))} at 10,000 users."]
    )


def _projection_table(catalog: Catalog) -> str:
    """Everything resident at once, by the model and by the allocator of ElastiCache's engine."""
    rows = []
    for layout in sizing.LAYOUTS:
        for users in (10_000, 100_000):
            total = sizing.project(catalog, users, layout, "jemalloc").total
            planned = texts.plan_bytes(catalog) * users / catalog.ijp.item_count
            shares = [texts.share_of_node(total, node.usable_bytes) for node in NODE_TYPES.values()]
            rows.append((layout, f"{users:,}", texts.megabytes(planned), texts.megabytes(total), *shares))
    head = ("layout", "users", "planned", "by the model", *NODE_TYPES)
    return (
        "<p>Everything that is planned resident at once, by the model of jemalloc's size classes "
        "(<code>python -m loadtest size</code> checks it against the server):</p>"
        + markup.table(head, rows, numbers=range(1, len(head)))
    )
