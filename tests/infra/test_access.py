from __future__ import annotations

import pytest

from cache import commands, keys
from cache.catalog import CATALOG
from infra import access, parameters


def test_every_command_of_the_scripts_and_builders_is_allowed() -> None:
    import re

    called = {word for text in commands.SCRIPTS.values() for word in re.findall(r"redis\.call\('([A-Z]+)'", text)}
    built = {
        str(command[0])
        for command in (
            commands.get("k"),
            commands.get_and_extend("k", 1),
            commands.mget(["k"]),
            commands.set_for("k", b"", 1),
            commands.delete("k"),
            commands.expire("k", 1),
            commands.hgetall("k"),
            commands.hmget("k", b"f"),
            commands.hdel("k", b"f"),
            commands.release("k", b""),
            commands.with_text(commands.release("k", b"")),
        )
    }

    assert called | built <= set(access.APPLICATION_COMMANDS)


def test_application_may_not_look_around_or_administrate() -> None:
    forbidden = {"KEYS", "SCAN", "CONFIG", "FLUSHALL", "FLUSHDB", "INFO", "MONITOR", "DEBUG", "ACL", "SHUTDOWN"}

    assert not forbidden & {command.partition("|")[0] for command in access.APPLICATION_COMMANDS}


def test_key_patterns_cover_the_librarys_keys_and_no_others() -> None:
    from fnmatch import fnmatchcase

    patterns = access.key_patterns()

    for key in (
        keys.match(1),
        keys.match_score(1, 5678),
        keys.company(101),
        keys.ijp(1),
        keys.session(1),
        keys.lease(keys.ijp(1)),
        keys.JOB_GENERATIONS,
    ):
        assert any(fnmatchcase(key, pattern) for pattern in patterns), key
    assert not any(fnmatchcase("report:7", pattern) for pattern in patterns)
    assert len(patterns) == len({cache_type.entity for cache_type in CATALOG}) + 2


def test_access_string_turns_everything_else_off() -> None:
    assert access.access_string(("GET", "CLIENT|SETINFO"), ("a:*",)) == "on ~a:* -@all +get +client|setinfo"


@pytest.mark.parametrize(("pattern", "good"), [("report:*", True), ("*", False), ("a b:*", False), ("x:~*", False)])
def test_extra_pattern_names_an_entity(pattern: str, good: bool) -> None:
    assert access.is_key_pattern(pattern) is good


def test_own_parameters_pass_their_own_table() -> None:
    for cluster_mode in (False, True):
        values = parameters.parameters(cluster_mode=cluster_mode, overrides={})
        values.pop("cluster-enabled", None)

        assert parameters.problems(values) == []


def test_override_wins_and_cluster_mode_says_so() -> None:
    values = parameters.parameters(cluster_mode=True, overrides={"slowlog-max-len": "64"})

    assert values["slowlog-max-len"] == "64"
    assert values["cluster-enabled"] == "yes"
    assert "cluster-enabled" not in parameters.parameters(cluster_mode=False, overrides={})
