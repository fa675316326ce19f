"""What the application's user must be allowed to do on the server: all that the library sends, and no more."""

from __future__ import annotations

from typing import Final

# Those in scripts included: the server checks them one by one.
COMMANDS: Final = (
    "asking",
    "client|setinfo",
    "client|setname",
    "client|tracking",
    "cluster|slots",
    "del",
    "eval",
    "evalsha",
    "expire",
    "get",
    "getex",
    "hdel",
    "hget",
    "hgetall",
    "hlen",
    "hmget",
    "hset",
    "mget",
    "pexpire",
    "ping",
    "pttl",
    "restore",
    "set",
    "time",
    "unlink",
)

# Keys of `get_with_lock` are the caller's own: whoever uses it adds their patterns. Leases of all keys are `lock:…`.
KEY_PATTERNS: Final = (
    "company:*:enrichment",
    "ijp:*",
    "job:generations",
    "lock:*",
    "match:*",
    "user:*:session",
    "warming:*",
)


def acl_rules(*more_key_patterns: str) -> tuple[str, ...]:
    """The words of `ACL SETUSER` behind user and password."""
    keys = (*KEY_PATTERNS, *more_key_patterns)
    return (
        "resetkeys",
        *(f"~{pattern}" for pattern in keys),
        "resetchannels",
        "-@all",
        *(f"+{name}" for name in COMMANDS),
    )
