"""Assumptions are checked before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cache import CATALOG
from loadtest import population, scenarios, theory
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
        ("sessions_per_user_day = -1", r"sessions_per_user_day is -1\.0; it must be over 0"),
        ("vacancy_turnover_per_day = -0.1", "vacancy_turnover_per_day is -0.1; a rate is not negative"),
        ("night_share = 1.5", "night_share is 1.5; a share lies between 0 and 1"),
        ("users = 0", "users is 0; it must be over 0"),
        ("users = 1.5", "users is 1.5; it must be a whole number"),
        ("users = true", "users is True; it must be a whole number"),
        ("title = 5", "title is 5; it must be a text"),
        ("warming = 'hourly'", "warming is 'hourly'; allowed are due, everything, off"),
        ("node_type = 'cache.t4g.medum'", r"'cache.t4g.medum' is unknown; known are cache\.t4g\.medium"),
        ("resolution_s = 60", "resolution_s is 60; it must be at most 10"),
        ("list_page_share = 0.9", "add up to 1.6"),
        ("popular_jobs = 10", "the list takes 70 popular jobs, but popular_jobs is 10"),
        ("[mine.ttl_s]\nmatch = 0", "match: ttl_s is 0; it must be from 1 to 315360000 seconds"),
        ("[mine.targets]\nmatch = 80.0", r"match: target_hit_rate is 80\.0; it must lie between 0 and 1"),
        ("[mine.targets]\nmatches = 0.8", "'matches' is no cache type. Known: match"),
        ("[mine.ttl_s]\nmatch = 1.5", r"ttl_s\.match is 1\.5; it must be a whole number"),
        ("based = 1", "based is no setting"),
    ],
)
def test_a_wrong_scenario_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load(tmp_path, text)


def test_unknown_names_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"there is no scenario 'expect' in scenarios\.toml\. There are: expected"):
        scenarios.load("expect")
    with pytest.raises(ScenarioError, match="No such file"):
        scenarios.load("expected", tmp_path / "missing.toml")
    (tmp_path / "broken.toml").write_text("[x")
    with pytest.raises(ScenarioError, match="is not TOML"):
        scenarios.load("expected", tmp_path / "broken.toml")
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
