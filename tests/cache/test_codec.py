"""Whatever JSON goes in comes out equal, of the same types."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import UncacheableError, codec

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
parts = st.integers(0, 100)
records = st.fixed_dictionaries(
    {
        "score": st.integers(0, 10_000).map(lambda n: n / 100) | parts,
        **dict.fromkeys(("skills", "title", "location", "salary", "seniority"), parts),
        "at": st.integers(0, 2**32 - 1),
    }
)
RECORD = {"score": 87.25, "skills": 1, "title": 2, "location": 3, "salary": 4, "seniority": 100, "at": 1_767_571_200}


@given(json_values)
def test_json_comes_out_as_it_went_in(value: codec.Json) -> None:
    assert repr(codec.decode(codec.encode(value))) == repr(value)


@pytest.mark.parametrize("value", [10**30, "\ud800", -0.0, {"a": [None, 10**25]}])
def test_json_at_the_edges(value: codec.Json) -> None:
    assert repr(codec.decode(codec.encode(value))) == repr(value)


@pytest.mark.parametrize("value", [math.nan, [math.inf], {1: 2}, {"a": {1: None}}, object(), b"x"])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(UncacheableError):
        codec.encode(value)


@given(records)
def test_the_declared_record_is_packed_into_22_bytes(record: dict[str, codec.Json]) -> None:
    raw = codec.encode_score(record, 5, b"abcdef")

    assert len(raw) == 22
    decoded = codec.decode_score(raw)
    assert decoded is not None
    assert decoded[:2] == (5, b"abcdef")
    assert repr(sorted(decoded[2].items())) == repr(sorted(record.items()))


@pytest.mark.parametrize(
    "change",
    [
        *({"score": value} for value in (87.255, 100.01, -0.0, 101, True, None, "87")),
        *({"skills": value} for value in (-1, 101, 5.0, True)),
        *({"at": value} for value in (-1, 2**32, 1.5)),
        {"extra": 1},
    ],
)
def test_any_other_record_falls_back_without_loss(change: dict[str, codec.Json]) -> None:
    record = RECORD | change

    raw = codec.encode_score(record, 5, b"abcdef")

    decoded = codec.decode_score(raw)
    assert raw[0] == codec.FORMAT_SCORE_JSON
    assert decoded is not None
    assert repr(decoded[2]) == repr(record)


@given(st.binary(max_size=64))
def test_foreign_bytes_never_raise(raw: bytes) -> None:
    codec.decode(raw)
    codec.decode_score(raw)
    codec.decode_session(raw)
    codec.score_head(raw)


def test_formats_stay_readable() -> None:
    """What an earlier release wrote; these bytes never change."""
    assert codec.decode(b'\x01{"a":1}') == {"a": 1}
    assert codec.decode_score(bytes.fromhex("0200000005616263646566221501020304 64695aff00")) == (
        5,
        b"abcdef",
        RECORD,
    )
    assert codec.decode_score(b'\x03\x00\x00\x00\x05abcdef{"x":1}') == (5, b"abcdef", {"x": 1})
    assert codec.decode_session(b"\x04\x00\x00\x00\x07null") == (7, None)
