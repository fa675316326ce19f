"""The near cache: decoded values in this process's memory, kept true by the server's tracking.

A hit costs no round trip. What it may return was true on the server at most two milliseconds ago, as long as the link
of `tracking` is healthy; while it is not, there is no hit.

An entry lies in the map from before its value is asked for until something is heard about its key. Whoever read a value
stores it only into the entry from before the read, and only if that one is still there: so a value that was read before
a change is never stored after it, whichever of the reply and the message arrives first.

What nests is kept encoded and decoded for each caller, so that none sees what another does to it.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from cache import codec, keys
from cache.miss import MISS, Miss

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping

    from cache.codec import Json
    from cache.stats import Stats
    from cache.tracking import ClusterTracking, Tracking

MAX_AGE_S: Final = 5.0
# About 2 MB of scores; 75 MB if all were companies of 5 KB.
NEAR_ENTRIES: Final = 5_000
# Scores are kept by user; what keeps them true is the user's and the jobs' generations, too.
PREFIXES: Final[dict[str, tuple[str, ...]]] = {
    "match": ("match:", keys.JOB_GENERATIONS),
    "company": ("company:",),
    "ijp": ("ijp:",),
}
_SCALARS: Final = {type(None), bool, int, float, str}
_ALONE: Final = ""  # where an entry of one value has it


class Entry:
    """The values of one key. Empty from before the first read to its end."""

    __slots__ = ("began", "ends", "key", "values")

    def __init__(self, key: str, began: float) -> None:
        self.key = key
        self.began = began
        self.ends = began + MAX_AGE_S
        self.values: dict[Hashable, Any] = {}

    @property
    def weight(self) -> int:
        return max(len(self.values), 1)


class _Shelf:
    """The entries of one cache type, of at most `limit` values; the oldest go first."""

    def __init__(self, limit: int) -> None:
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self.size = 0
        self._limit = limit

    def add(self, entry: Entry) -> None:
        self.drop(entry.key)
        self.entries[entry.key] = entry
        self.size += 1
        self._bound()

    def fill(self, entry: Entry, values: Mapping[Hashable, Any]) -> None:
        self.size -= entry.weight
        entry.values = {**entry.values, **values}  # a new dict: lookups take no lock
        self.size += entry.weight
        self._bound()

    def drop(self, key: str) -> None:
        entry = self.entries.pop(key, None)
        if entry is not None:
            self.size -= entry.weight

    def clear(self) -> None:
        self.entries.clear()
        self.size = 0

    def _bound(self) -> None:
        while self.size > self._limit:
            _, oldest = self.entries.popitem(last=False)
            self.size -= oldest.weight


class Near:
    """Values by cache type and key. Safe to share between threads.

    `track(prefixes, on_change, on_doubt)` makes the link that keeps them true.
    """

    def __init__(
        self,
        cache_types: Collection[str],
        max_entries: int,
        *,
        track: Callable[..., Tracking | ClusterTracking],
        counts: Stats,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shelves = {name: _Shelf(max_entries) for name in cache_types}
        self._stats = counts
        self._monotonic = monotonic
        self._lock = threading.Lock()
        prefixes = [prefix for name in cache_types for prefix in PREFIXES[name]]
        self._tracking = track(prefixes, self.forget, self.forget_all)
        self.close, self.doubt = self._tracking.close, self._tracking.doubt

    def reset(self) -> None:
        """After a fork: the link is the parent's."""
        self._lock = threading.Lock()
        self.forget_all()
        self._tracking.reset()

    # -- lookups -----------------------------------------------------------------------------------------------

    def value(self, name: str, key: str) -> Json | Miss:
        entry = self._entry(name, key)
        kept = MISS if entry is None else entry.values.get(_ALONE, MISS)
        if kept is MISS:
            return MISS
        self._stats.near_hits(name, 1)
        return _given(kept)

    def score(self, user_id: int, job_id: int) -> dict[str, Json] | None:
        entry = self._entry("match", keys.match(user_id))
        kept = None if entry is None or type(job_id) is not int else entry.values.get(job_id)
        if kept is None:
            return None
        self._stats.near_hits("match", 1)
        score: dict[str, Json] = _given(kept)
        return score

    def scores(self, user_id: int, job_ids: Collection[int]) -> dict[int, dict[str, Json]] | None:
        """All of them, or None."""
        entry = self._entry("match", keys.match(user_id))
        if entry is None:
            return None
        values = entry.values
        try:
            found = {job_id: _given(values[job_id]) for job_id in job_ids}
        except KeyError:
            return None
        self._stats.near_hits("match", len(found))
        return found

    def _entry(self, name: str, key: str) -> Entry | None:
        shelf = self._shelves.get(name)
        if shelf is None or not self._tracking.is_fresh():
            return None
        entry = shelf.entries.get(key)
        return entry if entry is not None and self._monotonic() < entry.ends else None

    # -- reads -------------------------------------------------------------------------------------------------

    def begin(self, name: str, key: str) -> Entry | None:
        """Before the server is asked: where `keep` may store. None: nowhere."""
        shelf = self._shelves.get(name)
        if shelf is None or not self._tracking.is_fresh():
            return None
        now = self._monotonic()
        with self._lock:
            entry = shelf.entries.get(key)
            if entry is None or entry.ends <= now:
                entry = Entry(key, now)
                shelf.add(entry)
            return entry

    def keep(self, entry: Entry, values: Mapping[Any, Json], left_s: float) -> None:
        """What the read found, and how long the server keeps it."""
        kept = {field: _kept(value) for field, value in values.items()}
        shelf = self._shelves[_type_of(entry.key)]
        with self._lock:
            if kept and shelf.entries.get(entry.key) is entry:
                entry.ends = min(entry.ends, entry.began + left_s)
                shelf.fill(entry, kept)

    def keep_one(self, entry: Entry, value: Json, *, left_ms: int) -> None:
        """`left_ms` as PTTL answers: -1 for a key without an end."""
        self.keep(entry, {_ALONE: value}, math.inf if left_ms == -1 else left_ms / 1000)

    # -- changes -----------------------------------------------------------------------------------------------

    def forget(self, key: str) -> None:
        """A key of the server has changed, or was changed by this service."""
        name = _type_of(key)
        shelf = self._shelves.get("match" if key == keys.JOB_GENERATIONS else name)
        if shelf is None:
            return
        with self._lock:
            if key == keys.JOB_GENERATIONS:
                # Which job is not told. A job changes every few seconds at most, and no entry is much older.
                shelf.clear()
            elif name == "match":
                shelf.drop(":".join(key.split(":", 2)[:2]))  # layout keys: the user's, whichever score it is
            else:
                shelf.drop(key)

    def forget_all(self) -> None:
        with self._lock:
            for shelf in self._shelves.values():
                shelf.clear()


def checked_types(cache_types: Iterable[str]) -> frozenset[str]:
    """Raises ValueError for what is never kept near: sessions, and what is no cache type."""
    names = frozenset([cache_types] if isinstance(cache_types, str) else cache_types)
    for name in sorted(names - set(PREFIXES)):
        why = "a session ends when its user logs out, everywhere" if name == "session" else "it is unknown"
        raise ValueError(f"near has {name!r}: {why}. Allowed: {', '.join(PREFIXES)}.")
    return names


def _type_of(key: str) -> str:
    return key.partition(":")[0]


def _kept(value: Json) -> Json | bytes:
    """As itself if a shallow copy is as good as a deep one, else encoded."""
    if type(value) is dict and _SCALARS.issuperset(map(type, value.values())):
        return value.copy()
    return value if type(value) in _SCALARS else codec.encode(value)


def _given(kept: Any) -> Json:
    if type(kept) is dict:
        return kept.copy()
    return codec.decode(kept) if type(kept) is bytes else kept
