"""Assumptions are checked before anything starts."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache import CATALOG
from loadtest import planning, population, scenarios, theory
from loadtest.errors import ScenarioError

if TYPE_CHECKING:
    from pathlib import Path

BASE = scenarios.FILE.read_text()


def load(tmp_path: Path, text: str, name: str = "mine") -> scenarios.Scenario:
    file = tmp_path / "scenarios.toml"
    file.write_text(BASE + "\n[mine]\nbased_on = 'small'\n" + text)
    return scenarios.load(name, file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("session_per_day = 1", r"session_per_day is no setting\. Known: .*sessions_per_user_day"),
        ("sessions_per_user_day = -1", r"sessions_per_user_day is -1\.0; it must be from 0\.001 to 100,000"),
        ("vacancy_turnover_per_day = -0.1", "vacancy_turnover_per_day is -0.1; it must be from 0 to 100"),
        ("night_share = 1.5", "night_share is 1.5; a share lies between 0 and 1"),
        ("users = 0", "users is 0; it must be from 1 to 1,000,000"),
        ("users = 1.5", "users is 1.5; it must be a whole number"),
        ("users = true", "users is True; it must be a whole number"),
        ("title = 5", "title is 5; it must be a text"),
        ("warming = 'hourly'", "warming is 'hourly'; allowed are due, everything, off"),
        ("node_type = 'cache.t4g.medum'", r"'cache.t4g.medum' is unknown; known are cache\.t4g\.medium"),
        ("resolution_s = 60", "resolution_s is 60; it must be from 1 to 10"),
        ("resolution_s = 7", "resolution_s is 7; it must divide an hour"),
        ("popularity_exponent = 1000", r"popularity_exponent is 1000\.0; it must be from 0 to 10"),
        ("users = 100_000_000_000", "users is 100000000000; it must be from 1 to 1,000,000"),
        ("pages_per_visit = inf", "pages_per_visit is inf; it must be a number"),
        ("jobs = 9999\npopular_jobs = 480", "a user would have 510 scores, .* the cache takes 500"),
        ("job_page_share = 0.0\nlist_page_share = 0.9", "job_page_share is 0; without job pages nothing asks"),
        ("list_page_share = 0.9", "add up to 1.6"),
        ("popular_jobs = 10", "the list takes 70 popular jobs, but popular_jobs is 10"),
        ("[mine.ttl_s]\nmatch = 0", "match: ttl_s is 0; it must be from 1 to 315360000 seconds"),
        ("[mine.targets]\nmatch = 80.0", r"match: target_hit_rate is 80\.0; it must lie between 0 and 1"),
        ("[mine.targets]\nmatches = 0.8", "'matches' is no cache type. Known: match"),
        ("[mine.ttl_s]\nmatch = 1.5", r"ttl_s\.match is 1\.5; it must be a whole number"),
        ("based = 1", "based is no setting"),
        ("name = 'other'", "name is no setting"),
        (f"usd_per_enrichment = {10**400}", "usd_per_enrichment is 1000.*; it must be a number"),
        (f"users = {'9' * 5_000}", "is not TOML"),
    ],
)
def test_a_wrong_scenario_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize("value", [-1, 10**12, 1e300, float("nan"), float("inf")])
def test_every_number_has_bounds(value: float) -> None:
    scenario = scenarios.load("small")
    numbers = [field.name for field in dataclasses.fields(scenario) if field.type in ("int", "float")]

    assert len(numbers) > 20
    for name in numbers:
        with pytest.raises(ScenarioError, match=re.escape(f"{name} is {value!r}; ")):
            scenario.changed(**{name: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"popularity_exponent": 10.0, "popular_share": 0.0},
        {"companies": 5_000},
        {"companies": 1, "jobs": 1, "popular_jobs": 1, "list_length": 1, "popular_share": 1.0},
        {"vacancy_turnover_per_day": 100.0, "job_updates_per_day": 100.0},
        {"preferences_page_share": 0.0, "list_page_share": 0.4, "night_share": 0.0},
    ],
)
def test_a_prediction_at_the_bounds_is_a_rate(changes: dict[str, Any]) -> None:
    found = planning.plan(scenarios.load("small").changed(**changes), maxmemory_bytes=10**9)

    assert [row.name for row in found.rows if not 0 <= row.predicted <= 1] == []
    assert [cell for cell in found.cells if not 0 <= cell.hit_rate <= 1] == []
    assert found.unused_days == float("inf")


def test_unknown_names_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"there is no scenario 'expect' in scenarios\.toml\. There are: expected"):
        scenarios.load("expect")
    with pytest.raises(ScenarioError, match="No such file"):
        scenarios.load("expected", tmp_path / "missing.toml")
    (tmp_path / "broken.toml").write_text("[x")
    with pytest.raises(ScenarioError, match="is not TOML"):
        scenarios.load("expected", tmp_path / "broken.toml")
    (tmp_path / "flat.toml").write_text("a = 5\n[b]\nbased_on = ['a']")
    with pytest.raises(ScenarioError, match=r"there is no scenario 'a' in flat\.toml\. There are: b"):
        scenarios.load("a", tmp_path / "flat.toml")
    with pytest.raises(ScenarioError, match="no other scenario"):
        scenarios.load("b", tmp_path / "flat.toml")
    (tmp_path / "misspelt.toml").write_text("[a]\nbased_on='expekted'")
    with pytest.raises(ScenarioError, match="'a' is based_on 'expekted', which is no other scenario of misspelt"):
        scenarios.load("a", tmp_path / "misspelt.toml")
    (tmp_path / "circle.toml").write_text("[a]\nbased_on='b'\n[b]\nbased_on='a'")
    with pytest.raises(ScenarioError, match="no other scenario"):
        scenarios.load("a", tmp_path / "circle.toml")


def test_a_scenario_may_change_ttls_and_targets(tmp_path: Path) -> None:
    scenario = load(tmp_path, "[mine.ttl_s]\nijp = 86400\n[mine.targets]\nmatch = 0.99")

    assert scenario.catalog.ijp.ttl_s == 86_400
    assert scenario.catalog.match.target_hit_rate == 0.99
    assert CATALOG.match.target_hit_rate == 0.80


def test_the_catalogue_expects_the_traffic_of_the_scenario() -> None:
    scenario = scenarios.load("expected")
    visit = theory.visit(scenario)
    visits_per_day = scenario.users * scenario.sessions_per_user_day
    per_visit = {
        "match": visit.list_views * scenario.list_length + visit.jobs_opened,
        "company": visit.jobs_opened,
        "ijp": visit.list_views + visit.preference_pages,
        "session": visit.session_lookups,
    }

    for name, lookups in per_visit.items():
        day = visits_per_day * lookups * (1 - scenario.night_share) / (16 * 60)
        night = visits_per_day * lookups * scenario.night_share / (8 * 60)
        assert CATALOG[name].lookups_per_minute_day == pytest.approx(day, rel=0.03)
        assert CATALOG[name].lookups_per_minute_night == pytest.approx(night, rel=0.03)


def test_users_are_those_of_the_seed() -> None:
    scenario = scenarios.load("small")

    one, same, other = (population.draw(scenario, seed) for seed in (1, 1, 2))

    assert (one.lists == same.lists).all()
    assert (one.lists != other.lists).any()
    assert all(len(set(jobs)) == scenario.list_length for jobs in one.lists.tolist())
    assert ((one.lists < scenario.popular_jobs).sum(axis=1) == scenario.popular_in_list).all()


def test_lists_are_drawn_alike_by_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = scenarios.load("small").changed(users=1_000, popularity_exponent=1.5, popular_jobs=1, popular_share=0.0)
    usual = population.draw(scenario, 1)

    monkeypatch.setattr(population, "_ROUNDS", 0)
    other = population.draw(scenario, 1)

    assert all(len(set(jobs)) == scenario.list_length for jobs in other.lists.tolist())
    shown = [np.bincount(people.lists.ravel(), minlength=scenario.jobs) / scenario.users for people in (usual, other)]
    assert 0.2 < shown[0][100] < 0.8  # neither in every list nor in none
    assert shown[1] == pytest.approx(shown[0], abs=0.08)  # five standard errors of a share
