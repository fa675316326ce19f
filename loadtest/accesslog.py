"""Reads recorded accesses: a log of the library's calls, or a trace of keys. One group is one call of the library.

An access log has the columns `timestamp,cache_type,user_id,item_id,operation` in any order (`columns` says which is
which where the header does not); a key trace has `timestamp,key[,size]` with keys as the library names them. Plain,
`.gz` or `.zst`. Timestamps are seconds or milliseconds since an epoch, or ISO 8601; the first line decides.
"""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, TYPE_CHECKING, Any, Final

import zstandard

from loadtest.columns import NotPlainError
from loadtest.errors import ScenarioError
from loadtest.loglines import COLUMNS, TRACE_COLUMNS, Lines, Reader, fields, is_time, whole_calls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loadtest.loglines import Calls

_SHOWN: Final = 3
_READ_BYTES: Final = 1 << 18
_BYTE_ORDER_MARK: Final = "\ufeff"  # a spreadsheet's
_SHOWN_LETTERS: Final = 200  # of a header, which may be no text at all


@dataclass(slots=True)
class AccessLog:
    """One file. `lines` counts what was read, `malformed` holds how many could not be, `examples` the first of them.

    `is_trace` says, once the first line was read, whether it is a trace of keys; `is_cut_short`, at the end, whether it
    is a compressed file that ends in the middle.
    """

    path: Path
    columns: dict[str, str] = field(default_factory=dict)
    max_malformed: int = 100
    lines: int = 0
    malformed: int = 0
    examples: list[str] = field(default_factory=list)
    is_trace: bool = False
    is_cut_short: bool = False
    _raw: IO[bytes] | None = None

    def share_read(self) -> float:
        """How much of the file was read, from 0 to 1."""
        size = self.path.stat().st_size
        return self._raw.tell() / size if size and self._raw and not self._raw.closed else 0.0

    def calls(self) -> Iterator[Calls]:
        """In the file's order. Raises ScenarioError for a file that is none."""
        try:
            with self.path.open("rb") as self._raw, _opened(self._raw, self.path.name) as stream:
                yield from whole_calls(self._lines(self._blocks(stream)))
        except gzip.BadGzipFile:
            raise ScenarioError(f"{self.path.name} is no gzip file.") from None
        except zstandard.ZstdError:
            raise ScenarioError(f"{self.path.name} is no zstd file, or a broken one.") from None
        except OSError as error:
            raise ScenarioError(f"{self.path}: {error.strerror or error}.") from None
        except UnicodeDecodeError:
            raise ScenarioError(f"{self.path.name} is no text in UTF-8.") from None

    def _blocks(self, stream: Any) -> Iterator[bytes]:
        """Of whole lines, each with its end."""
        unfinished = b""
        try:
            while read := stream.read1(_READ_BYTES):
                whole, end, unfinished = (unfinished + read).rpartition(b"\n")
                if end:
                    yield whole.replace(b"\r", b"") + end
        except (EOFError, zlib.error):
            self.is_cut_short = True  # and so is the line
            return
        if unfinished:
            yield unfinished.replace(b"\r", b"") + b"\n"

    def _lines(self, blocks: Iterator[bytes]) -> Iterator[Lines]:
        head, rest = _first_line(blocks, b"")
        head = head.removeprefix(_BYTE_ORDER_MARK)
        if not head.strip():
            why = "ends in the middle of its first line" if self.is_cut_short else "is empty"
            raise ScenarioError(f"{self.path.name} {why}.")
        names = self._fields(head)
        has_header = not is_time(names[0]) and not any(map(str.isdigit, names))
        layout = self._layout(names, has_header=has_header)
        self.is_trace = "key" in layout
        if has_header:
            self.lines = 1
            head, rest = _first_line(blocks, rest)
            if not head.strip():
                raise ScenarioError(f"{self.path.name} has a header and no lines.")
        first = dict(enumerate(self._fields(head)))
        reader = Reader(layout, len(names), first.get(layout["timestamp"], ""), self.path.name)
        for block in chain([f"{head}\n".encode() + rest], blocks):
            try:
                lines = reader.block(block, self.lines)
            except NotPlainError:
                yield self._one_by_one(block, reader)
            else:
                self.lines += len(lines.number)
                yield lines

    def _fields(self, line: str) -> list[str]:
        """Of the next line, without which none can be read."""
        try:
            return fields(line)
        except ValueError as error:
            raise ScenarioError(f"{self.path.name}, line {self.lines + 1}: {error}.") from None

    def _one_by_one(self, block: bytes, reader: Reader) -> Lines:
        rows = []
        for line in block.decode(errors="replace").split("\n")[:-1]:
            self.lines += 1
            try:
                rows.append((*reader.line(line), self.lines))
            except (ValueError, IndexError) as error:
                if line.strip():
                    self._note(line, error)
        return Lines.of(rows)

    def _layout(self, names: list[str], *, has_header: bool) -> dict[str, int]:
        """{our column: its place}."""
        is_trace = "key" in names or "key" in self.columns or (not has_header and len(names) <= len(TRACE_COLUMNS))
        wanted = TRACE_COLUMNS if is_trace else COLUMNS
        unknown = [name for name in self.columns if name not in wanted]
        if unknown:
            raise ScenarioError(f"--columns names {', '.join(unknown)}; known are {', '.join(wanted)}.")
        layout = {}
        for place, name in enumerate(wanted):
            theirs = self.columns.get(name, name if has_header else str(place))
            if theirs in names and has_header:
                layout[name] = names.index(theirs)
            elif theirs.isdigit() and int(theirs) < len(names):
                layout[name] = int(theirs)
            elif name != "size":
                raise ScenarioError(
                    f"{self.path.name} has no column {theirs!r}; it has {', '.join(names)[:_SHOWN_LETTERS]}. Name "
                    f"the others with --columns {name}=…"
                )
        return layout

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


def _first_line(blocks: Iterator[bytes], block: bytes) -> tuple[str, bytes]:
    """The next line, without its end, and what its block has behind it."""
    line, _, rest = (block or next(blocks, b"")).partition(b"\n")
    return line.decode(), rest


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
