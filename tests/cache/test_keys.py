"""No key can be mixed up with another."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from cache import InvalidKeyError, keys


@pytest.mark.parametrize("bad", [-1, 2**63, True, 1.0, "1", "1:2", None, "{1}", "1\n"])
def test_ids_that_are_no_ids_are_refused(bad: object) -> None:
    for build in (keys.match, keys.company, keys.ijp, keys.session, keys.score_field):
        with pytest.raises(InvalidKeyError, match="whole number"):
            build(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["a", "user:1234:session", "a:{tag}:b", "{tag}"])
def test_a_lease_lives_in_the_slot_of_its_key(key: str) -> None:
    assert key_slot(keys.lease(key).encode()) == key_slot(key.encode())


@pytest.mark.parametrize("key", ["a{", "a}", "}{", "{}", "{a}{b}", "{{a}}"])
def test_braces_that_are_no_hash_tag_are_refused(key: str) -> None:
    with pytest.raises(InvalidKeyError, match="hash tag"):
        keys.generic(key)


def test_keys_follow_the_convention() -> None:
    assert keys.session(1234) == "user:1234:session"
    assert keys.match_score(1234, 5678) == "match:1234:5678"
    assert keys.ijp(1234) == "ijp:1234"
    assert keys.company(101) == "company:101:enrichment"
    assert keys.lease("ijp:1234") == "lock:{ijp:1234}"
