"""Hit rates of single keys in closed form. Pure; rates are per unit of the TTL, arrays are over keys.

Fixed and sliding TTLs under Poisson lookups: Jung, Berger, Balakrishnan, Modeling TTL-based Internet Caches, INFOCOM
2003; Choungmo Fofack, Nain, Neglia, Towsley, Performance evaluation of hierarchical TTL-based cache networks, Computer
Networks 65, 2014. LRU: Che, Tung, Wang, Hierarchical Web caching systems, JSAC 20 (7), 2002; Fricker, Robert, Roberts,
A versatile and accurate approximation for LRU cache performance, ITC 2012.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Floats: TypeAlias = NDArray[np.float64]


def life(removals: float | Floats, ttl: float) -> Floats:
    """Mean life of an entry that something removes at the rate `removals`: (1 - e^(-kappa T)) / kappa."""
    kappa = np.asarray(removals, dtype=np.float64)
    return np.where(kappa > 0, -np.expm1(-kappa * ttl) / np.where(kappa > 0, kappa, 1), ttl)


def renewed_life(renewals: float | Floats, ttl: float) -> Floats:
    """Mean life of an entry whose TTL is renewed by writes at the rate `renewals`: (e^(nu T) - 1) / nu."""
    nu = np.asarray(renewals, dtype=np.float64)
    # e^500 TTLs are for ever; more would not fit a float.
    return np.where(nu > 0, np.expm1(np.minimum(nu * ttl, 500)) / np.where(nu > 0, nu, 1), ttl)


def fixed_ttl(arrivals: float | Floats, lives: float | Floats) -> Floats:
    """h = lambda P / (1 + lambda P); P is the TTL, or how long an entry lives where something ends or renews it."""
    fills: Floats = np.multiply(arrivals, lives, dtype=np.float64)
    present: Floats = fills / (1 + fills)
    return present


def sliding_ttl(lookups: float | Floats, ttl: float) -> Floats:
    """h = 1 - e^(-lambda T): a hit is a gap shorter than the TTL."""
    rate = np.asarray(lookups, dtype=np.float64)
    # What nobody looks up is not there, however long the TTL; 0 times infinity is no number.
    return -np.expm1(-np.multiply(rate, ttl, where=rate > 0, out=np.zeros_like(rate)))


def over_keys(lookups: Floats, hit_rates: Floats) -> float:
    """The hit rate of all lookups: each key by its share of them."""
    return float((lookups * hit_rates).sum() / lookups.sum())


def characteristic_time(held_bytes: Callable[[float], float], capacity_bytes: float) -> float:
    """Che's t_C: entries not looked up for so long are evicted, so that what is held fills the memory exactly.

    `held_bytes(t)` grows with t: for plain LRU the sum over keys of bytes (1 - e^(-lambda t)). Infinite where
    everything fits.
    """
    if held_bytes(np.inf) <= capacity_bytes:
        return np.inf
    low, high = 0.0, 1.0
    while held_bytes(high) < capacity_bytes:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if held_bytes(middle) < capacity_bytes else (low, middle)
    return high
