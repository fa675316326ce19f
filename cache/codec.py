"""Values to bytes and back, without loss. Pure functions.

Every stored value starts with one byte, its format:

1  JSON
2  a match score, packed: deadline (4 bytes), job's generation (5), then the record (11)
3  a match score as JSON: deadline (4), job's generation (5), JSON
4  a session: greatest lifetime's end (4), JSON

JSON that starts with a space holds what orjson would not give back (whole numbers beyond 64 bits, lone
surrogates) and is read by the standard decoder. Times are whole seconds since the epoch, big-endian. The packed
record holds exactly the seven fields of `PACKED_FIELDS` within their ranges; any other dict takes format 3 by itself.
"""

from __future__ import annotations

import enum
import json
import marshal
import math
import struct
from functools import cache
from itertools import repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from cache.errors import UncacheableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Json = Any  # None, bool, int, float, str, or lists and str-keyed dicts of these

FORMAT_JSON: Final = 1
FORMAT_SCORE_PACKED: Final = 2
FORMAT_SCORE_JSON: Final = 3
FORMAT_SESSION: Final = 4
NEWEST_FORMAT: Final = 4
_FORMATS_END: Final = 32  # no format has a printable byte: text that others wrote is foreign, not newer

GENERATION_BYTES: Final = 5
PACKED_FIELDS: Final = ("score", "skills", "title", "location", "salary", "seniority", "at")

_SCORE_HEAD: Final = struct.Struct(f">BI{GENERATION_BYTES}s")
_PACKED: Final = struct.Struct(f">BI{GENERATION_BYTES}sHBBBBBI")
PACKED_BYTES: Final = _PACKED.size
PACKED_HEAD_BYTES: Final = _SCORE_HEAD.size
_RECORD: Final = struct.Struct(f">{_SCORE_HEAD.size}xHBBBBBI")  # what `_PACKED` has behind its head
_GENERATION: Final = slice(_SCORE_HEAD.size - GENERATION_BYTES, _SCORE_HEAD.size)
_SESSION_HEAD: Final = struct.Struct(">BI")
_fields: Final = itemgetter(*PACKED_FIELDS)
_PERCENTAGES: Final = bytes(range(101))
_MAX_AT: Final = 2**32 - 1
_STANDARD: Final = b" "
_JSON_HEAD: Final = bytes([FORMAT_JSON])
_PACKED_HEAD: Final = bytes([FORMAT_SCORE_PACKED])
_WHOLE_SCORE: Final = 0x8000  # set where `score` was given as an int: 87 and 87.0 are not the same JSON

# Types that orjson would turn into strings: they would not come out as they went in.
_ORJSON_OPTIONS: Final = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)


class Undecodable(enum.Enum):
    """Stands for bytes that hold no value of the library."""

    UNDECODABLE = enum.auto()


UNDECODABLE: Final = Undecodable.UNDECODABLE


def encode(value: Json) -> bytes:
    """Format 1. Raises UncacheableError for a value that is not JSON (NaN and infinities included)."""
    return _JSON_HEAD + _json(value)


def decode(raw: bytes) -> Json:
    """The value of `encode`, or UNDECODABLE for bytes that are not of format 1."""
    if not raw or raw[0] != FORMAT_JSON:
        return UNDECODABLE
    return _from_json(raw[1:])


def encode_session(value: Json, ends_at: int) -> bytes:
    """Format 4. `ends_at` is when the session ends however busy it is."""
    return _SESSION_HEAD.pack(FORMAT_SESSION, ends_at) + _json(value)


def decode_session(raw: bytes) -> tuple[int, Json] | None:
    """(ends_at, value), or None for bytes that are not of format 4."""
    if len(raw) < _SESSION_HEAD.size or raw[0] != FORMAT_SESSION:
        return None
    value = _from_json(raw[_SESSION_HEAD.size :])
    return None if value is UNDECODABLE else (_SESSION_HEAD.unpack_from(raw)[1], value)


def encode_score(score: Mapping[str, Json], deadline: int, generation: bytes) -> bytes:
    """Format 2 where it loses nothing, else format 3. Raises UncacheableError as `encode` does."""
    if type(score) is not dict:
        raise UncacheableError(f"a match score is a dict, not {type(score).__name__}.")
    if len(score) == len(PACKED_FIELDS):
        packed = _pack(score, deadline, generation)
        if packed is not None:
            return packed
    return _SCORE_HEAD.pack(FORMAT_SCORE_JSON, deadline, generation) + _json(score)


def pack_scores(
    scores: Collection[Mapping[str, Json]], deadline: int, generations: Iterable[bytes]
) -> list[bytes] | None:
    """`encode_score` of each, with the generation of its job, if all of them take format 2 and no `score` is an int.

    Else None.
    """
    columns = _columns(scores)
    if columns is None:
        return None
    hundredths, percentages, times = columns
    heads = repeat(FORMAT_SCORE_PACKED), repeat(deadline), generations
    return list(map(_PACKED.pack, *heads, hundredths, *percentages, times))


def packed_columns(scores: Collection[Mapping[str, Json]]) -> list[bytes] | None:
    """What `pack_scores` has behind each `packed_head`, by columns: the first byte of each, and so on.

    None where that has None.
    """
    columns = _columns(scores)
    if columns is None:
        return None
    hundredths, percentages, times = columns
    first, last = struct.pack(f">{len(scores)}H", *hundredths), struct.pack(f">{len(scores)}I", *times)
    return [*(first[i::2] for i in range(2)), *percentages, *(last[i::4] for i in range(4))]


def packed_head(deadline: int, generation: bytes) -> bytes:
    """The first bytes of a packed score."""
    return _SCORE_HEAD.pack(FORMAT_SCORE_PACKED, deadline, generation)


def _columns(scores: Collection[Mapping[str, Json]]) -> tuple[list[int], list[bytes], tuple[int, ...]] | None:
    """(`score`s in hundredths, the columns of percentages, `at`s) where format 2 takes them and no `score` is an int.

    Warming packs a million at a time: each line runs through a column of them inside the interpreter.
    """
    if set(map(type, scores)) != {dict} or set(map(len, scores)) != {len(PACKED_FIELDS)}:
        return None
    try:
        values, *percentages, times = zip(*map(_fields, scores), strict=True)
        # As JSON, what is no whole number, or is below 0, has other letters. (So has a bool; an IntEnum has not.)
        whole_numbers = orjson.dumps((*percentages, times), option=_ORJSON_OPTIONS)
        if whole_numbers.translate(None, b"0123456789,[]"):
            return None
        packed_percentages = list(map(bytes, percentages))
        if b"".join(packed_percentages).translate(None, _PERCENTAGES):
            return None
        if set(map(type, values)) != {float} or max(times) > _MAX_AT:
            return None
        hundredths = list(map(_hundredths().__getitem__, values))
        if 0 in hundredths and -1 in map(math.copysign, repeat(1), values):  # -0.0
            return None
    except (KeyError, TypeError, ValueError):  # a field is missing, or holds what the packed one cannot
        return None
    return hundredths, packed_percentages, times


@cache
def _hundredths() -> dict[float, int]:
    """Of each `score` that format 2 can hold."""
    return {whole / 100: whole for whole in range(10_001)}


def decode_score(raw: bytes) -> tuple[int, bytes, dict[str, Json]] | None:
    """(deadline, job's generation, score), or None for bytes that are neither of format 2 nor 3."""
    if len(raw) <= _SCORE_HEAD.size:
        return None
    head, deadline, generation = _SCORE_HEAD.unpack_from(raw)
    if head == FORMAT_SCORE_PACKED and len(raw) == _PACKED.size:
        return deadline, generation, _records(raw)[0]
    if head == FORMAT_SCORE_JSON:
        score = _from_json(raw[_SCORE_HEAD.size :])
        if type(score) is dict:
            return deadline, generation, score
    return None


def decode_good_scores(
    values: list[bytes], generations: list[bytes | None], now: float
) -> list[dict[str, Json]] | None:
    """The scores at once, or None where not each is of format 2, of its job's generation here, and alive at `now`."""
    joined = _joined_packed(values)
    # The deadline follows the format, so that the least value has the earliest.
    if joined is None or _SCORE_HEAD.unpack_from(min(values))[1] <= now:
        return None
    return _records(joined) if score_generations(values) == generations else None


def are_alive(values: list[bytes], now: float) -> list[bool] | None:
    """Whether each holds beyond `now`; None where not each is of format 2."""
    if _joined_packed(values) is None:
        return None
    first_alive = packed_head(int(now) + 1, bytes(GENERATION_BYTES))
    return list(map(first_alive.__le__, values))


def not_expired(values: list[bytes], now: float) -> list[bool]:
    """Whether each is anything but a score whose deadline has come. A user's scores are many, and packed as a rule."""
    alive = are_alive(values, now)
    return [not (head := score_head(raw)) or head[0] > now for raw in values] if alive is None else alive


def _joined_packed(values: list[bytes]) -> bytes | None:
    """None where not each is of format 2."""
    if set(map(len, values)) != {_PACKED.size}:
        return None
    joined = b"".join(values)
    return joined if joined[:: _PACKED.size] == _PACKED_HEAD * len(values) else None


def score_generations(values: Iterable[bytes]) -> list[bytes]:
    """The job's generation in each; of values that are scores."""
    return [raw[_GENERATION] for raw in values]


def _records(packed: bytes) -> list[dict[str, Json]]:
    return [
        {
            "score": score / 100 if score < _WHOLE_SCORE else (score ^ _WHOLE_SCORE) // 100,
            "skills": skills,
            "title": title,
            "location": location,
            "salary": salary,
            "seniority": seniority,
            "at": at,
        }
        for score, skills, title, location, salary, seniority, at in _RECORD.iter_unpack(packed)
    ]


def score_head(raw: bytes) -> tuple[int, bytes] | None:
    """(deadline, job's generation) of a score, or None for bytes that are no score."""
    if len(raw) <= _SCORE_HEAD.size or raw[0] not in (FORMAT_SCORE_PACKED, FORMAT_SCORE_JSON):
        return None
    _, deadline, generation = _SCORE_HEAD.unpack_from(raw)
    return deadline, generation


def is_newer(raw: bytes) -> bool:
    """Whether a newer release wrote these bytes: such a value is a miss, and is not overwritten."""
    return bool(raw) and NEWEST_FORMAT < raw[0] < _FORMATS_END


def _pack(score: Mapping[str, Json], deadline: int, generation: bytes) -> bytes | None:
    """None where a field is missing or out of its range."""
    try:
        value, skills, title, location, salary, seniority, at = _fields(score)
    except KeyError:
        return None
    if not (type(skills) is type(title) is type(location) is type(salary) is type(seniority) is type(at) is int):
        return None
    if isinstance(value, float):  # NumPy's too
        hundredths = round(value * 100) if 0 <= value <= 100 else -1
        if hundredths / 100 != value or (value == 0 and math.copysign(1, value) < 0):
            return None
    elif type(value) is int and 0 <= value <= 100:
        hundredths = value * 100 | _WHOLE_SCORE
    else:
        return None
    if max(skills, title, location, salary, seniority) > 100:
        return None
    try:
        return _PACKED.pack(
            *(FORMAT_SCORE_PACKED, deadline, generation, hundredths),
            *(skills, title, location, salary, seniority, at),
        )
    except struct.error:  # a negative number, or an `at` beyond 32 bits
        return None


def _json(value: Json) -> bytes:
    try:
        encoded = orjson.dumps(value, option=_ORJSON_OPTIONS)
        # No option keeps orjson from writing UUIDs and enums as strings; marshal takes Python's own types alone.
        marshal.dumps(value)
    except (orjson.JSONEncodeError, ValueError):  # too large an int, a lone surrogate, or no JSON
        return _strict_json(value)
    # orjson writes NaN and infinities as null.
    if b"null" in encoded and orjson.loads(encoded) != value:
        return _strict_json(value)
    return encoded


def _strict_json(value: Json) -> bytes:
    """By the standard encoder, which orjson's decoder could not always follow."""
    try:
        _check_keys(value)
        return _STANDARD + json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UncacheableError(f"the value is not JSON: {error}.") from None


def _check_keys(value: Json) -> None:
    """The standard encoder turns `{1: …}` into `{"1": …}`: refuse instead."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"dict key {key!r} is not a str")
            _check_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_keys(inner)


def _from_json(raw: bytes) -> Json:
    try:
        return json.loads(raw) if raw.startswith(_STANDARD) else orjson.loads(raw)
    except (ValueError, RecursionError):
        return UNDECODABLE
