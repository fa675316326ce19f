"""What a continuous integration shows of a run: JUnit XML, one case a target, and a summary in Markdown. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from loadtest import texts
from loadtest.errors import ExitCode
from loadtest.verdict import Verdict

if TYPE_CHECKING:
    from loadtest.result import Result
    from loadtest.verdict import Judgement


def junit(result: Result, judgement: Judgement) -> str:
    """A missed target is a failure, one that could not be judged an error: neither is a success."""
    suite = ElementTree.Element("testsuite", name=f"loadtest.{result.scenario.name}")
    judged = [row for row in judgement.rows if row.verdict]
    for row in judged:
        case = ElementTree.SubElement(suite, "testcase", classname="loadtest.hit_rate", name=row.name)
        said = f"{texts.percent(row.measured)} ({texts.interval(row)}), target {texts.target(row.target)}. {row.note}"
        _outcome(case, row.verdict, said.strip())
    for node in judgement.sizing:
        if node.node_type == result.scenario.node_type:
            case = ElementTree.SubElement(suite, "testcase", classname="loadtest.memory", name=node.node_type)
            said = f"{texts.megabytes(node.used_bytes)} of {texts.megabytes(node.usable_bytes)} usable"
            _outcome(case, node.verdict, said)
    if result.stopped_because:
        case = ElementTree.SubElement(suite, "testcase", classname="loadtest", name="ran to its end")
        _outcome(case, Verdict.UNDECIDED, result.stopped_because)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    suite.set("time", f"{result.wall_s + result.history_wall_s:.1f}")
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _outcome(case: ElementTree.Element, verdict: Verdict | None, said: str) -> None:
    if verdict is Verdict.PASS:
        ElementTree.SubElement(case, "system-out").text = said
    else:
        ElementTree.SubElement(case, "failure" if verdict is Verdict.FAIL else "error", message=said)


def markdown(result: Result, judgement: Judgement) -> str:
    scenario = result.scenario
    lines = [
        f"## Hit rates: {'PASS' if judgement.exit_code is ExitCode.PASS else judgement.exit_code.name}",
        "",
        f"{scenario.name}: {scenario.users:,} users, {scenario.days} virtual days, seed {result.seed}, layout "
        f"{result.layout}; {result.server_version}. Exit code {int(judgement.exit_code)}.",
        "",
        "| cache type | target | measured | 95 % interval | predicted | lookups | verdict |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in judgement.rows:
        cells = (
            *(row.name, texts.target(row.target), texts.percent(row.measured), texts.interval(row)),
            *(texts.percent(row.predicted), f"{row.lookups:,}", f"**{row.verdict}**" if row.verdict else "not judged"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| node type | usable | used at most | verdict |", "|---|--:|--:|---|"]
    lines += [
        f"| {node.node_type} | {texts.megabytes(node.usable_bytes)} | {texts.megabytes(node.used_bytes)} "
        f"| **{node.verdict}** |"
        for node in judgement.sizing
    ]
    said = [*texts.remarks(result), *texts.notes(judgement), *texts.fault_lines(result), *texts.cost_lines(result)]
    lines += ["", *(f"- {line}" for line in said)]
    return "\n".join(lines) + "\n"
