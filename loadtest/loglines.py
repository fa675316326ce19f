"""Lines of recorded accesses: how they are read, one by one or a block at a time, and which of them are one call."""

from __future__ import annotations

import csv
import math
import re
from datetime import UTC, datetime
from functools import lru_cache, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from cache.keys import MAX_ID, MAX_JOBS_PER_CALL
from loadtest.columns import Fields, NotPlainError
from loadtest.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from loadtest.columns import Integers

COLUMNS: Final = ("timestamp", "cache_type", "user_id", "item_id", "operation")
TRACE_COLUMNS: Final = ("timestamp", "key", "size")
OPERATIONS: Final = {
    "match": ("get", "set", "invalidate"),
    "company": ("get", "set", "invalidate"),
    "ijp": ("get", "set", "update", "invalidate"),
    "session": ("get", "start", "end"),
}
# Up to here a number is a time in seconds (the year 5138), in milliseconds up to a thousand times as much.
_SECONDS_BELOW: Final = 1e11
# A server takes no value of more than 512 MiB (proto-max-bulk-len).
_MAX_SIZE_BYTES: Final = 500_000_000
_UNITS: Final = {1: "seconds", 1000: "milliseconds"}
# Every call that a line may be, by the number that `Lines` has for it.
CALLS: Final = tuple((cache_type, name) for cache_type, names in OPERATIONS.items() for name in names)
_NUMBER_OF: Final = {call: number for number, call in enumerate(CALLS)}
# Of each call, by its number.
IS_GET: Final = np.array([operation == "get" for _, operation in CALLS])
IS_COMPANY: Final = np.array([cache_type == "company" for cache_type, _ in CALLS])
IS_SESSION: Final = np.array([cache_type == "session" for cache_type, _ in CALLS])
# A key of the library's with its (user), (item).
_KEYS: Final = (
    ("match", re.compile(r"match:(\d+):(\d+)")),
    ("company", re.compile(r"company:()(\d+):enrichment")),
    ("ijp", re.compile(r"ijp:(\d+)()")),
    ("session", re.compile(r"user:(\d+):session()")),
)
# Consecutive lines of these are one call, if time and user are the same too.
_IS_LIST: Final = np.array([call in (("match", "get"), ("match", "set")) for call in CALLS])
# What follows is the same for whole blocks.
_CACHE_TYPES: Final = [name.encode() for name in OPERATIONS]
_OPERATIONS: Final = sorted({name.encode() for _, name in CALLS})
_NUMBERS: Final = np.array(
    [[_NUMBER_OF.get((name.decode(), operation.decode()), -1) for operation in _OPERATIONS] for name in _CACHE_TYPES]
)
# A match score has both; whoever invalidates says whose scores or which job's, and either will do.
_NEEDS_USER: Final = np.array([call[0] != "company" and call != ("match", "invalidate") for call in CALLS])
_NEEDS_ITEM: Final = IS_COMPANY | _IS_LIST
# Of a key's entity: how many parts the key has, and the number of its get.
_ENTITIES: Final = [b"match", b"company", b"user", b"ijp"]
_PARTS: Final = np.array([3, 3, 3, 2])
_GETS: Final = np.array([_NUMBER_OF[name, "get"] for name in ("match", "company", "session", "ijp")])


class Group(NamedTuple):
    """One call: several scores of one user at one time are one list view.

    `user` and `items` are the ids as the log has them; -1 and empty where it has none. `size_bytes` is a trace's.
    """

    time_s: float
    cache_type: str
    operation: str
    user: int
    items: list[int]
    size_bytes: int | None = None


class Lines(NamedTuple):
    """Lines as arrays of one length: time in seconds, number of the call, ids and size (-1: none), line in the file."""

    time_s: NDArray[np.float64]
    call: Integers
    user: Integers
    item: Integers
    size: Integers
    number: Integers

    @classmethod
    def of(cls, rows: Sequence[tuple[float, int, int, int, int, int]]) -> Lines:
        """Of what each of them has."""
        time_s, *others = zip(*rows, strict=True) if rows else [()] * len(cls._fields)
        return cls(np.array(time_s, dtype=np.float64), *(np.array(column, dtype=np.int64) for column in others))

    def part(self, lines: slice) -> Lines:
        return Lines._make(column[lines] for column in self)

    def first_of_calls(self) -> Integers:
        """Where each call begins."""
        goes_on = _IS_LIST[self.call[1:]]
        for column in (self.time_s, self.call, self.user):
            goes_on &= column[1:] == column[:-1]
        return np.flatnonzero(np.concatenate([[True], ~goes_on]))


class Calls(NamedTuple):
    """Calls of the library: their lines, and where each call's begin."""

    lines: Lines
    first: Integers

    def groups(self, which: Integers) -> Iterator[Group]:
        """Those of the calls that are asked for."""
        lines = self.lines
        first, stops = self.first[which], np.append(self.first[1:], len(lines.number))[which]
        items = lines.item.tolist()
        columns = (column[first].tolist() for column in (lines.time_s, lines.call, lines.user, lines.size))
        for time_s, call, user, size, start, stop in zip(*columns, first.tolist(), stops.tolist(), strict=True):
            cache_type, operation = CALLS[call]
            of_call = items[start:stop] if items[start] >= 0 else []
            yield Group(time_s, cache_type, operation, user, of_call, None if size < 0 else size)


def whole_calls(blocks: Iterable[Lines]) -> Iterator[Calls]:
    """The calls of blocks of lines; the last of one may go on in the next."""
    held: Lines | None = None
    for block in blocks:
        lines = block if held is None else Lines._make(map(np.concatenate, zip(held, block, strict=True)))
        if len(lines.number):
            first = lines.first_of_calls()
            yield Calls(lines.part(slice(first[-1])), first[:-1])
            held = lines.part(slice(first[-1], None))
    if held is not None:
        yield Calls(held, np.zeros(1, dtype=np.int64))


def list_views(group: Group) -> Iterator[Group]:
    """An item that comes again begins the next list view, and so does one too many for a call of the library."""
    items = group.items
    if len(set(items)) == len(items) <= MAX_JOBS_PER_CALL:
        yield group
        return
    view: dict[int, None] = {}
    for item in items:
        if item in view or len(view) == MAX_JOBS_PER_CALL:
            yield group._replace(items=list(view))
            view = {}
        view[item] = None
    yield group._replace(items=list(view))


class Reader:
    """How the lines of one file are read. `layout` is {our column: its place}, of so many `columns`.

    `first_time` is the timestamp of the first line, which decides how all are read. Raises ScenarioError if it is none.
    """

    def __init__(self, layout: dict[str, int], columns: int, first_time: str, name: str) -> None:
        self._layout = layout
        self._columns = columns
        self._parse_time, self._per_s = _time_format(first_time, name)
        self._is_trace = "key" in layout
        self._values = itemgetter(*(layout[name] for name in (TRACE_COLUMNS[:2] if self._is_trace else COLUMNS)))

    def line(self, line: str) -> tuple[float, int, int, int, int]:
        """What `Lines` holds of it. Raises ValueError or IndexError where it is no call of the library."""
        values = fields(line)
        if not self._is_trace:
            time, cache_type, user, item, operation = self._values(values)
            return self._parse_time(time), *_call(cache_type, user, item, operation), -1
        time, key = self._values(values)
        size = int((values[self._layout["size"]] if "size" in self._layout else "") or -1)
        if size > _MAX_SIZE_BYTES:
            raise ValueError(f"a size above {_MAX_SIZE_BYTES:,} bytes")
        return self._parse_time(time), *_call(*_of_key(key), "get"), max(size, -1)

    def block(self, block: bytes, before: int) -> Lines:
        """All of its lines at once; `before` lines were read earlier. Raises NotPlainError where one is not plain."""
        if not self._per_s:
            raise NotPlainError
        lines = self._trace_block(block, before) if self._is_trace else self._log_block(block, before)
        has_user, has_item = lines.user >= 0, lines.item >= 0
        has_ids = (has_user | ~_NEEDS_USER[lines.call]) & (has_item | ~_NEEDS_ITEM[lines.call]) & (has_user | has_item)
        if not has_ids.all():
            raise NotPlainError
        return lines

    def _log_block(self, block: bytes, before: int) -> Lines:
        found = Fields(block, b",")
        if (found.count != self._columns).any():
            raise NotPlainError
        time, cache_type, user, item, operation = (self._layout[name] for name in COLUMNS)
        call = _NUMBERS[found.words(cache_type, _CACHE_TYPES), found.words(operation, _OPERATIONS)]
        if (call < 0).any():
            raise NotPlainError
        return Lines(
            self._times(found, time),
            call,
            found.numbers(user),
            found.numbers(item),
            np.full(len(call), -1),
            np.arange(before + 1, before + 1 + len(call)),
        )

    def _times(self, found: Fields, place: int) -> NDArray[np.float64]:
        times = found.times(place)
        if not _is_in(self._per_s, times).all():
            raise NotPlainError
        return times / self._per_s

    def _trace_block(self, block: bytes, before: int) -> Lines:
        """`timestamp,key[,size]` in this order; the parts of a key are fields, too."""
        found = Fields(block, b",:")
        if list(self._layout.values()) != list(range(self._columns)) or (found.count < self._columns).any():
            raise NotPlainError
        entity = found.words(1, _ENTITIES)
        behind_key = 1 + _PARTS[entity]
        if (found.count != behind_key + self._columns - 2).any():
            raise NotPlainError
        match, company, session, _ = (np.flatnonzero(entity == code) for code in range(len(_ENTITIES)))
        found.words(3, [b"enrichment"], company)
        found.words(3, [b"session"], session)
        user, item = found.numbers(2), np.full(len(entity), -1)
        item[match] = found.numbers(3, match)
        item[company], user[company] = user[company], -1
        size = found.numbers(behind_key) if "size" in self._layout else np.full(len(entity), -1)
        if (size > _MAX_SIZE_BYTES).any():
            raise NotPlainError
        number = np.arange(before + 1, before + 1 + len(entity))
        return Lines(self._times(found, 0), _GETS[entity], user, item, size, number)


def fields(line: str) -> list[str]:
    """Raises ValueError where one is too long for a reader of CSV: the file is no log, or two of its lines are one."""
    try:
        return [text.strip() for text in next(csv.reader([line]))]
    except csv.Error as error:
        raise ValueError(str(error)) from None


def is_time(text: str) -> bool:
    try:
        _time_format(text, "")
    except ScenarioError:
        return False
    return True


def _time_format(text: str, name: str) -> tuple[Callable[[str], float], int]:
    """How times like the first line's are read, and how many of their units make a second; 0 if no numbers."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        try:
            _iso(text)
        except ValueError:
            raise ScenarioError(
                f"{name}: {text!r} is no timestamp; seconds, milliseconds or ISO 8601 are read."
            ) from None
        return _iso, 0
    for per_s in _UNITS:
        if _is_in(per_s, number):
            return partial(_number, per_s), per_s
    raise ScenarioError(f"{name}: {text!r} is later than any time in milliseconds; divide microseconds by a million.")


def _number(per_s: int, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not _is_in(per_s, number):
        raise ValueError(f"timestamp {text!r}, the first line's is in {_UNITS[per_s]}")
    return number / per_s


def _is_in(per_s: int, number: Any) -> Any:
    """Whether a time, or each of an array, is in this unit."""
    if per_s == 1:
        return abs(number) < _SECONDS_BELOW
    return (number >= _SECONDS_BELOW) & (number < _SECONDS_BELOW * per_s)


def _iso(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _call(cache_type: str, user: str, item: str, operation: str) -> tuple[int, int, int]:
    """(number of the call, user, item)."""
    operations = OPERATIONS.get(cache_type)
    if operations is None:
        raise ValueError(f"cache type {cache_type!r}, known are {', '.join(OPERATIONS)}")
    if operation not in operations:
        raise ValueError(f"operation {operation!r} on {cache_type}, known are {', '.join(operations)}")
    number = _NUMBER_OF[cache_type, operation]
    user_id, item_id = int(user or -1), int(item or -1)
    if (user_id < 0 and _NEEDS_USER[number]) or (item_id < 0 and _NEEDS_ITEM[number]) or max(user_id, item_id) < 0:
        raise ValueError("no user_id or item_id where one is needed")
    if max(user_id, item_id) > MAX_ID:
        raise ValueError(f"an id above {MAX_ID}")
    return number, max(user_id, -1), max(item_id, -1)


@lru_cache(maxsize=1 << 16)
def _of_key(key: str) -> tuple[str, str, str]:
    """(cache type, user, item) of a key of the library's."""
    for cache_type, pattern in _KEYS:
        found = pattern.fullmatch(key)
        if found:
            user, item = found.groups()
            return cache_type, user, item
    raise ValueError(f"{key!r} is no key of the library")
