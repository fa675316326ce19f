"""The files of a run: `verdict.json` and `report.html`, which needs no other file."""

from __future__ import annotations

import json
import platform
from html import escape
from importlib import metadata
from typing import TYPE_CHECKING, Any

from loadtest import plots, recovery, verdict
from loadtest.errors import LoadTestError
from loadtest.scenarios import DAY_S, HOUR_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from loadtest.verdict import Judgement, Row
    from loadtest.virtual import Result

_CSS = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#111}
table{border-collapse:collapse;width:100%;margin:1rem 0;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc;vertical-align:top}
td.n,th.n{text-align:right;white-space:nowrap}.PASS{color:#00664a}.FAIL{color:#a33b00}.UNDECIDED{color:#555}
.verdict{font-weight:700}svg{max-width:100%;height:auto}
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
    """Writes both files; returns what verdict.json holds."""
    document = verdict.as_json(result, judgement, versions(result))
    try:
        (folder / "verdict.json").write_text(json.dumps(document, indent=2) + "\n")
        (folder / "report.html").write_text(html(result, judgement, document))
    except OSError as error:
        raise LoadTestError(f"the report could not be written to {folder}: {error.strerror}.") from None
    return document


def percent(rate: float | None, digits: int = 2) -> str:
    return "–" if rate is None else f"{100 * rate:.{digits}f} %"


def interval(row: Row) -> str:
    return "–" if row.ci_low is None else f"{percent(row.ci_low)} – {percent(row.ci_high)}"


def megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"


def html(result: Result, judgement: Judgement, document: dict[str, Any]) -> str:
    scenario = result.scenario
    title = f"Hit rates: scenario {scenario.name}"
    sections = [
        f"<h1>{escape(title)}</h1><p>{escape(scenario.title)}: {scenario.users:,} users, {scenario.days} virtual days, "
        f"seed {result.seed}, layout {result.layout}. Exit code {int(judgement.exit_code)} "
        f"({judgement.exit_code.name}).</p>",
        _paragraphs(partial_lines(result)),
        "<h2>Verdict</h2>" + _verdict_table(judgement),
        ("<h2>Faults</h2>" + _paragraphs(fault_lines(result))) if result.faults else "",
        "<h2>Hit rate over virtual time</h2>" + plots.hit_rates(result, judgement),
        "<h2>Memory</h2>" + _sizing_table(result, judgement) + plots.memory(result),
        "<h2>Warming</h2>" + _paragraphs(warming_lines(result)),
        "<h2>How it was counted</h2>" + _paragraphs(counting_lines(result)),
        "<h2>Assumptions</h2>" + _pairs(document["assumptions"].items()),
        "<h2>Versions</h2>" + _pairs(document["versions"].items()),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_CSS}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )


def plan_bytes(result: Result) -> int:
    """The caching strategy's own estimate: item sizes times counts, without keys and tables."""
    return sum(cache_type.item_size_bytes * cache_type.item_count for cache_type in result.scenario.catalog)


def notes(judgement: Judgement) -> list[str]:
    return [f"{row.name}: {row.note}." for row in judgement.rows if row.note]


def partial_lines(result: Result) -> list[str]:
    if not result.stopped_because:
        return []
    return [
        f"PARTIAL: {result.stopped_because} The run ended after {result.ran_s / DAY_S:.1f} of {result.scenario.days} "
        "virtual days, and nothing is judged."
    ]


def fault_lines(result: Result) -> list[str]:
    """What each fault did, and how long it took the hit rates to come back."""
    lines = []
    dips = recovery.dips(result)
    for fault in result.faults:
        lasted = "" if fault.until_s is None else f" to {days(fault.until_s)}" if fault.until_s > fault.at_s else ""
        felt = [dip for dip in dips if (dip.fault, dip.at_s) == (str(fault), fault.at_s)]
        lines.append(f"{fault} at {days(fault.at_s)}{lasted}: " + ("; ".join(map(_dip_text, felt)) or "no dip") + ".")
    return lines


def _dip_text(dip: recovery.Dip) -> str:
    back = (
        "not back within the run"
        if dip.recovered_after_s is None
        else f"back within {100 * recovery.NEAR:.0f} points after {dip.recovered_after_s / HOUR_S:.0f} h"
    )
    return f"{dip.cache_type} fell from {percent(dip.before)} to {percent(dip.lowest)} at its worst, {back}"


def days(seconds: float) -> str:
    return f"day {seconds / DAY_S:.2f}"


def warming_lines(result: Result) -> list[str]:
    done = result.warming
    if result.scenario.warming == "off":
        return ["Warming was off."]
    everything = verdict.everything_would_compute(result)
    days = result.scenario.days
    lines = [
        f"{result.warming_runs} hourly runs over {done.users / max(result.warming_runs, 1):,.0f} active users each, "
        f"policy {result.scenario.warming!r}: {done.computed / days:,.0f} scores computed a day, "
        f"{result.warming_commands:,} commands, {done.keys_read:,} keys read, counted apart from the traffic."
    ]
    if result.scenario.warming == "due" and done.computed:
        lines.append(
            f"The caching strategy's loop over everything would compute {everything / days:,.0f} scores a day: "
            f"{everything / done.computed:.0f} times as many for the same hits."
        )
    return lines


def counting_lines(result: Result) -> list[str]:
    stats = result.stats
    lookups = sum(int(counted.lookups.sum()) for counted in result.counts.types.values())
    lines = [
        f"{lookups:,} lookups by {result.scenario.users:,} users; the interval's unit is the "
        "user, since lookups of one user stand and fall together.",
        f"Time: {result.clock_note}. All behaviour lies on steps of {result.scenario.resolution_s} s; nothing else is "
        "rounded.",
    ]
    if result.server_lookups:
        what = (
            "a list of scores is one key, so one hit or miss for the server"
            if result.layout == "hash"
            else "each score is a key"
        )
        lines.append(
            f"The server counted {result.server_lookups:,} key lookups: {stats.data_reads:,} for those values ({what}) "
            f"and {stats.bookkeeping_reads:,} for generations, leases and warming's stamps. The sum is exact."
        )
    return lines


def _verdict_table(judgement: Judgement) -> str:
    head = ("cache type", "target", "measured", "95 % interval", "predicted", "lookups", "verdict", "would flip at")
    rows = [
        (
            escape(row.name),
            percent(row.target, 0),
            percent(row.measured),
            interval(row),
            percent(row.predicted),
            f"{row.lookups:,}",
            f'<span class="verdict {row.verdict}">{row.verdict}</span>' if row.verdict else "–",
            escape(row.flip or ""),
        )
        for row in judgement.rows
    ]
    return _table(head, rows, numbers=range(1, 6)) + _paragraphs(notes(judgement))


def _sizing_table(result: Result, judgement: Judgement) -> str:
    rows = [
        (
            node.node_type + (" (the scenario's)" if node.node_type == result.scenario.node_type else ""),
            megabytes(node.usable_bytes),
            megabytes(node.used_bytes),
            f"{100 * node.used_bytes / node.usable_bytes:.1f} %",
            f'<span class="verdict {node.verdict}">{node.verdict}</span>',
        )
        for node in judgement.sizing
    ]
    table = _table(("node type", "usable", "used at most", "share", "verdict"), rows, numbers=range(1, 4))
    return table + _paragraphs([f"The caching strategy plans {megabytes(plan_bytes(result))} at 10,000 users."])


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


def _paragraphs(lines: list[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
