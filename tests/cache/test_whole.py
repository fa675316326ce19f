"""A hash that is packed here is the one that the server packs itself."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from cache import codec
from cache.warming import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.valkey import Valkey

DEADLINE = 1_790_000_000
RECORD = {"score": 87.25, "skills": 1, "title": 2, "location": 3, "salary": 4, "seniority": 100, "at": 1_767_571_200}
# Of each length in which the server keeps whole numbers.
JOBS = st.sampled_from([(1 << bits) + step for bits in (7, 12, 15, 23, 31, 63) for step in (-1, 0, 1)]).filter(
    lambda job: job < 1 << 63
) | st.integers(0, 2**63 - 1)
# It stays text when packed here, which the server reads alike; only a generation can be one, by chance.
NEGATIVE = re.compile(rb"-[0-9]+")
CONTENTS = (
    st.binary(max_size=63).filter(lambda content: not NEGATIVE.fullmatch(content))
    | st.integers(0, 2**64).map(lambda number: b"%d" % number)
    | st.just(b"007")
)
NAMES = st.binary(min_size=1, max_size=63).filter(lambda name: not (name.isdigit() or NEGATIVE.fullmatch(name)))

# What releases have given to RESTORE.
GOLDEN = (
    "10" "8000000033" "330000000600"
    "816702" "85616263646506" "817702" "817802"
    "f2a0860104" "95026ab13b80303132333422150102030464695aff0016"
    "ff" "0a00" "c046a8bf20263cbb"
)  # fmt: skip


@pytest.fixture(scope="module")
def connection(server: Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.socket_url) as connected:
        before = connected.config_get("rdbcompression")
        connected.config_set("rdbcompression", "no")
        yield connected
        connected.config_set("rdbcompression", before["rdbcompression"])


@given(
    st.lists(JOBS, min_size=1, max_size=20, unique=True),
    st.dictionaries(NAMES, CONTENTS, max_size=5),
)
def test_the_server_has_the_same_bytes(connection: redis.Redis, jobs: list[int], others: dict[bytes, bytes]) -> None:
    generations = {job: b"%05d" % number for number, job in enumerate(jobs)}
    scores: dict[int, dict[str, Any]] = {job: RECORD | {"score": job % 10_001 / 100, "at": job % 2**32} for job in jobs}

    content = whole.dump(scores.values(), whole.Blank(jobs, generations, DEADLINE), others)

    assert content is not None
    connection.delete("restored", "set")
    connection.restore("restored", 0, content)
    encoded = {b"%d" % job: codec.encode_score(scores[job], DEADLINE, generations[job]) for job in jobs}
    connection.hset("set", items=[*chain.from_iterable((others | encoded).items())])
    assert connection.object("encoding", "restored") == b"listpack"
    assert connection.dump("restored") == connection.dump("set")


def test_what_is_sent_is_as_before() -> None:
    content = whole.dump([RECORD], whole.Blank([100_000], {100_000: b"01234"}, DEADLINE), {b"g": b"abcde", b"w": b"x"})

    assert content is not None
    assert content.hex() == GOLDEN


@pytest.mark.parametrize(
    ("score", "other"), [({"text": "of another shape"}, b""), (RECORD | {"score": 87}, b""), (RECORD, b"x" * 64)]
)
def test_what_does_not_fit_is_left_to_the_server(score: dict[str, Any], other: bytes) -> None:
    assert whole.dump([score], whole.Blank([7], {7: b"01234"}, DEADLINE), {b"w": other}) is None


def test_without_the_extra_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "_crc64", None)

    assert whole.dump([RECORD], whole.Blank([7], {7: b"01234"}, DEADLINE), {}) is None
