"""Reads recorded accesses: a log of the library's calls, or a trace of keys. One group is one call of the library.

An access log has the columns `timestamp,cache_type,user_id,item_id,operation` in any order (`columns` says which is
which where the header does not); a key trace has `timestamp,key[,size]` with keys as the library names them. Plain,
`.gz` or `.zst`. Timestamps are seconds or milliseconds since an epoch, or ISO 8601; the first line decides.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import zstandard

from cache.keys import MAX_ID, MAX_JOBS_PER_CALL
from loadtest.errors import LoadTestError, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

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
_SHOWN: Final = 3
_READ_BYTES: Final = 1 << 18
_NO_PREFIX: Final = ("\0", "")
_DIGITS_OF_ANY_ID: Final = len(str(MAX_ID)) - 1
# A key of the library's with its (user), (item).
_KEYS: Final = (
    ("match", re.compile(r"match:(\d+):(\d+)")),
    ("company", re.compile(r"company:()(\d+):enrichment")),
    ("ijp", re.compile(r"ijp:(\d+)()")),
    ("session", re.compile(r"user:(\d+):session()")),
)


class Group(NamedTuple):
    """Consecutive lines that are one call: several scores of one user at one time are one list view.

    `user` and `items` are the ids as the log has them; -1 and empty where it has none. `size_bytes` is a trace's.
    """

    time_s: float
    cache_type: str
    operation: str
    user: int
    items: list[int]
    size_bytes: int | None = None


class TruncatedError(LoadTestError):
    """A compressed file that ends in the middle."""


@dataclass(slots=True)
class AccessLog:
    """One file. `lines` counts what was read, `malformed` holds how many could not be, `examples` the first of them.

    `is_trace` says, once the first line was read, whether it is a trace of keys.
    """

    path: Path
    columns: dict[str, str] = field(default_factory=dict)
    max_malformed: int = 100
    lines: int = 0
    malformed: int = 0
    examples: list[str] = field(default_factory=list)
    is_trace: bool = False
    _raw: IO[bytes] | None = None

    def share_read(self) -> float:
        """How much of the file was read, from 0 to 1."""
        size = self.path.stat().st_size
        return self._raw.tell() / size if size and self._raw and not self._raw.closed else 0.0

    def groups(self) -> Iterator[Group]:
        """The calls in the file's order. Raises ScenarioError for a file that is none, TruncatedError at a bad end."""
        try:
            with self.path.open("rb") as self._raw, _opened(self._raw, self.path.name) as stream:
                yield from self._groups(_lines(stream))
        except (EOFError, zlib.error):
            raise TruncatedError(f"{self.path.name} ends in the middle, behind line {self.lines:,}.") from None
        except gzip.BadGzipFile:
            raise ScenarioError(f"{self.path.name} is no gzip file.") from None
        except zstandard.ZstdError:
            raise ScenarioError(f"{self.path.name} is no zstd file, or a broken one.") from None
        except OSError as error:
            raise ScenarioError(f"{self.path}: {error.strerror or error}.") from None
        except UnicodeDecodeError:
            raise ScenarioError(f"{self.path.name} is no text in UTF-8.") from None

    def _groups(self, lines: Iterator[str]) -> Iterator[Group]:
        first = next(lines, "")
        if not first.strip():
            raise ScenarioError(f"{self.path.name} is empty.")
        names = _fields(first)
        has_header = not _is_time(names[0].strip()) and not any(map(str.isdigit, names))
        layout = self._layout(names, has_header=has_header)
        self.is_trace = "key" in layout
        if has_header:
            self.lines = 1
            first = next(lines, "")
            if not first.strip():
                raise ScenarioError(f"{self.path.name} has a header and no lines.")
        parse_time = _time_parser(_fields(first)[layout["timestamp"]], self.path.name)
        yield from self._parsed(chain([first], lines), _Line(layout, parse_time))

    def _layout(self, names: list[str], *, has_header: bool) -> dict[str, int]:
        """{our column: its place}."""
        stripped = [name.strip() for name in names]
        is_trace = "key" in stripped or "key" in self.columns or (not has_header and len(names) <= len(TRACE_COLUMNS))
        wanted = TRACE_COLUMNS if is_trace else COLUMNS
        unknown = [name for name in self.columns if name not in wanted]
        if unknown:
            raise ScenarioError(f"--columns names {', '.join(unknown)}; known are {', '.join(wanted)}.")
        layout = {}
        for place, name in enumerate(wanted):
            theirs = self.columns.get(name, name if has_header else str(place))
            if theirs in stripped and has_header:
                layout[name] = stripped.index(theirs)
            elif theirs.isdigit() and int(theirs) < len(names):
                layout[name] = int(theirs)
            elif name != "size":
                raise ScenarioError(
                    f"{self.path.name} has no column {theirs!r}; it has {', '.join(stripped)}. Name the others with "
                    f"--columns {name}=…"
                )
        return layout

    def _parsed(self, lines: Iterable[str], call: _Line) -> Iterator[Group]:
        group: Group | None = None
        items: list[int] = []
        # Most lines go on with a list view: they begin with `prefix`, and no more than their item is read.
        prefix, behind_item = _NO_PREFIX
        for line in lines:
            self.lines += 1
            if line.startswith(prefix):
                item, _, rest = line[len(prefix) :].partition(",")
                if rest == behind_item and item.isdigit() and len(item) <= _DIGITS_OF_ANY_ID:
                    items.append(int(item))
                    continue
            try:
                following = call.parsed(line)
            except (ValueError, IndexError) as error:
                if line.strip():
                    self._note(line, error)
                continue
            if following.cache_type == "match":
                prefix, behind_item = call.prefix(line, following)
                if group is not None and _is_one_call(group, following):
                    items += following.items
                    continue
            else:
                prefix, behind_item = _NO_PREFIX
            if group is not None:
                yield from _views(group) if len(items) > 1 else (group,)
            group, items = following, following.items
        if group is not None:
            yield from _views(group)

    def _note(self, line: str, error: Exception) -> None:
        self.malformed += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(f"line {self.lines:,}: {error} in {line.strip()[:80]!r}")
        if self.malformed > self.max_malformed:
            raise ScenarioError(
                f"{self.path.name}: more than {self.max_malformed} malformed lines; --max-malformed allows more. "
                f"The first: {'; '.join(self.examples)}."
            )


def _opened(raw: IO[bytes], name: str) -> IO[bytes] | gzip.GzipFile | io.BufferedReader:
    if name.endswith(".gz"):
        return gzip.open(raw)
    return io.BufferedReader(_Zstandard(raw)) if name.endswith(".zst") else raw


def _lines(stream: Any) -> Iterator[str]:
    """Without their ends. A last one without an end is one too, if the file is whole."""
    rest = b""
    while block := stream.read1(_READ_BYTES):
        whole, end, unfinished = (rest + block).rpartition(b"\n")
        rest = unfinished
        if end:
            yield from whole.decode().replace("\r", "").split("\n")
    if rest:
        yield rest.decode().rstrip("\r")


def _fields(line: str) -> list[str]:
    return [text.strip() for text in next(csv.reader([line]))]


class _Zstandard(io.RawIOBase):
    """Reads frames one after the other, and raises EOFError at an end in the middle, as gzip does."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._rest = b""
        self._is_fresh = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            packed = (self._frame.unused_data if self._frame.eof else b"") or self._raw.read(_READ_BYTES)
            if not packed:
                if self._frame.eof or self._is_fresh:
                    return 0
                raise EOFError
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._is_fresh = False
            self._rest = self._frame.decompress(packed)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _is_time(text: str) -> bool:
    try:
        _time_parser(text, "")
    except ScenarioError:
        return False
    return True


def _time_parser(text: str, name: str) -> Callable[[str], float]:
    """Reads times as the first line has them."""
    try:
        number = float(text)
    except ValueError:
        try:
            _iso(text)
        except ValueError:
            raise ScenarioError(
                f"{name}: {text!r} is no timestamp; seconds, milliseconds or ISO 8601 are read."
            ) from None
        return _iso
    if number < _SECONDS_BELOW:
        return float
    if number < _SECONDS_BELOW * 1000:
        return lambda value: float(value) / 1000
    raise ScenarioError(f"{name}: {text!r} is later than any time in milliseconds; divide microseconds by a million.")


def _iso(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class _Line:
    """How the lines of one file are read."""

    def __init__(self, layout: dict[str, int], parse_time: Callable[[str], float]) -> None:
        self._parse_time = parse_time
        self._is_trace = "key" in layout
        self._values = itemgetter(*(layout[name] for name in (TRACE_COLUMNS[:2] if self._is_trace else COLUMNS)))
        self._size_place = layout.get("size")
        self._is_in_order = not self._is_trace and list(layout.values()) == list(range(len(COLUMNS)))

    def parsed(self, line: str) -> Group:
        """Raises ValueError or IndexError where it is no call of the library."""
        fields = line.split(",") if '"' not in line and " " not in line else _fields(line)
        if not self._is_trace:
            return _group(self._parse_time, *self._values(fields))
        time, key = self._values(fields)
        group = _group(self._parse_time, time, *_of_key(key), "get")
        if self._size_place is not None and fields[self._size_place]:
            return group._replace(size_bytes=int(fields[self._size_place]))
        return group

    def prefix(self, line: str, group: Group) -> tuple[str, str]:
        """How other lines of the same list view begin, and what they have behind their item."""
        if not self._is_in_order or group.operation == "invalidate" or '"' in line:
            return _NO_PREFIX
        head, _, operation = line.rpartition(",")
        return head[: head.rindex(",") + 1], operation


def _group(
    parse_time: Callable[[str], float], time: str, cache_type: str, user: str, item: str, operation: str
) -> Group:
    operations = OPERATIONS.get(cache_type)
    if operations is None:
        raise ValueError(f"cache type {cache_type!r}, known are {', '.join(OPERATIONS)}")
    if operation not in operations:
        raise ValueError(f"operation {operation!r} on {cache_type}, known are {', '.join(operations)}")
    user_id, item_id = int(user) if user else -1, int(item) if item else -1
    has_user, has_item = 0 <= user_id <= MAX_ID, 0 <= item_id <= MAX_ID
    if cache_type != "match":
        has_ids = has_item if cache_type == "company" else has_user
    else:
        has_ids = (has_user or has_item) if operation == "invalidate" else has_user and has_item
    if not has_ids:
        raise ValueError(f"no user_id or item_id where one is needed, from 0 to {MAX_ID}")
    return Group(parse_time(time), cache_type, operation, user_id, [item_id] if item else [])


@lru_cache(maxsize=1 << 16)
def _of_key(key: str) -> tuple[str, str, str]:
    """(cache type, user, item) of a key of the library's."""
    for cache_type, pattern in _KEYS:
        found = pattern.fullmatch(key)
        if found:
            user, item = found.groups()
            return cache_type, user, item
    raise ValueError(f"{key!r} is no key of the library")


def _views(group: Group) -> Iterator[Group]:
    """The list views of a group: an item that comes again begins the next one, and so does one too many for a call."""
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


def _is_one_call(group: Group, following: Group) -> bool:
    return group.operation != "invalidate" and group[:4] == following[:4]
