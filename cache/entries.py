"""What `fill_scores.lua` writes into a user's hash, as the one word that it takes: MessagePack of [field, value, …].

One word, because the server takes two hundred apart more slowly than a script this one, and the client too.
Format: https://github.com/msgpack/msgpack/blob/master/spec.md. Pure functions.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from cache import codec, keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cache.codec import Json

# Fewer scores are packed as fast one by one.
_AT_ONCE_FROM: Final = 8
# Before a short string, by its length; fields and packed scores are short.
_HEADS: Final = [bytes([0xA0 | length]) for length in range(1 << 5)]


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
            words += _string(keys.score_field(job)), _string(codec.encode_score(score, deadline, job_generations[job]))
    else:
        fields = keys.score_fields(scores)
        heads = map(_HEADS.__getitem__, map(len, fields))
        words += chain.from_iterable(zip(heads, fields, repeat(_HEADS[codec.PACKED_BYTES]), packed))
    for note in notes.items():
        words += map(_string, note)
    return b"".join((_array(2 * (len(scores) + len(notes))), *words))


def _array(length: int) -> bytes:
    return b"\xdc" + length.to_bytes(2, "big")


def _string(content: bytes) -> bytes:
    length = len(content)
    if length < len(_HEADS):
        return _HEADS[length] + content
    if length < 1 << 16:
        return b"\xda" + length.to_bytes(2, "big") + content
    return b"\xdb" + length.to_bytes(4, "big") + content
