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
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import zstandard

from cache import CATALOG
from loadtest.errors import LoadTestError, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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
    """One file. `lines` counts what was read, `malformed` holds how many could not be, `examples` the first of them."""

    path: Path
    columns: dict[str, str] = field(default_factory=dict)
    max_malformed: int = 100
    lines: int = 0
    malformed: int = 0
    examples: list[str] = field(default_factory=list)
    _raw: IO[bytes] | None = None

    def share_read(self) -> float:
        """How much of the file was read, from 0 to 1."""
        size = self.path.stat().st_size
        return self._raw.tell() / size if size and self._raw and not self._raw.closed else 0.0

    def groups(self) -> Iterator[Group]:
        """The calls in the file's order. Raises ScenarioError for a file that is none, TruncatedError at a bad end."""
        try:
            with self.path.open("rb") as self._raw, _opened(self._raw, self.path.name) as text:
                yield from self._groups(text)
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

    def _groups(self, text: IO[str]) -> Iterator[Group]:
        first = text.readline()
        if not first.strip():
            raise ScenarioError(f"{self.path.name} is empty.")
        names = next(csv.reader([first]))
        has_header = not _is_time(names[0].strip()) and not any(map(str.isdigit, names))
        layout = self._layout(names, has_header=has_header)
        if has_header:
            self.lines = 1
            first = text.readline()
            if not first.strip():
                raise ScenarioError(f"{self.path.name} has a header and no lines.")
        yield from self._parsed(first, text, layout)

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

    def _parsed(self, first: str, text: IO[str], layout: dict[str, int]) -> Iterator[Group]:
        parse_time = _time_parser(next(csv.reader([first]))[layout["timestamp"]].strip(), self.path.name)
        parse = _trace_line if "key" in layout else _log_line
        # Where the item stands between what the lines of one list view have in common, it is all that is read.
        in_order = [layout[name] for name in layout] == list(range(len(layout))) and "size" not in layout
        suffix = "\n" if "key" in layout else ",get\n"
        prefix = "\0"
        items: list[str] = []
        group: Group | None = None
        line = first
        while line:
            self.lines += 1
            if (
                line.startswith(prefix)
                and line.endswith(suffix)
                and (item := line[len(prefix) : -len(suffix)]).isdigit()
            ):
                items.append(item)
                line = text.readline()
                continue
            try:
                fields = line.rstrip("\r\n").split(",") if '"' not in line else next(csv.reader([line]))
                following = parse(fields, layout, parse_time)
            except (ValueError, IndexError) as error:
                if line.strip():
                    self._note(line, error)
                line = text.readline()
                continue
            if group is not None and _is_one_call(group, following):
                items.append(str(following.items[0]))
            else:
                if group is not None:
                    yield from _views(group, items)
                group, items = following, []
                prefix = _prefix(line, group, is_trace="key" in layout) if in_order else "\0"
            line = text.readline()
        if group is not None:
            yield from _views(group, items)

    def _note(self, line: str, error: Exception) -> None:
        self.malformed += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(f"line {self.lines:,}: {error} in {line.strip()[:80]!r}")
        if self.malformed > self.max_malformed:
            raise ScenarioError(
                f"{self.path.name}: more than {self.max_malformed} malformed lines; --max-malformed allows more. "
                f"The first: {'; '.join(self.examples)}."
            )


def _opened(raw: IO[bytes], raw_name: str) -> IO[str]:
    if raw_name.endswith(".gz"):
        return gzip.open(raw, "rt", encoding="utf-8", newline="\n")
    if raw_name.endswith(".zst"):
        return io.TextIOWrapper(io.BufferedReader(_Zstandard(raw)), encoding="utf-8", newline="\n")
    return io.TextIOWrapper(raw, encoding="utf-8", newline="\n")


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


def _log_line(fields: list[str], layout: dict[str, int], parse_time: Callable[[str], float]) -> Group:
    time, cache_type, user, item, operation = (fields[layout[name]].strip() for name in COLUMNS)
    if cache_type not in CATALOG.names():
        raise ValueError(f"cache type {cache_type!r}, known are {', '.join(CATALOG.names())}")
    if operation not in OPERATIONS[cache_type]:
        raise ValueError(f"operation {operation!r} on {cache_type}, known are {', '.join(OPERATIONS[cache_type])}")
    user_id, item_id = int(user) if user else -1, int(item) if item else -1
    has_ids = item_id >= 0 if cache_type == "company" else user_id >= 0
    if cache_type == "match":
        has_ids = (user_id >= 0 or item_id >= 0) if operation == "invalidate" else user_id >= 0 and item_id >= 0
    if not has_ids:
        raise ValueError("no user_id or item_id where one is needed")
    return Group(parse_time(time), cache_type, operation, user_id, [item_id] if item else [])


def _trace_line(fields: list[str], layout: dict[str, int], parse_time: Callable[[str], float]) -> Group:
    time, key = fields[layout["timestamp"]].strip(), fields[layout["key"]].strip()
    size = int(fields[layout["size"]]) if "size" in layout and fields[layout["size"]].strip() else None
    for cache_type, pattern in _KEYS:
        found = pattern.fullmatch(key)
        if found:
            user, item = found.groups()
            return Group(parse_time(time), cache_type, "get", int(user or -1), [int(item)] if item else [], size)
    raise ValueError(f"{key!r} is no key of the library")


def _views(group: Group, more: list[str]) -> Iterator[Group]:
    """The group with the items that followed; an item that comes again begins the next list view."""
    items = [*group.items, *map(int, more)]
    if len(set(items)) == len(items):
        yield group._replace(items=items)
        return
    view: dict[int, None] = {}
    for item in items:
        if item in view:
            yield group._replace(items=list(view))
            view = {}
        view[item] = None
    yield group._replace(items=list(view))


def _is_one_call(group: Group, following: Group) -> bool:
    return group.cache_type == "match" and group.operation in ("get", "set") and group[:4] == following[:4]


def _prefix(line: str, group: Group, *, is_trace: bool) -> str:
    """What the other lines of the same list view start with."""
    if group.cache_type != "match" or group.operation != "get":
        return "\0"
    text = line.rstrip("\r\n")
    return text[: text.rindex(":" if is_trace else ",", 0, None if is_trace else text.rindex(",")) + 1]
