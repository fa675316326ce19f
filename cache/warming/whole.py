"""A user's whole hash as one word, packed here as the server packs it, so that RESTORE takes it as it is.

HSET looks for each new field among those before it; this is checked and kept, in a fifth of the time.
Formats: https://github.com/antirez/listpack/blob/master/listpack.md, inside a dump
(https://rdb.fnordig.de/file_format.html) of version 10. That is Redis 7.0's, and what came later reads it.
Pure functions.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import chain, groupby
from typing import TYPE_CHECKING, Final

from cache import codec, keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from cache.codec import Json
    from cache.warming.lists import Target

_PACKED_HASH: Final = b"\x10"
_VERSION: Final = b"\x0a\x00"
_SIZE: Final = struct.Struct(">BI")
_32_BITS: Final = 0x80
_CHECKSUM: Final = struct.Struct("<Q")

try:
    import anycrc
except ImportError:
    _crc64: Callable[[bytes], int] | None = None
else:
    _crc64 = anycrc.Model("CRC64-REDIS").calc

_LISTPACK_HEAD: Final = struct.Struct("<IH")
_LISTPACK_END: Final = b"\xff"
_STRING: Final = 0x80
_LONGEST: Final = 63
_HEADS: Final = [bytes([_STRING | length]) for length in range(_LONGEST + 1)]
_ENDS: Final = [bytes([length]) for length in range(_LONGEST + 2)]  # how long what lies before it is
_INTEGER_13_BITS: Final = 0xC0
_INTEGERS: Final = ((0xF1, 2), (0xF2, 3), (0xF3, 4), (0xF4, 8))  # by their bytes


def is_possible() -> bool:
    """Whether the extra `warming` is installed."""
    return _crc64 is not None


def dump(scores: Collection[Mapping[str, Json]], blank: Blank, others: Mapping[bytes, bytes]) -> bytes | None:
    """The hash of the blank's scores, each as `codec.encode_score` has it, and of other fields with their values.

    None where not all scores take the packed format, another field or value is longer than 63 bytes, or the extra
    `warming` is not installed.
    """
    if _crc64 is None or max(map(len, chain.from_iterable(others.items())), default=0) > _LONGEST:
        return None
    columns = codec.packed_columns(scores)
    if columns is None:
        return None
    entries = b"".join((*map(_entry, chain.from_iterable(others.items())), blank.filled(columns)))
    size = _LISTPACK_HEAD.size + len(entries) + len(_LISTPACK_END)
    head = _PACKED_HASH + _SIZE.pack(_32_BITS, size) + _LISTPACK_HEAD.pack(size, 2 * (len(scores) + len(others)))
    content = b"".join((head, entries, _LISTPACK_END, _VERSION))
    return content + _CHECKSUM.pack(_crc64(content))


class Blank:
    """The entries of some jobs' scores, without what differs from user to user: that is put in by columns."""

    def __init__(self, jobs: Sequence[int], job_generations: Mapping[int, bytes], deadline: int) -> None:
        """`deadline` is that of all the scores."""
        names = keys.score_fields(jobs)
        self.fields: Final = frozenset(names)
        value_head = bytes([_STRING | codec.PACKED_BYTES])
        heads = [
            _entry(name) + value_head + codec.packed_head(deadline, job_generations[job])
            for job, name in zip(jobs, names, strict=True)
        ]
        end = bytes(codec.PACKED_BYTES - codec.PACKED_HEAD_BYTES) + bytes([codec.PACKED_BYTES + 1])
        self._entries = b"".join(head + end for head in heads)
        # Entries of one length lie behind one another: a column of them is every n-th byte.
        self._runs = []
        first = place = 0
        for length, run in groupby(map(len, heads)):
            last = first + len(list(run))
            stride = length + len(end)
            after = place + stride * (last - first)
            self._runs.append((slice(first, last), place + length, after, stride))
            first, place = last, after

    def filled(self, columns: Sequence[bytes]) -> bytearray:
        entries = bytearray(self._entries)
        for run, start, after, stride in self._runs:
            for number, column in enumerate(columns, start):
                entries[number:after:stride] = column[run]
        return entries


@lru_cache(maxsize=64)
def blank(target: Target, jobs: tuple[int, ...], deadline: int) -> Blank:
    """A `Blank` of the target's generations. A list of jobs is packed for each of its users."""
    return Blank(jobs, target.generations, deadline)


def _entry(content: bytes) -> bytes:
    """A field or value of up to 63 bytes; whole numbers as such, by which the server saves space."""
    if content.isdigit():
        return _number(content)
    length = len(content)
    return _HEADS[length] + content + _ENDS[length + 1]


@lru_cache(maxsize=1 << 14)
def _number(digits: bytes) -> bytes:
    """Jobs' fields, as a rule: many users have the same."""
    number = int(digits)
    is_exact = number <= keys.MAX_ID and b"%d" % number == digits
    entry = _integer(number) if is_exact else _HEADS[len(digits)] + digits
    return entry + _ENDS[len(entry)]


def _integer(number: int) -> bytes:
    if number < 1 << 7:
        return bytes([number])
    if number < 1 << 12:
        return bytes([_INTEGER_13_BITS | number >> 8, number & 0xFF])
    kind, length = next(each for each in _INTEGERS if number < 1 << (8 * each[1] - 1))
    return bytes([kind]) + number.to_bytes(length, "little")
