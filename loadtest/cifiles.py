"""What a continuous integration shows of a run: JUnit XML, one case a target, and a summary in Markdown. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree

from loadtest import texts
from loadtest.errors import ExitCode
from loadtest.verdict import Verdict

if TYPE_CHECKING:
    from loadtest.result import Result
    from loadtest.verdict import Judgement

# https://www.w3.org/TR/xml/#charsets: what a server said may hold a terminal's colours.
_NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(result: Result, judgement: Judgement) -> str:
    """A missed target is a failure, one that could not be judged an error: neither is a success."""
    suite = ElementTree.Element("testsuite", name=_for_xml(f"loadtest.{result.scenario.name}"))
    judged = [row for row in judgement.rows if row.verdict]
    for row in judged:
        case = _case(suite, "loadtest.hit_rate", row.name)
        said = f"{texts.percent(row.measured)} ({texts.interval(row)}), target {texts.target(row.target)}. {row.note}"
        _outcome(case, row.verdict, said.strip())
    for node in judgement.sizing:
        if node.node_type == result.scenario.node_type:
            case = _case(suite, "loadtest.memory", node.node_type)
            said = f"{texts.megabytes(node.used_bytes)} of {texts.megabytes(node.usable_bytes)} usable"
            _outcome(case, node.verdict, said)
    if result.stopped_because:
        case = _case(suite, "loadtest", "ran to its end")
        _outcome(case, Verdict.UNDECIDED, result.stopped_because)
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    suite.set("skipped", "0")
    suite.set("time", f"{result.wall_s + result.history_wall_s:.1f}")
    text: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text.decode() + "\n"


def _case(suite: ElementTree.Element, classname: str, name: str) -> ElementTree.Element:
    """Without a time of its own: all are of one run."""
    return ElementTree.SubElement(suite, "testcase", classname=classname, name=name, time="0")


def _outcome(case: ElementTree.Element, verdict: Verdict | None, said: str) -> None:
    if verdict is Verdict.PASS:
        ElementTree.SubElement(case, "system-out").text = _for_xml(said)
    else:
        kind = "failure" if verdict is Verdict.FAIL else "error"
        ElementTree.SubElement(case, kind, type=str(verdict), message=_for_xml(said))


def _for_xml(text: str) -> str:
    """Without the characters that no XML may hold, escaped or not."""
    return _NOT_IN_XML.sub("", text)


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
        cells = (row.name, *texts.row_cells(row), f"**{row.verdict}**" if row.verdict else "not judged")
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
