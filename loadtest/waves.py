"""Which of recorded calls are in flight together, and which of them are lookups that need no other. Pure.

A wave is what one second holds, up to an invalidation of a job, which changes everybody's scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from loadtest.loglines import CALLS, IS_COMPANY, IS_GET, IS_SESSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from loadtest.columns import Integers
    from loadtest.loglines import Calls

_COMPANY, _SESSION, _USER = range(3)
# What a call is about; an update of the preferences removes the user's scores too.
_KIND: Final = np.where(IS_COMPANY, _COMPANY, np.where(IS_SESSION, _SESSION, _USER))


class Singles(NamedTuple):
    """Lookups of one value each, of one cache type. `starts` says where those of each wave begin, and ends with all."""

    cache_type: str
    starts: list[int]
    subjects: list[Any]  # user, company, or (user, job)
    rows: list[int]
    sizes: list[int]


class Waves(NamedTuple):
    """Calls of one process in their order: the second and the first call of each wave, and who are asked together."""

    seconds: list[int]
    starts: list[int]  # ends with the number of calls
    singles: list[Singles]
    others: Integers  # the calls that are no singles


def cut(calls: Calls, which: Integers, at: Integers, rows: Integers, *, not_at: int | None) -> Waves:
    """Of the calls that are asked for, with the second and the row of each.

    Singles are lookups that follow no change of the same in their second, and are not in the second `not_at`.
    """
    lines, first = calls.lines, calls.first[which]
    call, user, item, size = (column[first] for column in (lines.call, lines.user, lines.item, lines.size))
    is_get, is_company = IS_GET[call], IS_COMPANY[call]
    is_of_all = (user < 0) & ~is_company
    begins = np.concatenate([[True], (at[1:] != at[:-1]) | is_of_all[:-1]])
    starts = np.flatnonzero(begins)
    is_single = is_get & (np.append(calls.first[1:], len(lines.number))[which] == first + 1)
    if not_at is not None:
        is_single &= at != not_at
    changes = np.flatnonzero(~is_get & ~is_of_all)
    if len(changes):
        _leave_out_changed(is_single, changes, at, _KIND[call], np.where(is_company, item, user))
    singles = []
    for number in np.flatnonzero(IS_GET).tolist():
        places = np.flatnonzero(is_single & (call == number))
        if len(places):
            cache_type = CALLS[number][0]
            columns = _subjects(cache_type, user[places], item[places]), rows[places].tolist(), size[places].tolist()
            bounds = [*np.searchsorted(places, starts).tolist(), len(places)]
            singles.append(Singles(cache_type, bounds, *columns))
    return Waves(at[starts].tolist(), [*starts.tolist(), len(first)], singles, np.flatnonzero(~is_single))


def _leave_out_changed(
    is_single: NDArray[np.bool_], changes: Integers, at: Integers, kind: Integers, identifier: Integers
) -> None:
    changed = set(_zipped(changes, at, kind, identifier))
    perhaps = np.flatnonzero(is_single & np.isin(identifier, identifier[changes]))
    for place, each in zip(perhaps.tolist(), _zipped(perhaps, at, kind, identifier), strict=True):
        if each in changed:
            is_single[place] = False


def _zipped(places: Integers, *columns: Integers) -> Iterator[tuple[int, ...]]:
    return zip(*(column[places].tolist() for column in columns), strict=True)


def _subjects(cache_type: str, user: Integers, item: Integers) -> list[Any]:
    if cache_type == "match":
        return list(zip(user.tolist(), item.tolist(), strict=True))
    subjects: list[Any] = (item if cache_type == "company" else user).tolist()
    return subjects
