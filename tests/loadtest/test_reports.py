"""What a run leaves for people and machines; two runs compared; intervals as narrow as asked."""

from __future__ import annotations

import argparse
import copy
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest
import xmlschema
from rich.console import Console

from loadtest import cifiles, comparing, intervals, report, scenarios, terminal, verdict, virtual
from loadtest.__main__ import main
from loadtest.commands import running
from loadtest.errors import LoadTestError
from tests.loadtest.test_live import live_result, step

if TYPE_CHECKING:
    from loadtest.result import Result

SMALL = scenarios.load("small").changed(users=400, days=2)


@pytest.fixture(scope="module")
def result() -> Result:
    return virtual.run(SMALL.changed(targets={"match": 0.985}), seed=1)


@pytest.fixture(scope="module")
def folder(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written: Path = tmp_path_factory.mktemp("report")
    report.write(written, result, verdict.judge(result))
    return written


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return found


def test_assumptions_hold_every_ttl_and_target(folder: Path) -> None:
    assumptions = document(folder)["assumptions"]

    assert assumptions["ttl_s"] == {"match": 86_400, "company": 2_592_000, "ijp": 2_592_000, "session": 900}
    assert assumptions["targets"] == {"match": 0.985, "company": 0.9, "ijp": 0.95, "session": 0.99}


def test_junit_has_a_case_for_each_target(folder: Path) -> None:
    suite = ElementTree.fromstring((folder / "junit.xml").read_text())  # noqa: S314 - our own file

    cases = {case.get("name"): case for case in suite}
    assert list(cases) == ["match", "company", "ijp", "session", "cache.t4g.medium"]
    assert cases["match"].find("failure") is not None
    assert cases["session"].find("failure") is None
    assert suite.get("tests") == "5"
    assert int(suite.get("failures", 0)) >= 1


def test_junit_is_what_surefire_and_jenkins_take(folder: Path, result: Result) -> None:
    """The schema is the stricter of both; the text has a terminal's colours in it and what XML must escape."""
    schema = xmlschema.XMLSchema(Path(__file__).with_name("junit.xsd"))
    said = 'the server said \x1b[31m<busy & gone>\x00\ufffe at "1"\n.'
    partial = replace(result, stopped_because=said)

    text = cifiles.junit(partial, verdict.judge(partial))

    schema.validate(str(folder / "junit.xml"))
    schema.validate(text)
    ran = ElementTree.fromstring(text.encode())[-1][0]  # noqa: S314 - our own text
    assert ran.get("message") == 'the server said [31m<busy & gone> at "1"\n.'


def test_reports_are_written_whatever_the_locale(tmp_path: Path) -> None:
    """Python then opens files in ASCII, and the reports have dashes."""
    locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = ["validate", "--scenario", "small", "--users", "50", "--days", "1", "--report", str(tmp_path)]

    run = subprocess.run(
        [sys.executable, "-m", "loadtest", *command], env=os.environ | locale, capture_output=True, check=False
    )

    assert b"Traceback" not in run.stderr, run.stderr
    assert "–" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert (tmp_path / "junit.xml").read_text(encoding="utf-8").startswith("<?xml version='1.0' encoding='utf-8'?>")


def test_a_report_of_an_earlier_run_is_not_left_for_one_that_breaks_off(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "live.json").write_text("{}")
    (tmp_path / "log.csv").write_text("5,cats,7,,get\n")

    assert main(["replay", str(tmp_path / "log.csv"), "--report", str(tmp_path)]) == 2

    assert {file.name for file in tmp_path.iterdir()} == {"live.json", "log.csv"}


NEEDS_FULL_DEVICE = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device on this machine")


@NEEDS_FULL_DEVICE
def test_a_full_disk_loses_no_verdict_and_leaves_no_half_file(
    result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "junit.xml").symlink_to("/dev/full")

    with pytest.raises(LoadTestError, match=r"written to .*junit\.xml: No space left on device"):
        running.finish(argparse.Namespace(report=tmp_path, json=False), result)

    assert "cache.t4g.medium" in capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} == {"verdict.json", "report.html"}


@NEEDS_FULL_DEVICE
def test_a_full_disk_behind_standard_output_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "loadtest", "plan", "--scenario", "small"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (run.returncode, run.stderr) == (1, "loadtest: standard output: No space left on device.\n")


def test_the_summary_says_what_failed(folder: Path) -> None:
    summary = (folder / "summary.md").read_text()

    assert summary.startswith("## Hit rates: ")
    assert "| match | 98.5 % | " in summary
    assert "**FAIL**" in summary
    assert "Misses cost " in summary


@pytest.mark.parametrize("width", [60, 80, 128])
def test_a_narrow_terminal_shows_every_digit_and_no_name_in_pieces(
    result: Result, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = verdict.judge(result)
    console = Console(width=width, file=io.StringIO(), highlight=False)
    monkeypatch.setattr(terminal, "console", lambda: console)

    with console.capture() as captured:
        terminal.show(result, judged)

    shown = captured.get()
    assert "…" not in shown
    assert all(f" {row.flip}" in shown for row in judged.rows if row.flip), shown
    assert width < 80 or " predicted " in shown


@pytest.mark.parametrize("scenario", ["expected", "sceptical"])
def test_the_plan_s_cells_fit_into_eighty_columns(
    scenario: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "console", lambda: Console(width=80, highlight=False))

    main(["plan", "--scenario", scenario])

    rows = capsys.readouterr().out.partition("3 a day\n")[2].splitlines()
    assert {line.count("(") for line in rows if line.strip()} == {4}, rows


def test_the_report_shows_cost_and_projection(folder: Path) -> None:
    html = (folder / "report.html").read_text()

    assert "What misses cost" in html
    assert "100,000" in html
    assert html.count("<svg") == 6
    assert "width=device-width" in html
    assert "match 86400, company 2592000, ijp 2592000, session 900" in html


def test_latency_is_that_of_a_live_run_beside_it(result: Result, tmp_path: Path) -> None:
    judgement = verdict.judge(result)

    def page() -> str:
        report.write(tmp_path, result, judgement)
        return (tmp_path / "report.html").read_text()

    assert "<code>python -m loadtest live --host …</code> measures it" in page()
    live_result(step(100, 100)).write(tmp_path / "live.json")
    assert "2026-11-24 12:00 UTC: Held: 100 operations a second." in page()
    (tmp_path / "live.json").write_text('{"steps": []}')
    assert "run it again, or move the file away" in page()


def changed(original: dict[str, Any], name: str, by: float) -> dict[str, Any]:
    other = copy.deepcopy(original)
    for row in other["classes"]:
        if row["name"] == name:
            for figure in ("measured", "ci_low", "ci_high"):
                row[figure] += by
    return other


def test_a_fall_beyond_the_intervals_is_a_regression(folder: Path, tmp_path: Path) -> None:
    before = document(folder)
    (tmp_path / "worse.json").write_text(json.dumps(changed(before, "match", -0.1)))
    (tmp_path / "noise.json").write_text(json.dumps(changed(before, "match", -0.0001)))

    original = str(folder / "verdict.json")
    assert main(["compare", original, str(tmp_path / "worse.json")]) == 3
    assert main(["compare", str(tmp_path / "worse.json"), original]) == 0
    assert main(["compare", original, str(tmp_path / "noise.json")]) == 0


@pytest.mark.parametrize(("by", "said"), [(-0.1, "worse"), (-0.0001, "same"), (0.0001, "same"), (0.1, "better")])
def test_only_what_lies_beyond_the_intervals_is_a_change(folder: Path, by: float, said: str) -> None:
    before = document(folder)

    changes, _ = comparing.compare(before, changed(before, "match", by))

    assert [change.what for change in changes if change.name == "match"] == [said]


def test_more_memory_is_a_regression(folder: Path) -> None:
    before = document(folder)
    after = copy.deepcopy(before)
    after["assumptions"]["users"] = 500
    for node in after["sizing"]:
        node["used_bytes"] *= 2

    changes, settings = comparing.compare(before, after)

    assert {change.name for change in changes if change.is_regression} == {"memory"}
    assert settings == ["users: 400 → 500"]


@pytest.mark.parametrize(
    ("before_mb", "after_mb", "said"),
    [(2, 2.9, "same"), (2, 3.1, "worse"), (3.1, 2, "better"), (100, 104, "same"), (100, 106, "worse")],
)
def test_memory_has_noise_of_a_size_and_of_a_share(folder: Path, before_mb: float, after_mb: float, said: str) -> None:
    before, after = document(folder), document(folder)
    for run, size_mb in ((before, before_mb), (after, after_mb)):
        for node in run["sizing"]:
            node["used_bytes"] = size_mb * 1e6

    changes, _ = comparing.compare(before, after)

    assert {change.what for change in changes if change.name == "memory"} == {said}


def test_everything_in_which_two_runs_differ_is_said(folder: Path) -> None:
    before, after = document(folder), document(folder)
    before["assumptions"]["gone"] = 1
    after |= {"seed": 2, "scenario": "other", "faults": ["flush"]}
    after["versions"]["server"] = "Valkey 9.2.0"

    _, settings = comparing.compare(before, after)

    assert settings == [
        *("scenario: small → other", "seed: 1 → 2", "faults: [] → ['flush']", "gone: 1 → None"),
        "server: Valkey 9.1.2 → Valkey 9.2.0",
    ]


def test_a_cache_type_of_the_second_run_alone_is_shown(folder: Path, tmp_path: Path) -> None:
    before = document(folder)
    lost = before["classes"].pop()
    (tmp_path / "before.json").write_text(json.dumps(before))

    changes, _ = comparing.compare(before, document(folder))

    assert [change for change in changes if change.name == lost["name"]] == [
        comparing.Change(lost["name"], None, lost["measured"], "new")
    ]
    assert main(["compare", str(tmp_path / "before.json"), str(folder / "verdict.json")]) == 0


def test_too_few_samples_cannot_be_compared(folder: Path, tmp_path: Path) -> None:
    other = document(folder)
    other["classes"][0] |= {"ci_low": None, "ci_high": None}
    (tmp_path / "few.json").write_text(json.dumps(other))

    assert main(["compare", str(folder / "verdict.json"), str(tmp_path / "few.json")]) == 5


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda after: after["classes"].pop(), 3, "worse: it is not judged any more"),
        (lambda after: after["sizing"][0].update(verdict="FAIL"), 3, "worse: the data does not fit any more"),
        (lambda after: after["classes"][0].update(verdict="UNDECIDED"), 5, "not decided any more"),
        (lambda after: after.update(is_partial=True), 5, "a run that ended early cannot be compared"),
    ],
)
def test_what_is_lost_is_not_the_same(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, code: int, said: str
) -> None:
    before = document(folder)
    for row in before["classes"]:
        row["verdict"] = "PASS"
    after = copy.deepcopy(before)
    spoil(after)
    (tmp_path / "before.json").write_text(json.dumps(before))
    (tmp_path / "after.json").write_text(json.dumps(after))

    assert main(["compare", "--json", *(str(tmp_path / f"{name}.json") for name in ("before", "after"))]) == code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(("{", "other.json is no JSON"), ("{}", "other.json is no verdict.json"), ("[]", "is no verdict.json")),
        *(('{"classes": [], "sizing": [{}], "assumptions": {}}', "not a verdict.json"), (None, "No such file")),
    ],
)
def test_what_is_no_verdict_is_exit_code_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    other = tmp_path / "other.json"
    if text is not None:
        other.write_text(text)

    assert main(["compare", str(folder / "verdict.json"), str(other)]) == 2
    assert message in capsys.readouterr().err


def test_a_run_ends_when_the_intervals_are_narrow_enough() -> None:
    wide = virtual.run(SMALL.changed(days=3), seed=1, precision=0.2)
    narrow = virtual.run(SMALL.changed(days=2), seed=1, precision=0.0001)

    assert wide.scenario.days == 1
    assert wide.remarks == []
    assert narrow.scenario.days == 2
    assert "match: the interval is ± " in narrow.remarks[0]
    assert int(verdict.judge(narrow).exit_code) == 5


def test_the_interval_is_that_of_a_bootstrap_over_users(result: Result) -> None:
    counted = result.counts.types["match"]
    rng = np.random.default_rng(1)
    users = len(counted.hits)
    drawn = rng.integers(0, users, size=(2_000, users))
    rates = counted.hits[drawn].sum(axis=1) / counted.lookups[drawn].sum(axis=1)

    found = intervals.hit_rate(counted.hits, counted.lookups)

    assert found.low == pytest.approx(np.quantile(rates, 0.025), abs=found.half_width / 5)
    assert found.high == pytest.approx(np.quantile(rates, 0.975), abs=found.half_width / 5)
