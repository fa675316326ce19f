"""The lists of jobs that runs warm, and the bytes in which the server keeps them for later runs. Pure functions."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cache import codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEAD: Final = struct.Struct(">8sH")
_ITEM: Final = struct.Struct(f">Q{codec.GENERATION_BYTES}s")


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The list that a run warms: its version, and its jobs with their generations. Each run has its own."""

    version: bytes
    generations: dict[int, bytes]
    _new: dict[bytes, list[int]] = field(default_factory=dict)

    def new_since(self, version: bytes, known: dict[int, bytes]) -> list[int]:
        """The jobs that an older list lacks, or holds with another generation."""
        if version not in self._new:
            self._new[version] = [job for job, stamp in self.generations.items() if known.get(job) != stamp]
        return self._new[version]


def version(generations: dict[int, bytes]) -> bytes:
    """The same for the same jobs with the same generations, in whatever order."""
    digest = hashlib.blake2b(digest_size=8)
    for job, generation in sorted(generations.items()):
        digest.update(b"%d=" % job + generation)
    return digest.digest()


def pack(lists: Iterable[tuple[bytes, dict[int, bytes]]]) -> bytes:
    """Lists, each with its version."""
    packed = bytearray()
    for version, generations in lists:
        packed += _HEAD.pack(version, len(generations))
        for job, generation in generations.items():
            packed += _ITEM.pack(job, generation)
    return bytes(packed)


def parse(packed: bytes) -> Iterator[tuple[bytes, dict[int, bytes]]]:
    """Up to the first thing that is none: an unknown list costs reading and nothing else."""
    start = 0
    while start + _HEAD.size <= len(packed):
        version, length = _HEAD.unpack_from(packed, start)
        start += _HEAD.size
        end = start + length * _ITEM.size
        if end > len(packed):
            return
        yield version, dict(_ITEM.iter_unpack(packed[start:end]))
        start = end
