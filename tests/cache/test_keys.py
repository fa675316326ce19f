"""Keys: no id and no caller's key can reach into another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

import cache
from cache import flows, keys

if TYPE_CHECKING:
    from collections.abc import Callable

NO_IDS = [-1, 2**63, True, 1.0, "1", "1:session", None, b"1", "1\n2", "{1}"]
BUILDERS: list[Callable[[int], str | bytes]] = [
    keys.match,
    keys.company,
    keys.ijp,
    keys.session,
    keys.warm_stamp,
    keys.score_field,
]


@pytest.mark.parametrize("identifier", NO_IDS, ids=repr)
def test_what_is_no_id_is_refused_by_name(identifier: Any) -> None:
    for build in BUILDERS:
        with pytest.raises(cache.InvalidKeyError, match="it must be a whole number"):
            build(identifier)
    with pytest.raises(cache.InvalidKeyError):
        flows.ids([1, identifier])


def test_more_jobs_than_the_server_s_scripts_take_are_refused() -> None:
    assert len(flows.ids(range(keys.MAX_JOBS_PER_CALL))) == keys.MAX_JOBS_PER_CALL

    with pytest.raises(cache.InvalidKeyError, match="2001 job_ids in one call; at most 2000"):
        flows.ids(range(keys.MAX_JOBS_PER_CALL + 1))


@given(st.integers(0, keys.MAX_ID), st.integers(0, keys.MAX_ID))
def test_different_ids_give_different_keys(one: int, other: int) -> None:
    for build in BUILDERS:
        assert (build(one) == build(other)) == (one == other)


@given(st.text(st.characters()))  # lone surrogates too
def test_a_caller_s_key_has_its_lease_in_its_own_slot_or_is_refused(key: str) -> None:
    try:
        lease = keys.lease(keys.generic(key))
    except cache.InvalidKeyError:
        return

    assert key_slot(lease.encode()) == key_slot(key.encode())
    assert lease.startswith("lock:")
    assert key in lease


@pytest.mark.parametrize(
    "key", ["", "a{b", "a}b{", "a{}b", "{a}{b}", "{a}", "{match:1}", 7, None, "report:\ud800"], ids=repr
)
def test_a_key_whose_slot_is_unclear_is_refused(key: Any) -> None:
    with pytest.raises(cache.InvalidKeyError):
        keys.generic(key)


@pytest.mark.parametrize(
    "key",
    [
        *("match:1", "match:1:2", "match:1:warm", "ijp:9", "company:101:enrichment", "user:1:session"),
        *("job:generations", "lock:{report:7}", keys.WARMED_LISTS, keys.WARMING_RUN),
    ],
)
def test_a_key_of_the_library_s_own_is_refused(key: str) -> None:
    with pytest.raises(cache.InvalidKeyError, match="kept for the library itself"):
        keys.generic(key)


@pytest.mark.parametrize(
    "key",
    [
        *("report:7", "company:101:news", "user:1:avatar", "job:5678", "matches:1", "a:ijp:9"),
        *("{user:7}:report", "report:{user:7}", "report:{7}:pdf"),
    ],
)
def test_other_keys_are_the_caller_s(key: str) -> None:
    assert keys.generic(key) == key
