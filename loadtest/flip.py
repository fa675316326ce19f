"""The smallest change of one assumption that would flip a verdict, by the prediction. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from loadtest import population as populations
from loadtest import theory
from loadtest.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtest.population import Population
    from loadtest.scenarios import Scenario

# What a cache type's hit rate depends on, with the least and the greatest value that makes sense.
_ASSUMPTIONS: Final[dict[str, dict[str, tuple[float, float]]]] = {
    "match": {
        "sessions_per_user_day": (0.01, 20),
        "pages_per_visit": (1.05, 100),
        "popular_share": (0, 1),
        "preferences_change_share": (0, 1),
        "vacancy_turnover_per_day": (0, 5),
        "job_updates_per_day": (0, 5),
    },
    "company": {
        "sessions_per_user_day": (0.01, 20),
        "pages_per_visit": (1.05, 100),
        "companies": (10, 500_000),
        "popularity_exponent": (0, 2),
    },
    "ijp": {
        "sessions_per_user_day": (0.01, 20),
        "pages_per_visit": (1.05, 100),
        "preferences_change_share": (0, 1),
    },
    "session": {
        "pages_per_visit": (1.05, 100),
        "seconds_per_page": (5, 900),
        "page_time_sigma": (0.1, 4),
    },
}
_REDRAWN: Final = ("popular_share", "companies", "popularity_exponent")
_STEPS: Final = 9
# Users drawn anew for each changed assumption: enough that a prediction moves by less than 0.1 points.
SAMPLE: Final = 300


@dataclass(frozen=True, slots=True)
class Flip:
    """`assumption` at `value` instead of `now` would put the prediction on the other side of the target."""

    assumption: str
    now: float
    value: float

    def __str__(self) -> str:
        return f"{self.assumption} {self.now:g} → {self.value:.3g}"


def smallest(scenario: Scenario, people: Population, cache_type: str) -> Flip | None:
    """The nearest flip by ratio; None where no single assumption would do it."""
    flips = list(_flips(scenario, people, cache_type))
    return min(flips, key=lambda flip: abs(math.log(max(flip.value, 1e-6) / max(flip.now, 1e-6))), default=None)


def _flips(scenario: Scenario, people: Population, cache_type: str) -> Iterator[Flip]:
    target = scenario.catalog[cache_type].target_hit_rate
    predict = getattr(theory, cache_type)
    is_met = predict(scenario, people) >= target

    def flipped(name: str, value: float) -> bool:
        changed = _changed(scenario, people, name, value)
        return changed is not None and (predict(*changed) >= target) != is_met

    for name, bounds in _ASSUMPTIONS[cache_type].items():
        now = float(getattr(scenario, name))
        for bound in bounds:
            if bound != now and flipped(name, bound):
                near, far = now, float(bound)
                for _ in range(_STEPS):
                    middle = math.sqrt(near * far) if near * far > 0 else (near + far) / 2
                    near, far = (near, middle) if flipped(name, middle) else (middle, far)
                yield Flip(name, now, far)


def _changed(scenario: Scenario, people: Population, name: str, value: float) -> tuple[Scenario, Population] | None:
    typed: Any = round(value) if isinstance(getattr(scenario, name), int) else value
    changes = {name: typed}
    if name == "companies":
        changes["jobs"] = max(scenario.jobs, typed)
    try:
        changed = scenario.changed(**changes)
    except ScenarioError:
        return None
    if name in _REDRAWN:
        return changed, populations.draw(changed, seed=1, at_most=SAMPLE)
    if name == "sessions_per_user_day":
        return changed, replace(people, visits_per_day=people.visits_per_day * (value / scenario.sessions_per_user_day))
    return changed, people
