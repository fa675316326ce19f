"""What a fault did to the hit rates, and how long it took them to recover. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from loadtest.scenarios import HOUR_S, MINUTE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtest.faults import Fault
    from loadtest.result import Result

# Hours are judged together until they hold this many events: fewer would show noise as a dip. A list view is one.
MIN_EVENTS: Final = 100
# Recovered is whoever is back within this much of the rate from before the fault.
NEAR: Final = 0.05
_HOUR_MINUTES: Final = HOUR_S // MINUTE_S


@dataclass(frozen=True, slots=True)
class Dip:
    """One cache type after one fault. Rates are fractions of 1, times are seconds after the fault began.

    `before` leaves out the dips of earlier faults; `amid` names the one that was still felt when this fault began.
    `recovered_after_s` is None where the rate did not come back before the next fault, or the end of the run.
    """

    fault: str
    at_s: int
    cache_type: str
    before: float
    lowest: float
    lowest_after_s: int
    recovered_after_s: int | None
    amid: str | None = None


@dataclass(frozen=True, slots=True)
class _Around:
    """The hit rate before a fault, and those of the windows behind it, each with the seconds after which it ends.

    `ends` is the minute of the next fault. There are no windows where there are too few lookups up to then.
    """

    before: float
    windows: list[tuple[int, float]]
    ends: int


def dips(result: Result) -> list[Dip]:
    """The dips that are larger than `NEAR`, in the order of their faults."""
    found = [dip for name in result.counts.types for _, _, dip in _effects(result, name) if dip]
    return sorted(found, key=lambda dip: dip.at_s)


def untold(result: Result, fault: Fault) -> list[str]:
    """Cache types with too few lookups before the fault, or behind it, to tell what it did."""
    return [
        name
        for name in result.counts.types
        if any(each is fault and not (around and around.windows) for each, around, _ in _effects(result, name))
    ]


def _effects(result: Result, name: str) -> Iterator[tuple[Fault, _Around | None, Dip | None]]:
    """What each fault did to one cache type: nothing to compare, no dip, or a dip."""
    felt: list[tuple[range, str]] = []  # the minutes of each dip, and its fault
    for fault in result.faults:
        begins = fault.at_s // MINUTE_S
        around = _around(result, fault, name, [minutes for minutes, _ in felt])
        dip = _dip(fault, name, around) if around and around.windows else None
        if around and not around.windows:
            felt.append((range(begins, around.ends), str(fault)))  # nobody knows: no time to compare another with
        if dip:
            amid = next((of for minutes, of in felt if minutes.start < begins and begins in minutes), None)
            dip = replace(dip, amid=amid)
            # One that does not recover goes on through the faults behind it.
            lasts = result.ran_s if dip.recovered_after_s is None else dip.recovered_after_s
            felt.append((range(begins, begins + lasts // MINUTE_S), str(fault)))
        yield fault, around, dip


def _around(result: Result, fault: Fault, name: str, felt: list[range]) -> _Around | None:
    """Up to the next fault; faults of one instant have the same windows. None for too few lookups before it."""
    needed = MIN_EVENTS * (result.scenario.list_length if name == "match" else 1)
    end_s = min((later.at_s for later in result.faults if later.at_s > fault.at_s), default=result.ran_s)
    begins, ends = fault.at_s // MINUTE_S, -(-end_s // MINUTE_S)
    before = [0, 0]
    hours: dict[int, list[int]] = {}
    for minute, (hits, lookups) in sorted(result.counts.types[name].by_minute.items()):
        if begins <= minute < ends:
            tally = hours.setdefault((minute - begins) // _HOUR_MINUTES, [0, 0])
        elif minute < begins and not any(minute in minutes for minutes in felt):
            tally = before
        else:
            continue
        tally[0] += hits
        tally[1] += lookups
    return _Around(before[0] / before[1], list(_windows(hours, needed)), ends) if before[1] >= needed else None


def _dip(fault: Fault, name: str, around: _Around) -> Dip | None:
    lowest_end_s, lowest = min(around.windows, key=lambda window: window[1])
    if lowest >= around.before - NEAR:
        return None
    last_below_s = max(end_s for end_s, rate in around.windows if rate < around.before - NEAR)
    return Dip(
        fault=str(fault),
        at_s=fault.at_s,
        cache_type=name,
        before=around.before,
        lowest=lowest,
        lowest_after_s=lowest_end_s,
        recovered_after_s=last_below_s if last_below_s < around.windows[-1][0] else None,
    )


def _windows(hours: dict[int, list[int]], needed: int) -> Iterator[tuple[int, float]]:
    """(seconds after the fault at which it ends, hit rate) of stretches that hold the needed lookups."""
    hits = lookups = 0
    for hour, tally in hours.items():
        hits, lookups = hits + tally[0], lookups + tally[1]
        if lookups >= needed:
            yield (hour + 1) * HOUR_S, hits / lookups
            hits = lookups = 0
