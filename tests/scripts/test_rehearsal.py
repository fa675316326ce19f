"""The rehearsal passes on the stack as it is, and notices each way in which an alarm could be wrong."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from cache.catalog import CATALOG
from infra import recorded
from loadtest import terminal
from scripts import rehearse_alarms
from scripts.alarms import declared as declared_alarms
from scripts.alarms import edges, expectations, faults, report
from scripts.alarms import scene as scenes
from scripts.alarms.evaluation import evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from infra.recorded import Declared
    from scripts.alarms.declared import MetricAlarm
    from scripts.alarms.rehearsal import Result

PREFIX = "roleferry-prod-"
EXPECTED = expectations.load()


def test_alarms_of_prod_do_what_is_expected(result: Result) -> None:
    assert result.problems == []
    assert result.weeks == 4


def test_every_alarm_rings_in_some_fault_and_every_fault_is_expected(result: Result) -> None:
    """Of nodes that are alike one is enough."""
    rang = {report.kind_of(name) for row in result.rows for name in row.rings}

    assert rang == {report.kind_of(name) for name in result.alarms}
    assert {fault.name for fault in faults.all_faults()} == set(EXPECTED.faults)


def test_a_narrow_terminal_shows_when_each_alarm_pages(
    result: Result, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "console", lambda: Console(width=80, highlight=False))

    report.show(result)

    shown = capsys.readouterr().out
    pages = [ring for row in result.rows for ring in report.grouped(row).values()]
    assert "…" not in shown
    assert all(f" {report.duration(ring.rang)}  {report.cleared(ring)} " in shown for ring in pages), shown


def mutants(alarm: MetricAlarm) -> Iterator[tuple[str, MetricAlarm]]:
    """One change each that would make the alarm another one."""
    # Counts are whole; where the threshold is none at all, bytes are compared, or errors.
    step = max(abs(alarm.threshold) * 0.1, 1) if alarm.threshold else 2e8
    yield "threshold up", replace(alarm, threshold=alarm.threshold + step)
    yield "threshold down", replace(alarm, threshold=alarm.threshold - step)
    yield "M and N up", replace(alarm, datapoints=alarm.datapoints + 1, periods=alarm.periods + 1)
    yield "N up", replace(alarm, periods=alarm.periods + 1)
    if alarm.datapoints < alarm.periods:
        yield "M up", replace(alarm, datapoints=alarm.datapoints + 1)
    if alarm.datapoints > 1:
        yield "M down", replace(alarm, datapoints=alarm.datapoints - 1)
    other = {"GreaterThanThreshold": "LessThanThreshold", "LessThanThreshold": "GreaterThanThreshold"}
    yield "comparison", replace(alarm, comparison=other[alarm.comparison])
    if alarm.expression.startswith("IF("):
        guarded = alarm.expression.removeprefix("IF(").removesuffix(")").split(", ")
        unguarded = guarded[1] if ">=" in guarded[0] else guarded[2]
        yield "guard removed", replace(alarm, expression=unguarded)
        yield "guard doubled", replace(alarm, expression=re.sub("(>=|<)", r"\g<1>2*", alarm.expression, count=1))
    if alarm.expression.startswith("FILL("):
        yield "missing told late", replace(alarm, expression=alarm.expression.removeprefix("FILL(").split(",")[0])
    else:
        yield "missing", replace(alarm, missing="breaching")
    period = {key: replace(one, period_s=one.period_s * 2) for key, one in alarm.metrics.items()}
    yield "period", replace(alarm, metrics=period)


def test_each_mutation_of_each_alarm_is_noticed(prod: Declared) -> None:
    alike: dict[str, MetricAlarm] = {}
    for alarm in declared_alarms.alarms(prod).metric:
        alike.setdefault(report.kind_of(alarm.name.removeprefix(PREFIX)), alarm)
    unnoticed = [
        f"{kind}: {what}"
        for kind, alarm in alike.items()
        for what, mutant in mutants(alarm)
        if not edges.problems(mutant, alarm.name.removeprefix(PREFIX), EXPECTED.edges)
    ]

    assert not unnoticed, "\n".join(unnoticed)


def test_composite_that_forgets_a_child_is_noticed(prod: Declared) -> None:
    alarms = declared_alarms.alarms(prod)
    broken = [replace(one, rule=one.rule.replace("match-floor", "match-telemetry")) for one in alarms.composite]
    broken = [replace(one, rule=one.rule.replace("match-drop", "match-telemetry")) for one in broken]
    scene = scenes.ordinary(prod, days=faults.DAYS, seed=1)
    next(fault for fault in faults.all_faults() if fault.name == "key-bug-match").add_to(scene)

    states = evaluate(alarms.metric, broken, scene.metrics, scene.minutes)

    assert "ALARM" not in states[f"{PREFIX}match-hit-rate"]
    assert "ALARM" in states[f"{PREFIX}match-floor"]


def test_every_metric_that_an_alarm_watches_is_in_the_scene(prod: Declared) -> None:
    scene = scenes.ordinary(prod, days=1, seed=1)
    scene.publish_baseline()
    watched = {one.metric for alarm in declared_alarms.alarms(prod).metric for one in alarm.metrics.values()}

    assert watched <= scene.metrics.keys()


def test_ordinary_days_are_the_catalogues_traffic(prod: Declared) -> None:
    scene = scenes.ordinary(prod, days=28, seed=1)
    day = scenes.by_day(scene.minutes) > 0

    for cache_type in CATALOG:
        lookups = scene.count(cache_type.name, "CacheHits") + scene.count(cache_type.name, "CacheMisses")
        assert np.nanmean(lookups[day]) == pytest.approx(cache_type.lookups_per_minute_day, rel=0.05)
        assert np.nanmean(lookups[~day]) == pytest.approx(cache_type.lookups_per_minute_night, rel=0.1)


def test_mismatch_ends_with_3_and_says_what(
    tmp_path: Path, prod: Declared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.toml"
    _, edges_as_they_are = expectations.FILE.read_text().split("# -- edges")
    file.write_text("[faults.expensive-command]\nmust = { match-hit-rate = 10 }\n#" + edges_as_they_are)
    only = [fault for fault in faults.all_faults() if fault.name == "expensive-command"]
    monkeypatch.setattr(faults, "all_faults", lambda: only)
    monkeypatch.setattr(recorded, "declare", lambda _settings: prod)

    code = rehearse_alarms.main(
        ["--stack", "prod", "--weeks", "1", "--expectations", str(file), "--report", str(tmp_path / "out"), "--json"]
    )

    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == 3
    assert printed["problems"] == [
        "expensive-command: match-hit-rate should have rung within 10 min and did not.",
        "expensive-command: cache-001-cpu rang and should not have.",
        "expensive-command: cache-001-engine-cpu rang and should not have.",
    ]
    assert json.loads((tmp_path / "out" / "alarms.json").read_text()) == printed
    assert "`expensive-command`" in (tmp_path / "out" / "alarms.md").read_text()
    assert (tmp_path / "out" / "alarms.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--stack", "nope"], "stack 'nope' has no Pulumi.nope.yaml. Known: prod, scale-out, scale-up."),
        (["--stack", "prod", "--expectations", "/nowhere.toml"], "/nowhere.toml cannot be read: No such file"),
        (["--stack", "prod", "--report", "/proc/no"], "--report /proc/no cannot be written"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearse_alarms.main(arguments) == 2

    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[faults.a]\nmust = 1", "faults.a.must"),
        ("[faults.a]\nmust = {}\nmuts = {}", "faults.a.muts"),
        ("faults = ", "no TOML"),
        ("# \xff", "no TOML"),
    ],
)
def test_bad_expectations_are_refused(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(text.encode("latin-1"))

    with pytest.raises(expectations.ExpectationsError) as refused:
        expectations.load(tmp_path / "bad.toml")

    assert told in str(refused.value)
