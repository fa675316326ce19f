"""Predictions for a scenario, without a server."""

from __future__ import annotations

import json

import pytest

from loadtest import planning, population, residents, scenarios, theory, virtual
from loadtest.__main__ import main

SMALL = scenarios.load("small")


def test_a_met_plan_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--scenario", "expected"]) == 0

    printed = capsys.readouterr().out
    assert "predicted, without a server" in printed
    assert "Memory: " in printed


def test_a_missed_target_names_the_smallest_change_and_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--scenario", "sceptical", "--json"]) == 3

    document = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in document["classes"]}
    assert not rows["match"]["meets_target"]
    assert rows["match"]["change"].startswith("ttl_s.match 1 d → ")
    assert rows["session"]["meets_target"]
    assert rows["session"]["change"] is None
    assert {cell["cache_type"] for cell in document["cells"]} == {"match", "company", "ijp", "session"}


def test_the_change_of_a_ttl_meets_the_target() -> None:
    scenario = scenarios.load("sceptical")
    hours = round(float(next(row for row in planning.plan(scenario).rows if row.name == "ijp").change.split()[-2]))  # type: ignore[union-attr]
    people = population.draw(scenario, 1, at_most=300)

    changed = scenario.changed(ttl_s={"ijp": hours * 3600})

    assert theory.ijp(scenario, people) < scenario.catalog.ijp.target_hit_rate <= theory.ijp(changed, people)


def test_without_warming_the_smallest_change_is_to_warm() -> None:
    rows = {row.name: row for row in planning.plan(scenarios.load("expected").changed(warming="off")).rows}

    assert rows["match"].change == "warming off → due"


def test_a_sample_of_users_predicts_what_all_of_them_do() -> None:
    scenario = scenarios.load("sceptical")
    everybody, sample = (population.draw(scenario, 1, at_most=at_most) for at_most in (None, 300))

    for name, rate in theory.predict(scenario, everybody).items():
        assert theory.predict(scenario, sample)[name] == pytest.approx(rate, abs=0.003)


@pytest.mark.parametrize("warming", ["due", "off"])
def test_the_server_s_memory_is_the_predicted_one(warming: str) -> None:
    scenario = SMALL.changed(users=1_000, days=1, warming=warming)
    people = population.draw(scenario, 1)

    result = virtual.run(scenario, seed=1)

    there = residents.of(scenario, people, allocator="libc")
    assert result.memory[-1].used_bytes == pytest.approx(residents.memory_bytes(scenario, there, "libc"), rel=0.15)


def test_a_memory_limit_costs_hits() -> None:
    scenario = scenarios.load("expected")
    free, tight = (planning.plan(scenario, maxmemory_bytes=size) for size in (10**9, 20 * 10**6))

    assert free.limited is not None
    assert tight.limited is not None
    assert free.unused_days == float("inf")
    assert free.limited["ijp"] == next(row.predicted for row in free.rows if row.name == "ijp")
    assert tight.limited["ijp"] < free.limited["ijp"] - 0.1


def test_data_that_does_not_fit_is_exit_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--users", "1000000"]) == 4
    assert "of 2,488 MB usable on cache.t4g.medium" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["-1", "inf", "nan", "1e308", "much"])
def test_a_wrong_limit_is_exit_code_2(size: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "--maxmemory", size])


def test_a_limit_below_what_is_there_without_data_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--scenario", "small", "--maxmemory", "0.01"]) == 2

    said = capsys.readouterr()
    assert "--maxmemory is 0.01 MB; tables and the generations of 600 jobs alone take" in said.err
    assert said.out == ""
