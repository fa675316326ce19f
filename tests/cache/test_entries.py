"""The word that the server's script takes apart holds each score as the codec encodes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from cache import UncacheableError, codec, entries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.valkey import Valkey

DEADLINE = 1_790_000_000
USUAL = {"score": 87.25, "skills": 1, "title": 2, "location": 3, "salary": 4, "seniority": 100, "at": 1_767_571_200}
UNUSUAL = st.sampled_from(
    [{}, {"score": 1}, {**USUAL, "score": 87}, {"text": "x" * 20}, {"text": "x" * 300}, {"text": "x" * 70_000}]
)


@pytest.fixture(scope="module")
def connection(server: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.socket_url) as connected:
        yield connected


@given(
    st.dictionaries(st.integers(0, 2**63 - 1), st.just(USUAL) | UNUSUAL, max_size=20)
    | st.dictionaries(st.integers(0, 2**63 - 1), st.just(USUAL), max_size=20),
    st.dictionaries(st.sampled_from([b"w"]), st.binary(max_size=40)),
)
def test_a_script_finds_each_score_under_its_job(
    connection: redis.Redis, scores: dict[int, dict[str, Any]], notes: dict[bytes, bytes]
) -> None:
    generations = {job: b"%05d" % number for number, job in enumerate(scores)}

    packed = entries.pack(scores, generations, DEADLINE, notes)

    words: Any = connection.eval("return cmsgpack.unpack(ARGV[1])", 0, packed)
    expected = {b"%d" % job: codec.encode_score(scores[job], DEADLINE, generations[job]) for job in scores}
    assert list(zip(words[::2], words[1::2], strict=True)) == [*expected.items(), *notes.items()]


def test_what_is_no_json_is_refused_among_many() -> None:
    scores: dict[int, dict[str, Any]] = dict.fromkeys(range(20), USUAL)

    with pytest.raises(UncacheableError):
        entries.pack(scores | {7: {"score": object()}}, dict.fromkeys(scores, b"abcde"), DEADLINE, {})
