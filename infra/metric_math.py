"""How an alarm watches a cache type: period, traffic guard and expressions, from the catalogue. Pure.

A guard keeps a rate of a few lookups from ringing. What it lets through must be enough to tell the target from the
floor, or the alarm rings by chance: that number is the guard. And it must open in an ordinary daytime period, or the
alarm never rings: the period is the shortest whose almost emptiest window (1 of 100) still holds so many. Quieter
days, such as weekends, are then watched as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cache.catalog import CacheType, Catalog

# Shorter ones are so noisy that a rate which creeps back over its floor, for days after a flush, would page all along;
# what falls deep is told by the drop within minutes.
_PERIODS_S: Final = (900, 3_600)
# The share of daytime windows that may have less traffic than the guard. The requirement is 5 %.
_CLOSED_SHARE: Final = 0.01
# Standard errors between target and floor; with several periods of several needed, chance alone does not ring.
_STANDARD_ERRORS: Final = 2
# With fewer lookups one miss moves a rate by more than six points, however rare misses are.
_LEAST_LOOKUPS: Final = 16
# Two thirds of them must be low.
_PERIODS: Final = 6
DROP_PERIOD_S: Final = 3_600
DROP_POINTS: Final = 10


@dataclass(frozen=True, slots=True)
class Watch:
    """`guard` is in lookups a period; M of N is `datapoints` of `periods`."""

    period_s: int
    guard: int
    datapoints: int
    periods: int


def watch(cache_type: CacheType, catalog: Catalog, *, floor_percent: float) -> Watch:
    """How the floor alarm of `cache_type` watches it."""
    guard = guard_lookups(cache_type, catalog, points=100 * cache_type.target_hit_rate - floor_percent)
    for period_s in _PERIODS_S:
        if views_held(cache_type, catalog, period_s) * lookups_per_view(cache_type, catalog) >= guard:
            break
    return Watch(period_s, guard, datapoints=_PERIODS * 2 // 3, periods=_PERIODS)


def highest_floor(cache_type: CacheType, catalog: Catalog) -> float:
    """The floor in percent nearest to the target, in tenths, whose guard opens in the longest period."""
    views = views_held(cache_type, catalog, _PERIODS_S[-1])
    target = cache_type.target_hit_rate
    points = 100 * _STANDARD_ERRORS * math.sqrt(target * (1 - target) / max(views, 1))
    return math.floor(10 * (100 * target - points)) / 10


def views_held(cache_type: CacheType, catalog: Catalog, period_s: int) -> int:
    """Views that 99 of 100 daytime periods hold."""
    views = cache_type.lookups_per_minute_day / lookups_per_view(cache_type, catalog) * period_s / 60
    return poisson_quantile(views, _CLOSED_SHARE)


def lookups_per_view(cache_type: CacheType, catalog: Catalog) -> int:
    """Lookups that come together. A list view asks for all of a user's scores; they hit or miss as one."""
    if cache_type.name == "match":
        return max(1, catalog.match.item_count // catalog.ijp.item_count)
    return 1


def guard_lookups(cache_type: CacheType, catalog: Catalog, *, points: float) -> int:
    """Lookups that tell the target from a rate `points` below it."""
    target = cache_type.target_hit_rate
    views = (_STANDARD_ERRORS * 100 / points) ** 2 * target * (1 - target)
    return math.ceil(max(round(views, 6), _LEAST_LOOKUPS)) * lookups_per_view(cache_type, catalog)


def poisson_quantile(mean: float, share: float) -> int:
    """The largest k such that fewer than k events happen in at most `share` of all windows."""
    below, k = 0.0, 0
    while True:
        below += math.exp(k * math.log(mean) - mean - math.lgamma(k + 1))
        if below > share:
            return k
        k += 1


def rate(*, guard: int, otherwise: float) -> str:
    """Hit rate in percent of the series `h` and `m`; with less traffic than the guard, `otherwise`.

    Metric math takes a missing series as 0. With both missing there is no point, and the alarm's own treatment of
    missing data decides.
    """
    return f"IF((h+m)>={guard}, 100*h/(h+m), {otherwise:g})"


def drop(*, guard: int) -> str:
    """Points that the hour's hit rate lies under the baseline `b`; 0 with less traffic than the guard.

    A missing baseline counts as 0 and reads as a rise: the baseline function's own alarms tell of it.
    """
    return f"IF((h+m)>={guard}, b-100*h/(h+m), 0)"


def or_if_missing(expression: str, value: int) -> str:
    """`expression`, and `value` in periods without data.

    An alarm on data that is missing needs it: CloudWatch looks for points farther back before it treats any as
    breaching, and would ring two periods later. Right for periods longer than the metrics' delay, or several of them.
    """
    return f"FILL({expression}, {value})"
