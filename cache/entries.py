"""What `fill_scores.lua` writes into a user's hash, as the one word that it takes: MessagePack of [field, value, …].

One word, because the server takes two hundred apart more slowly than a script this one, and the client too.
Format: https://github.com/msgpack/msgpack/blob/master/spec.md. Pure functions.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from cache import codec, keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cache.codec import Json

# Fewer scores are packed as fast one by one.
_AT_ONCE_FROM: Final = 8


def pack(
    scores: Mapping[int, Mapping[str, Json]],
    job_generations: Mapping[int, bytes],
    deadline: int,
    notes: Mapping[bytes, bytes],
) -> bytes:
    """Each score under its job's field as `codec.encode_score` has it, then the notes as they are.

    Raises UncacheableError as `codec.encode_score` does.
    """
    generations = map(job_generations.__getitem__, scores)
    packed = codec.pack_scores(scores.values(), deadline, generations) if len(scores) >= _AT_ONCE_FROM else None
    words: list[bytes] = []
    if packed is None:
        for job, score in scores.items():
            value = codec.encode_score(score, deadline, job_generations[job])
            words += _before_packed(job) if len(value) == codec.PACKED_BYTES else _before(job, len(value)), value
    else:
        words += chain.from_iterable(zip(map(_before_packed, scores), packed, strict=True))
    for name, content in notes.items():
        words += _string(name), _string(content)
    return b"".join((_array(2 * (len(scores) + len(notes))), *words))


@lru_cache(maxsize=1 << 12)
def _before_packed(job_id: int) -> bytes:
    """A list of jobs is packed for each of its users."""
    return _before(job_id, codec.PACKED_BYTES)


def _before(job_id: int, length: int) -> bytes:
    """The field, and the head of a value of so many bytes."""
    return _string(keys.score_field(job_id)) + _head(length)


def _array(length: int) -> bytes:
    return b"\xdc" + length.to_bytes(2, "big")


def _string(content: bytes) -> bytes:
    return _head(len(content)) + content


def _head(length: int) -> bytes:
    if length < 1 << 5:
        return bytes([0xA0 | length])
    if length < 1 << 16:
        return b"\xda" + length.to_bytes(2, "big")
    return b"\xdb" + length.to_bytes(4, "big")
