"""Who may send what to the cache: access strings of the users. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cache.access import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterable

# What clients send for a connection and to find the shards, whatever they use it for.
CONNECTION_COMMANDS: Final = (
    *("auth", "client|setinfo", "client|setname", "hello", "ping"),
    *("cluster|shards", "cluster|slots"),
)
APPLICATION_COMMANDS: Final = tuple(sorted({*COMMANDS, *CONNECTION_COMMANDS}))
# It does what the application does, asks the server what that costs it, and empties the cache behind it.
LOAD_TEST_COMMANDS: Final = tuple(sorted({*APPLICATION_COMMANDS, "flushall", "info"}))

# Reading without what can stop the server: KEYS and SORT are both reading and dangerous. INFO is dangerous only
# because it tells much. A replica in cluster mode is read by nobody who has not sent READONLY.
OPERATOR_RULES: Final = (
    "on ~* -@all +@read -@dangerous +auth +client|setinfo +client|setname +cluster|shards +cluster|slots "
    "+dbsize +hello +info +ping +readonly"
)

_PATTERN: Final = re.compile(r"[a-z][a-z0-9_-]*:[^\s~%&+]+")


def is_key_pattern(pattern: str) -> bool:
    """Whether a pattern of a caller's own keys names an entity, so that it cannot open the whole keyspace."""
    return _PATTERN.fullmatch(pattern) is not None


def access_string(commands: Iterable[str], patterns: Iterable[str]) -> str:
    """The rules of a user that may send just `commands`, on just the keys that match `patterns`."""
    return " ".join(
        ("on", *(f"~{pattern}" for pattern in patterns), "-@all", *(f"+{command.lower()}" for command in commands))
    )
