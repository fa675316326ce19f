"""What a fault did to the hit rates, and how long it took them to recover. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loadtest.scenarios import HOUR_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtest.faults import Fault
    from loadtest.result import Result

# Hours are judged together until they hold this many events: fewer would show noise as a dip. A list view is one.
MIN_EVENTS: Final = 100
# Recovered is whoever is back within this much of the rate from before the fault.
NEAR: Final = 0.05


@dataclass(frozen=True, slots=True)
class Dip:
    """One cache type after one fault. Rates are fractions of 1, times are seconds after the fault began.

    `recovered_after_s` is None where the rate did not come back within the run.
    """

    fault: str
    at_s: int
    cache_type: str
    before: float
    lowest: float
    lowest_after_s: int
    recovered_after_s: int | None


def dips(result: Result) -> list[Dip]:
    """The dips that are larger than `NEAR`, in the order of their faults."""
    found = []
    for fault in result.faults:
        for name in result.counts.types:
            around = _around(result, fault, name)
            found.append(around and _dip(fault, name, *around))
    return [dip for dip in found if dip]


def untold(result: Result, fault: Fault) -> list[str]:
    """Cache types with too few lookups before the fault, or behind it, to tell what it did."""
    return [name for name in result.counts.types if _around(result, fault, name) is None]


def _around(result: Result, fault: Fault, name: str) -> tuple[float, list[tuple[int, float]]] | None:
    """The hit rate before a fault, and those of the windows behind it, up to the next one's; None for too few lookups.

    Faults of one instant have the same windows.
    """
    hours = result.counts.types[name].by(minutes=60)
    needed = MIN_EVENTS * (result.scenario.list_length if name == "match" else 1)
    end_s = min((later.at_s for later in result.faults if later.at_s > fault.at_s), default=result.ran_s)
    begins, ends = fault.at_s // HOUR_S, -(-end_s // HOUR_S)
    hits = sum(hits for hour, (hits, _) in hours.items() if hour < begins)
    lookups = sum(lookups for hour, (_, lookups) in hours.items() if hour < begins)
    windows = list(_windows({hour: tally for hour, tally in hours.items() if begins <= hour < ends}, needed))
    return (hits / lookups, windows) if lookups >= needed and windows else None


def _dip(fault: Fault, name: str, before: float, windows: list[tuple[int, float]]) -> Dip | None:
    lowest_end, lowest = min(windows, key=lambda window: window[1])
    if lowest >= before - NEAR:
        return None
    last_below = max(end for end, rate in windows if rate < before - NEAR)
    return Dip(
        fault=str(fault),
        at_s=fault.at_s,
        cache_type=name,
        before=before,
        lowest=lowest,
        lowest_after_s=lowest_end * HOUR_S - fault.at_s,
        recovered_after_s=last_below * HOUR_S - fault.at_s if last_below < windows[-1][0] else None,
    )


def _windows(hours: dict[int, tuple[int, int]], needed: int) -> Iterator[tuple[int, float]]:
    """(hour in which it ends, hit rate) of stretches that hold the needed lookups."""
    hits = lookups = 0
    for hour, tally in hours.items():
        hits, lookups = hits + tally[0], lookups + tally[1]
        if lookups >= needed:
            yield hour + 1, hits / lookups
            hits = lookups = 0
