"""Confidence intervals of hit rates. Pure.

The unit is the user: lookups of one user are correlated (a list view is 100 lookups and one event), so that
counting keys would make intervals too narrow by a factor of ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loadtest.counts import Counts

# Below this many users with lookups, or lookups, the normal approximation is no basis for a verdict.
MIN_UNITS: Final = 30
MIN_LOOKUPS: Final = 100
_Z95: Final = 1.959964


@dataclass(frozen=True, slots=True)
class Estimate:
    """A hit rate with its 95 % interval, all fractions of 1; None where there were too few samples."""

    lookups: int
    hit_rate: float | None
    low: float | None
    high: float | None
    standard_error: float | None

    @property
    def half_width(self) -> float:
        """How far the interval reaches to its longer side; infinite where there is none."""
        if self.hit_rate is None or self.low is None or self.high is None:
            return inf
        return max(self.high - self.hit_rate, self.hit_rate - self.low)


def widest(counts: Counts) -> float:
    """The greatest half width of all cache types."""
    return max(hit_rate(each.hits, each.lookups).half_width for each in counts.types.values())


def imprecise(counts: Counts, precision: float) -> list[str]:
    """One sentence for each cache type whose interval is wider than asked."""
    widths = {name: hit_rate(each.hits, each.lookups).half_width for name, each in counts.types.items()}
    return [
        f"{name}: {_width(width)}, not ± {100 * precision:g} as asked; more users would narrow it, more days little: "
        "users differ."
        for name, width in widths.items()
        if width > precision
    ]


def _width(width: float) -> str:
    return (
        "there are too few lookups for an interval" if width == inf else f"the interval is ± {100 * width:.2f} points"
    )


def hit_rate(hits: NDArray[np.int64], lookups: NDArray[np.int64]) -> Estimate:
    """Ratio estimate over users, its error by linearisation (Cochran, Sampling Techniques, 3rd ed., 2.11, 6.3).

    `hits` and `lookups` have one entry per user. Where nothing or everything missed, the linearised error is zero;
    then the bound on that side is the rule of three over users: 3 / n.
    """
    seen = lookups > 0
    units, total = int(seen.sum()), int(lookups.sum())
    if units == 0:
        return Estimate(0, None, None, None, None)
    rate = float(hits.sum() / total)
    if units < MIN_UNITS or total < MIN_LOOKUPS:
        return Estimate(total, rate, None, None, None)
    residuals = hits[seen] - rate * lookups[seen]
    error = float(np.sqrt(units / (units - 1) * (residuals**2).sum()) / total)
    low, high = rate - _Z95 * error, rate + _Z95 * error
    if rate == 1:
        low = 1 - 3 / units
    if rate == 0:
        high = 3 / units
    return Estimate(total, rate, max(low, 0.0), min(high, 1.0), error)
