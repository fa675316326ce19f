"""The smallest change that would flip a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest import flip, population, scenarios, theory


@pytest.mark.parametrize("name", ["expected", "sceptical"])
@pytest.mark.parametrize("cache_type", ["match", "company", "ijp", "session"])
def test_the_change_flips_the_prediction(name: str, cache_type: str) -> None:
    scenario = scenarios.load(name).changed(users=1_000)
    people = population.draw(scenario, 1)
    target = scenario.catalog[cache_type].target_hit_rate
    predict = getattr(theory, cache_type)

    found = flip.smallest(scenario, people, cache_type)

    assert found is not None
    value = round(found.value) if isinstance(getattr(scenario, found.assumption), int) else found.value
    changed = scenario.changed(**{found.assumption: value})
    others = population.draw(changed, 1)
    if found.assumption == "sessions_per_user_day":
        others = replace(people, visits_per_day=people.visits_per_day * (value / scenario.sessions_per_user_day))
    assert (predict(changed, others) >= target) != (predict(scenario, people) >= target)
