"""The files of a run: `verdict.json`, `report.html` (needs no other file), `junit.xml` and `summary.md`."""

from __future__ import annotations

import json
import platform
from html import escape
from importlib import metadata
from typing import TYPE_CHECKING, Any

from cache.nodes import NODE_TYPES
from loadtest import cifiles, plots, sizing, texts, verdict
from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cache import Catalog
    from loadtest.result import Result
    from loadtest.verdict import Judgement

_CSS = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#111}
table{border-collapse:collapse;width:100%;margin:1rem 0;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc;vertical-align:top}
td.n,th.n{text-align:right;white-space:nowrap}.PASS{color:#00664a}.FAIL{color:#a33b00}.UNDECIDED{color:#555}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem}figure{margin:0}
@media print{body{color:#000}}.verdict{font-weight:700}svg{max-width:100%;height:auto}
"""


def versions(result: Result) -> dict[str, str]:
    packages = ("roleferry-cache", "redis", "hiredis", "orjson", "numpy")
    return {"python": platform.python_version(), "server": result.server_version} | {
        package: metadata.version(package) for package in packages
    }


def check_folder(folder: Path) -> None:
    """Raises LoadTestError if no report can be written there: before a run, not after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise LoadTestError(
            f"the report cannot be written to {folder}: {error.strerror}. Choose another --report."
        ) from None


def write(folder: Path, result: Result, judgement: Judgement) -> dict[str, Any]:
    """Writes all files; returns what verdict.json holds."""
    document = verdict.as_json(result, judgement, versions(result))
    try:
        (folder / "verdict.json").write_text(json.dumps(document, indent=2) + "\n")
        (folder / "report.html").write_text(html(result, judgement, document))
        (folder / "junit.xml").write_text(cifiles.junit(result, judgement))
        (folder / "summary.md").write_text(cifiles.markdown(result, judgement))
    except OSError as error:
        raise LoadTestError(f"the report could not be written to {folder}: {error.strerror}.") from None
    return document


def html(result: Result, judgement: Judgement, document: dict[str, Any]) -> str:
    scenario = result.scenario
    title = f"Hit rates: scenario {scenario.name}"
    sections = [
        f"<h1>{escape(title)}</h1><p>{escape(scenario.title)}: {scenario.users:,} users, {scenario.days} virtual days, "
        f"seed {result.seed}, layout {result.layout}. Exit code {int(judgement.exit_code)} "
        f"({judgement.exit_code.name}).</p>",
        _paragraphs(texts.remarks(result)),
        "<h2>Verdict</h2>" + _verdict_table(judgement),
        ("<h2>Faults</h2>" + _numbered(texts.fault_lines(result))) if result.faults else "",
        "<h2>Hit rate over virtual time</h2>" + _pictures(plots.hit_rates(result, judgement)),
        "<h2>Memory</h2>" + _sizing_table(result, judgement) + _projection_table(result.scenario.catalog),
        _pictures([plots.memory(result), plots.activity(result)] if result.activity else [plots.memory(result)]),
        "<h2>What misses cost</h2>" + _paragraphs(texts.cost_lines(result)),
        "<h2>Warming</h2>" + _paragraphs(texts.warming_lines(result)),
        "<h2>How it was counted</h2>" + _paragraphs(texts.counting_lines(result)),
        "<h2>Assumptions</h2>" + _pairs(document["assumptions"].items()),
        "<h2>Versions</h2>" + _pairs(document["versions"].items()),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_CSS}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _verdict_table(judgement: Judgement) -> str:
    head = ("cache type", "target", "measured", "95 % interval", "predicted", "lookups", "verdict", "would flip at")
    rows = [
        (
            escape(row.name),
            texts.percent(row.target, 0),
            texts.percent(row.measured),
            texts.interval(row),
            texts.percent(row.predicted),
            f"{row.lookups:,}",
            f'<span class="verdict {row.verdict}">{row.verdict}</span>' if row.verdict else "–",
            escape(row.flip or ""),
        )
        for row in judgement.rows
    ]
    return _table(head, rows, numbers=range(1, 6)) + _paragraphs(texts.notes(judgement))


def _sizing_table(result: Result, judgement: Judgement) -> str:
    rows = [
        (
            node.node_type + (" (the scenario's)" if node.node_type == result.scenario.node_type else ""),
            texts.megabytes(node.usable_bytes),
            texts.megabytes(node.used_bytes),
            f"{100 * node.used_bytes / node.usable_bytes:.1f} %",
            f'<span class="verdict {node.verdict}">{node.verdict}</span>',
        )
        for node in judgement.sizing
    ]
    table = _table(("node type", "usable", "used at most", "share", "verdict"), rows, numbers=range(1, 4))
    return table + _paragraphs(
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
        + _table(head, rows, numbers=range(1, len(head)))
    )


def _pictures(svgs: list[str]) -> str:
    return f'<div class="pictures">{"".join(f"<figure>{svg}</figure>" for svg in svgs)}</div>'


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], numbers: range) -> str:
    def cells(tag: str, row: tuple[str, ...]) -> str:
        return "".join(
            f'<{tag} class="n">{cell}</{tag}>' if i in numbers else f"<{tag}>{cell}</{tag}>"
            for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells("th", head)}</tr>{body}</table></div>'


def _pairs(items: Iterable[tuple[str, Any]]) -> str:
    return _table(("name", "value"), [(escape(str(name)), escape(str(value))) for name, value in items], range(0))


def _numbered(lines: list[str]) -> str:
    """With the numbers that mark them in the pictures."""
    return f"<ol>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ol>"


def _paragraphs(lines: list[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
