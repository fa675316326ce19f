"""Stored bytes: golden ones of each format, and no bytes that break the decoder."""

from __future__ import annotations

import enum
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cache
from cache import codec

GENERATION = b"\x01\x02\x03\x04\x05"
PACKED = {"score": 87.25, "skills": 90, "title": 80, "location": 100, "salary": 0, "seniority": 55, "at": 1_790_000_000}

# What releases have written. A change here means that a release cannot read what the one before it wrote.
GOLDEN_SCORES = [
    (PACKED, "026ab13b80010203040522155a506400376ab13b80"),
    ({**PACKED, "score": 87}, "026ab13b800102030405a1fc5a506400376ab13b80"),
    ({"score": 1}, "036ab13b800102030405" + b'{"score":1}'.hex()),
]
GOLDEN_VALUES = [
    (None, "01" + b"null".hex()),
    ({"a": [None, 0]}, "01" + b'{"a":[null,0]}'.hex()),
    ({"a": [1.5, "\u00fc"]}, "01" + '{"a":[1.5,"\u00fc"]}'.encode().hex()),
    (2**70, "01" + b" 1180591620717411303424".hex()),
]
DEADLINE = 0x6AB13B80

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
packed_scores = st.fixed_dictionaries(
    {
        "score": st.integers(0, 100)
        | st.integers(0, 10_000).map(lambda hundredths: hundredths / 100)
        | st.floats(0, 100),
        **{name: st.integers(0, 100) for name in codec.PACKED_FIELDS[1:-1]},
        "at": st.integers(0, 2**32 - 1),
    }
)


@pytest.mark.parametrize(("score", "stored"), GOLDEN_SCORES)
def test_scores_are_stored_as_before(score: dict[str, Any], stored: str) -> None:
    assert codec.encode_score(score, DEADLINE, GENERATION).hex() == stored
    assert codec.decode_score(bytes.fromhex(stored)) == (DEADLINE, GENERATION, score)


def test_a_score_of_numpy_is_stored_as_the_float_that_it_is() -> None:
    """Functions that compute many scores give these."""

    def stored(value: float) -> bytes:
        return codec.encode_score(PACKED | {"score": value}, DEADLINE, GENERATION)

    for value in [hundredths / 100 for hundredths in range(10_001)]:
        assert stored(np.float64(value)) == stored(value)
    for value in (-0.0, 87.255, 100.01):
        decoded = codec.decode_score(stored(np.float64(value)))
        assert decoded is not None
        assert repr(decoded[2]["score"]) == repr(value)


@pytest.mark.parametrize(("value", "stored"), GOLDEN_VALUES)
def test_values_are_stored_as_before(value: Any, stored: str) -> None:
    assert codec.encode(value).hex() == stored
    assert codec.decode(bytes.fromhex(stored)) == value


def test_what_an_older_release_wrote_of_a_null_is_read() -> None:
    assert codec.decode(b'\x01 {"a":[null,0]}') == {"a": [None, 0]}


def test_sessions_are_stored_as_before() -> None:
    stored = "046ab13b80" + b'{"id":7}'.hex()

    assert codec.encode_session({"id": 7}, DEADLINE).hex() == stored
    assert codec.decode_session(bytes.fromhex(stored)) == (DEADLINE, {"id": 7})


@given(json_values)
def test_any_json_value_comes_out_as_it_went_in(value: Any) -> None:
    decoded = codec.decode(codec.encode(value))

    assert (decoded, repr(decoded)) == (value, repr(value))


@given(st.dictionaries(st.text(), json_values) | packed_scores)
def test_any_score_comes_out_as_it_went_in(score: dict[str, Any]) -> None:
    raw = codec.encode_score(score, DEADLINE, GENERATION)
    decoded = codec.decode_score(raw)

    assert decoded is not None
    assert decoded[:2] == (DEADLINE, GENERATION) == codec.score_head(raw)
    assert repr(sorted(decoded[2].items())) == repr(sorted(score.items()))


@given(
    st.lists(packed_scores.map(lambda score: codec.encode_score(score, 7, GENERATION)) | st.binary(max_size=40)),
    st.sampled_from([GENERATION, b"other", None]),
    st.sampled_from([6, 7]),
)
def test_scores_decoded_together_are_those_that_are_good_one_by_one(
    values: list[bytes], generation: bytes | None, now: int
) -> None:
    values = [*values, codec.encode_score(PACKED, 8, GENERATION)]
    generations: list[bytes | None] = [GENERATION] * len(values)
    generations[0] = generation
    decoded = [codec.decode_score(raw) for raw in values]
    is_good = [
        raw[:1] == b"\2" and each is not None and each[0] > now and each[1] == expected
        for raw, each, expected in zip(values, decoded, generations, strict=True)
    ]

    together = codec.decode_good_scores(values, generations, now)

    assert together == ([each[2] for each in decoded if each] if all(is_good) else None)


@pytest.mark.parametrize(
    ("others", "is_useful"),
    [
        ([], []),
        ([codec.encode_score({"score": 1}, 7, GENERATION), b"\x05 of a later release", b"x"], [False, True, True]),
    ],
)
def test_only_scores_whose_deadline_has_come_are_of_no_more_use(others: list[bytes], is_useful: list[bool]) -> None:
    packed = [codec.encode_score(PACKED, deadline, GENERATION) for deadline in (7, 8)]

    assert codec.not_expired([*packed, *others], 7) == [False, True, *is_useful]


def unusual(score: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    """The score with another value in one field, or without that field."""
    return {name: other for name, other in (score | {field: value}).items() if other is not ...}


def encoded(score: Any, generation: bytes) -> bytes | None:
    try:
        return codec.encode_score(score, DEADLINE, generation)
    except cache.UncacheableError:
        return None


OTHER_VALUES = [
    *(..., None, True, False, -1, 0, 1, 101, 256, 2**32, 2**70, -0.0, 0.0, 1.0, 1.005, 100.01, -0.01, "1", [1], [[2]]),
    *(float("nan"), float("inf"), float("-inf"), {}, Decimal(1), datetime(2026, 1, 1, tzinfo=UTC), object()),
]


@given(
    st.lists(
        packed_scores.map(lambda score: score | {"score": float(round(score["score"], 2))})
        | st.builds(
            unusual,
            packed_scores,
            st.sampled_from([*codec.PACKED_FIELDS, "an eighth"]),
            st.sampled_from(OTHER_VALUES),
        ),
        min_size=1,
        max_size=12,
    )
)
@example([PACKED])
def test_scores_packed_together_are_those_packed_one_by_one(scores: list[dict[str, Any]]) -> None:
    generations = [b"%05d" % number for number in range(len(scores))]
    one_by_one = [encoded(score, stamp) for score, stamp in zip(scores, generations, strict=True)]
    is_usual = all(
        raw is not None and raw[0] == codec.FORMAT_SCORE_PACKED and type(score["score"]) is float
        for raw, score in zip(one_by_one, scores, strict=True)
    )

    together = codec.pack_scores(scores, DEADLINE, generations)

    assert together == (one_by_one if is_usual else None)


@pytest.mark.parametrize("value", OTHER_VALUES, ids=lambda value: "object" if type(value) is object else repr(value))
@pytest.mark.parametrize("field", [*codec.PACKED_FIELDS, "an eighth"])
def test_one_unusual_score_among_many_is_not_packed_as_another(field: str, value: Any) -> None:
    scores = [PACKED, unusual(PACKED, field, value)]
    one_by_one = [encoded(score, GENERATION) for score in scores]

    assert codec.pack_scores(scores, DEADLINE, [GENERATION, GENERATION]) in (one_by_one, None)


@given(st.binary())
def test_no_bytes_break_a_decoder(raw: bytes) -> None:
    for decode in (codec.decode, codec.decode_score, codec.decode_session, codec.score_head, codec.is_newer):
        decode(raw)


def test_bytes_that_nest_without_end_are_undecodable() -> None:
    too_deep = b" " + b"[" * 200_000

    assert codec.decode(b"\1" + too_deep) is codec.UNDECODABLE
    assert codec.decode_score(b"\3" + bytes(10) + too_deep) is None
    assert codec.decode_session(b"\4" + bytes(4) + too_deep) is None


def test_a_value_that_holds_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["itself"] = value

    with pytest.raises(cache.UncacheableError):
        codec.encode(value)


class Seniority(enum.Enum):
    SENIOR = "senior"


@pytest.mark.parametrize(
    "value",
    [
        *(float("nan"), float("inf"), [None, float("nan")], {1: 2}, {"a": {1, 2}}, object(), b"bytes"),
        *(uuid.UUID(int=5), {"a": [uuid.UUID(int=5)]}, Seniority.SENIOR, date(2026, 11, 24)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(cache.UncacheableError):
        codec.encode(value)


@pytest.mark.parametrize("score", [None, 87.25, "text", [87.25]], ids=repr)
def test_a_score_that_is_no_dict_is_refused(score: Any) -> None:
    """It would be stored, and be a miss each time that it is read."""
    with pytest.raises(cache.UncacheableError, match=f"^a match score is a dict, not {type(score).__name__}\\.$"):
        codec.encode_score(score, DEADLINE, GENERATION)


def test_a_key_that_is_no_text_is_named() -> None:
    with pytest.raises(cache.UncacheableError, match=r"^the value is not JSON: dict key 1 is not a str\.$"):
        codec.encode({"a": [{1: 2}]})
