from __future__ import annotations

import pytest

from cache import keys
from cache.access import COMMANDS, KEY_PATTERNS
from infra import access, parameters


def test_the_application_may_send_what_the_library_sends() -> None:
    assert set(COMMANDS) <= set(access.APPLICATION_COMMANDS)


def test_application_may_not_look_around_or_administrate() -> None:
    forbidden = {"keys", "scan", "config", "flushall", "flushdb", "info", "monitor", "debug", "acl", "shutdown"}

    assert not forbidden & {command.partition("|")[0] for command in access.APPLICATION_COMMANDS}


def test_key_patterns_cover_the_librarys_keys_and_no_others() -> None:
    from fnmatch import fnmatchcase

    for key in (
        keys.match(1),
        keys.match_score(1, 5678),
        keys.company(101),
        keys.ijp(1),
        keys.session(1),
        keys.lease(keys.ijp(1)),
        keys.JOB_GENERATIONS,
        keys.WARMED_LISTS,
        keys.WARMING_RUN,
    ):
        assert any(fnmatchcase(key, pattern) for pattern in KEY_PATTERNS), key
    assert not any(fnmatchcase("report:7", pattern) for pattern in KEY_PATTERNS)


def test_access_string_turns_everything_else_off() -> None:
    assert access.access_string(("GET", "CLIENT|SETINFO"), ("a:*",)) == "on ~a:* -@all +get +client|setinfo"


@pytest.mark.parametrize(("pattern", "good"), [("report:*", True), ("*", False), ("a b:*", False), ("x:~*", False)])
def test_extra_pattern_names_an_entity(pattern: str, good: bool) -> None:
    assert access.is_key_pattern(pattern) is good


def test_own_parameters_pass_their_own_table() -> None:
    for cluster_mode in (False, True):
        values = parameters.parameters(cluster_mode=cluster_mode, overrides={})
        values.pop("cluster-enabled", None)

        assert not any(parameters.problem(name, value) for name, value in values.items())


def test_override_wins_and_cluster_mode_says_so() -> None:
    values = parameters.parameters(cluster_mode=True, overrides={"slowlog-max-len": "64"})

    assert values["slowlog-max-len"] == "64"
    assert values["cluster-enabled"] == "yes"
    assert "cluster-enabled" not in parameters.parameters(cluster_mode=False, overrides={})
