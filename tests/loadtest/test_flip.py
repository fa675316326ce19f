"""The smallest change that would flip a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest import flip, population, scenarios, theory


@pytest.mark.parametrize(
    ("name", "cache_type", "assumption"),
    [
        ("expected", "match", "popular_share"),
        ("expected", "company", "pages_per_visit"),
        ("expected", "ijp", "sessions_per_user_day"),
        ("expected", "session", "seconds_per_page"),
        ("sceptical", "match", "pages_per_visit"),
        ("sceptical", "company", "pages_per_visit"),
        ("sceptical", "ijp", "pages_per_visit"),
        ("sceptical", "session", "seconds_per_page"),
    ],
)
def test_the_smallest_change_flips_the_prediction(name: str, cache_type: str, assumption: str) -> None:
    scenario = scenarios.load(name).changed(users=1_000)
    people = population.draw(scenario, 1)
    target = scenario.catalog[cache_type].target_hit_rate
    predict = getattr(theory, cache_type)

    found = flip.smallest(scenario, people, cache_type)

    assert found is not None
    assert found.assumption == assumption
    value = round(found.value) if isinstance(getattr(scenario, found.assumption), int) else found.value
    changed = scenario.changed(**{found.assumption: value})
    others = population.draw(changed, 1)
    if found.assumption == "sessions_per_user_day":
        others = replace(people, visits_per_day=people.visits_per_day * (value / scenario.sessions_per_user_day))
    assert (predict(changed, others) >= target) != (predict(scenario, people) >= target)
