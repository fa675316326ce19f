"""Who may send what to the cache: access strings of the users. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cache import keys
from cache.catalog import CATALOG

if TYPE_CHECKING:
    from collections.abc import Iterable

# What the library and its client send, scripts' own calls included: the server checks those against the user too.
APPLICATION_COMMANDS: Final = (
    "AUTH",
    "CLIENT|SETINFO",
    "CLIENT|SETNAME",
    "CLIENT|TRACKING",
    "CLUSTER|SHARDS",
    "CLUSTER|SLOTS",
    "DEL",
    "EVAL",
    "EVALSHA",
    "EXISTS",
    "EXPIRE",
    "GET",
    "GETEX",
    "HDEL",
    "HELLO",
    "HGET",
    "HGETALL",
    "HLEN",
    "HMGET",
    "HSET",
    "MGET",
    "PEXPIRE",
    "PING",
    "SET",
    "TIME",
    "UNLINK",
)
CONNECTION_COMMANDS: Final = ("AUTH", "CLIENT|SETINFO", "CLIENT|SETNAME", "HELLO", "PING")
LOAD_TEST_COMMANDS: Final = (*CONNECTION_COMMANDS, "CLUSTER|SHARDS", "CLUSTER|SLOTS", "FLUSHALL", "INFO")

# Reading without what can stop the server: KEYS and SORT are both reading and dangerous. INFO is dangerous only
# because it tells much.
OPERATOR_RULES: Final = (
    "on ~* -@all +@read -@dangerous +auth +client|setinfo +client|setname +cluster|shards +cluster|slots "
    "+dbsize +hello +info +ping"
)

_PATTERN: Final = re.compile(r"[a-z][a-z0-9_-]*:[^\s~%&+]+")


def key_patterns(extra: Iterable[str] = ()) -> tuple[str, ...]:
    """The keys of the catalogue's cache types and what the library keeps beside them."""
    entities = sorted({cache_type.entity for cache_type in CATALOG})
    return (*(f"{entity}:*" for entity in entities), keys.JOB_GENERATIONS, "lock:*", *extra)


def is_key_pattern(pattern: str) -> bool:
    """Whether a pattern of a caller's own keys names an entity, so that it cannot open the whole keyspace."""
    return _PATTERN.fullmatch(pattern) is not None


def access_string(commands: Iterable[str], patterns: Iterable[str]) -> str:
    """The rules of a user that may send just `commands`, on just the keys that match `patterns`."""
    return " ".join(
        ("on", *(f"~{pattern}" for pattern in patterns), "-@all", *(f"+{command.lower()}" for command in commands))
    )
