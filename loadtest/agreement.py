"""Closed form, simulation and measurement of the same traffic beside each other, over several seeds. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Final

from loadtest import intervals, theory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtest.counts import Counts
    from loadtest.population import Population
    from loadtest.scenarios import Scenario

# In standard errors. Chance alone is farther off once in 370 times.
TOLERANCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Opinions:
    """One seed: who took part, what the simulation counted, and the server if it was asked."""

    people: Population
    simulated: Counts
    measured: Counts | None


@dataclass(frozen=True, slots=True)
class Found:
    """A hit rate over all seeds and its standard error; how many standard errors off the closed form, also by seed."""

    hit_rate: float
    standard_error: float
    apart: float
    apart_by_seed: list[float]


@dataclass(frozen=True, slots=True)
class Row:
    """One cache type. `other_hits` is in how many users' hits the measurement differs from the simulation."""

    name: str
    predicted: float
    simulated: Found
    measured: Found | None
    other_hits: int | None

    @property
    def agrees(self) -> bool:
        founds = [self.simulated] if self.measured is None else [self.simulated, self.measured]
        return all(abs(found.apart) <= TOLERANCE for found in founds)


def rows(scenario: Scenario, seeds: Sequence[Opinions]) -> list[Row]:
    """Raises ValueError if a cache type had too few lookups for an interval."""
    predictions = [theory.predict(scenario, opinions.people) for opinions in seeds]
    return [_row(name, [each[name] for each in predictions], seeds) for name in scenario.catalog.names()]


def _row(name: str, predicted: Sequence[float], seeds: Sequence[Opinions]) -> Row:
    measured = [opinions.measured for opinions in seeds if opinions.measured]
    other = sum(
        int((one.simulated.types[name].hits != two.types[name].hits).sum())
        for one, two in zip(seeds, measured, strict=False)
    )
    return Row(
        name=name,
        predicted=fmean(predicted),
        simulated=_found(name, predicted, [opinions.simulated for opinions in seeds]),
        measured=_found(name, predicted, measured) if measured else None,
        other_hits=other if measured else None,
    )


def _found(name: str, predicted: Sequence[float], counted: Sequence[Counts]) -> Found:
    rates, errors = [], []
    for counts in counted:
        estimate = intervals.hit_rate(counts.types[name].hits, counts.types[name].lookups)
        if estimate.hit_rate is None or estimate.standard_error is None:
            raise ValueError(name)
        rates.append(estimate.hit_rate)
        # Where nothing missed, the error is that of one miss.
        errors.append(max(estimate.standard_error, 1 / estimate.lookups))
    error = math.hypot(*errors) / len(errors)
    return Found(
        hit_rate=fmean(rates),
        standard_error=error,
        apart=(fmean(rates) - fmean(predicted)) / error,
        apart_by_seed=[(rate - p) / e for rate, p, e in zip(rates, predicted, errors, strict=True)],
    )
