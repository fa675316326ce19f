"""The closed forms, each beside a small simulation of single keys."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest

from loadtest import renewal

LOOKUPS = 60_000


def simulated(gaps: np.ndarray, *, slides: bool = False, removals: float = 0, renewals: float = 0) -> float:
    """Hit rate of one key with a TTL of 1 that is looked up after these gaps."""
    rng = np.random.default_rng([1, 7])
    now = expires = 0.0
    removed = np.inf if not removals else rng.exponential(1 / removals)
    renewed = np.inf if not renewals else rng.exponential(1 / renewals)
    hits = 0
    for gap in gaps.tolist():
        now += gap
        while min(removed, renewed) <= now:
            if removed <= renewed:
                expires = min(expires, removed)
                removed += rng.exponential(1 / removals)
            else:
                expires = renewed + 1
                renewed += rng.exponential(1 / renewals)
        if now < expires:
            hits += 1
            if slides:
                expires = now + 1
        else:
            expires = now + 1
    return hits / len(gaps)


def poisson(rate: float, lookups: int = LOOKUPS, seed: int = 3) -> np.ndarray:
    return np.random.default_rng([seed, lookups]).exponential(1 / rate, lookups)


@pytest.mark.parametrize(("rate", "removals"), [(0.2, 0), (1.0, 0), (5.0, 0), (2.0, 0.3), (2.0, 2.0)])
def test_a_fixed_ttl_with_invalidations(rate: float, removals: float) -> None:
    found = simulated(poisson(rate), removals=removals)

    assert found == pytest.approx(float(renewal.fixed_ttl(rate, renewal.life(removals, 1.0))), abs=0.01)


@pytest.mark.parametrize("rate", [0.3, 2.0])
def test_a_sliding_ttl(rate: float) -> None:
    assert simulated(poisson(rate), slides=True) == pytest.approx(float(renewal.sliding_ttl(rate, 1.0)), abs=0.01)


def test_a_write_that_renews() -> None:
    lives = float(renewal.renewed_life(0.8, 1.0))
    absent = 1 / (1.5 + 0.8)  # a lookup or a write ends it

    found = simulated(poisson(1.5), renewals=0.8)

    assert found == pytest.approx(lives / (lives + absent), abs=0.01)


def test_sessions_in_bursts() -> None:
    """The first lookup of a session meets what the session before it left; the three behind it hit."""
    starts = poisson(0.7, LOOKUPS // 4)
    gaps = np.column_stack([starts, np.full((len(starts), 3), 1e-6)]).ravel()

    assert simulated(gaps) == pytest.approx(1 - (1 - float(renewal.fixed_ttl(0.7, 1.0))) / 4, abs=0.01)


def test_users_who_differ() -> None:
    rates = np.random.default_rng(5).gamma(0.6, 0.5 / 0.6, 40)
    lookups = [max(1, round(rate * 2_000)) for rate in rates]
    hits = sum(n * simulated(poisson(rate, n)) for rate, n in zip(rates, lookups, strict=True))

    predicted = renewal.over_keys(rates, renewal.fixed_ttl(rates, 1.0))

    assert hits / sum(lookups) == pytest.approx(predicted, abs=0.01)


def zipf(keys: int, exponent: float) -> np.ndarray:
    weights: np.ndarray = np.arange(1, keys + 1) ** -exponent
    weights /= weights.sum()
    return weights


def test_popularity_by_zipf() -> None:
    weights = zipf(50, 0.8)
    rates = weights * 100

    simulations = [simulated(poisson(rate, max(100, round(rate * 1_000)), seed)) for seed, rate in enumerate(rates)]

    predicted = renewal.over_keys(rates, renewal.fixed_ttl(rates, 1.0))
    assert float((weights * simulations).sum()) == pytest.approx(predicted, abs=0.01)


@pytest.mark.parametrize("capacity", [50, 200, 600])
def test_lru_under_a_memory_limit(capacity: int) -> None:
    weights = zipf(1_000, 0.9)
    cache: OrderedDict[int, None] = OrderedDict()
    hits = 0
    asked = np.random.default_rng(2).choice(1_000, size=80_000, p=weights).tolist()
    for i, key in enumerate(asked):
        if key in cache:
            hits += i >= 20_000
            cache.move_to_end(key)
        else:
            cache[key] = None
            if len(cache) > capacity:
                cache.popitem(last=False)

    t_c = renewal.characteristic_time(lambda t: float(renewal.sliding_ttl(weights, t).sum()), capacity)

    predicted = renewal.over_keys(weights, renewal.sliding_ttl(weights, t_c))
    assert hits / 60_000 == pytest.approx(predicted, abs=0.015)


def test_nothing_is_evicted_where_everything_fits() -> None:
    weights = zipf(100, 1.0)

    assert renewal.characteristic_time(lambda t: float(renewal.sliding_ttl(weights, t).sum()), 100) == np.inf
