"""Who visits and what they look at: drawn once from the seed, shared by behaviour, theory and the stationary start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loadtest.scenarios import Scenario


# Past this many users, more would not change which jobs the lists of all of them show.
_ENOUGH: Final = 20_000
# Of draws for one list.
_ROUNDS: Final = 20


@dataclass(frozen=True, slots=True)
class Population:
    """Users are rows, slots are places for a vacancy: the vacancy in one changes, its employer stays.

    visits_per_day: (users,) mean visits of each user
    lists: (users, list_length) the slots that a user's jobs list shows, in their order
    slot_company: (jobs,) employer of each slot; the first `popular_jobs` slots are the popular ones
    position_weights: (list_length,) which place of the list is opened
    slot_weights: (jobs,) which job is reached by search
    slot_shares: (jobs,) which job is opened from a list, over all users
    """

    visits_per_day: NDArray[np.float64]
    lists: NDArray[np.int64]
    slot_company: NDArray[np.int64]
    position_weights: NDArray[np.float64]
    slot_weights: NDArray[np.float64]
    slot_shares: NDArray[np.float64]


def draw(scenario: Scenario, seed: int, *, at_most: int | None = None) -> Population:
    """All users, or a sample of so many whose rates lie evenly over those of all: for predictions in a hurry."""
    rng = np.random.default_rng([seed, 0])
    shape = scenario.session_rate_shape
    visits = rng.gamma(shape, scenario.sessions_per_user_day / shape, scenario.users)
    # A user who never comes is no user: once in 100 days at least.
    visits = np.maximum(visits, 0.01)
    slot_weights = _zipf(scenario.jobs, scenario.popularity_exponent)
    position_weights = _zipf(scenario.list_length, 1.0)
    is_sample = at_most is not None and at_most < scenario.users
    # Stratified, and of the same mean: the tail of frequent visitors must not depend on luck.
    users = np.array([part.mean() for part in np.array_split(np.sort(visits), at_most or 1)]) if is_sample else visits
    lists = _lists(scenario, len(users), slot_weights, rng)
    return Population(
        visits_per_day=users,
        lists=lists,
        slot_company=_employers(scenario, rng),
        position_weights=position_weights,
        slot_weights=slot_weights,
        slot_shares=(
            _opened_by_all(scenario, visits[:_ENOUGH], position_weights, slot_weights, rng)
            if is_sample
            else _shares(scenario.jobs, lists, visits[:, None] * position_weights[None, :])
        ),
    )


def _shares(jobs: int, slots: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    per_slot = np.bincount(slots.ravel(), weights=weights.ravel(), minlength=jobs)
    shares: NDArray[np.float64] = per_slot / per_slot.sum()
    return shares


def _opened_by_all(
    scenario: Scenario,
    visits: NDArray[np.float64],
    position_weights: NDArray[np.float64],
    slot_weights: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """`slot_shares` where only a sample's lists are drawn: a list's jobs at once, with replacement, for everybody."""
    popular, personal = scenario.popular_jobs, scenario.personal_in_list
    shares = np.zeros(scenario.jobs)
    if personal:
        bounds = np.cumsum(slot_weights[popular:])
        drawn = np.searchsorted(bounds, rng.random((len(visits), personal)) * bounds[-1], side="right") + popular
        weights = rng.permuted(np.tile(position_weights, (len(visits), 1)), axis=1) * visits[:, None]
        shares += (1 - scenario.popular_share) * _shares(scenario.jobs, drawn, weights[:, :personal])
    shares[:popular] += scenario.popular_share / popular
    return shares


def _zipf(count: int, exponent: float) -> NDArray[np.float64]:
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def _lists(
    scenario: Scenario, users: int, slot_weights: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Some of the popular slots and some personal ones by popularity, shuffled, for each user.

    The personal ones are drawn one after the other without replacement: the first distinct ones of many draws, and
    where few jobs have nearly all the weight, the rest by Gumbel's trick, which takes as long whatever the weights are
    (Kool, van Hoof, Welling: Stochastic Beams and Where to Find Them, ICML 2019).
    """
    popular, wanted = scenario.popular_jobs, scenario.personal_in_list
    lists = np.empty((users, scenario.list_length), dtype=np.int64)
    bounds = np.cumsum(slot_weights[popular:])
    for user in range(users):
        chosen = rng.permutation(popular)[: scenario.popular_in_list]
        distinct: dict[int, None] = {}
        for _ in range(_ROUNDS):
            if len(distinct) >= wanted:
                break
            draws = np.searchsorted(bounds, rng.random(2 * wanted) * bounds[-1], side="right")
            distinct.update(dict.fromkeys(draws.tolist()))
        else:
            marks = np.log(slot_weights[popular:]) + rng.gumbel(size=len(bounds))
            marks[list(distinct)] = -np.inf
            distinct.update(dict.fromkeys(np.argsort(-marks)[:wanted].tolist()))
        personal = np.fromiter(distinct, dtype=np.int64)[:wanted]
        lists[user] = rng.permutation(np.concatenate([chosen, personal + popular]))
    return lists


def _employers(scenario: Scenario, rng: np.random.Generator) -> NDArray[np.int64]:
    """Every company has a vacancy where there are enough; the rest are spread evenly."""
    companies = np.arange(scenario.jobs) % scenario.companies
    return rng.permutation(companies)
