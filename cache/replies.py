"""What a server's replies mean: an answer, an answer to one command only, or a server in trouble. Pure functions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from cache import commands
from cache.commands import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.commands import Command, Reply

_log = logging.getLogger("cache")

# All that a client or a socket raises when a server is gone, slow or talks nonsense.
TROUBLE: Final = (RedisError, OSError, EOFError)

# These say that the server as a whole cannot serve for now, or not any more as the primary.
_SERVER_IN_TROUBLE: Final = (ReadOnlyError, ClusterDownError, TryAgainError)

_BYTES: Final = (bytes, type(None))
_SHAPES: Final[dict[str, tuple[type, ...]]] = {
    "GET": _BYTES,
    "GETEX": _BYTES,
    "SET": (bytes, type(None)),
    "MGET": (list,),
    "HMGET": (list,),
    "HGETALL": (dict, list),
    "UNLINK": (int,),
    "HDEL": (int,),
    "EXPIRE": (int,),
    "PTTL": (int,),
    "EXISTS": (int,),
    "EVALSHA": (int, bytes, list),
}


class NonsenseError(RedisError):
    """A reply that the command cannot have: the connection is out of step, or this is no Valkey."""


class InTroubleError(RedisError):
    """The server answered that it cannot serve."""


def unknown_scripts(batch: Sequence[Command], replies: Sequence[Reply]) -> list[int]:
    return [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError) and batch[i][0] == "EVALSHA"]


def judge(batch: Sequence[Command], replies: list[Reply]) -> list[Reply] | Unavailable:
    """The replies as flows take them. InTroubleError and NonsenseError: the connection is not to be used again."""
    for i, reply in enumerate(replies):
        if isinstance(reply, ResponseError | ClusterDownError):
            if str(reply).startswith("WRONGTYPE"):
                replies[i] = commands.WRONG_TYPE
                continue
            return _refused(reply)
        name = batch[i][0]
        if type(reply) not in _SHAPES[str(name)] or (
            type(reply) is list and name in ("MGET", "HMGET") and len(reply) != _asked_for(batch[i])
        ):
            raise NonsenseError(f"{name!r} was answered by {type(reply).__name__}.")
    return replies


def _asked_for(command: Command) -> int:
    return len(command) - (1 if command[0] == "MGET" else 2)


def _refused(error: Exception) -> Unavailable:
    if isinstance(error, _SERVER_IN_TROUBLE):
        raise InTroubleError(str(error)) from error
    if isinstance(error, OutOfMemoryError):
        _once("cache.out_of_memory", "writes are refused until the server evicts or grows", error)
    elif isinstance(error, NoPermissionError):
        _once("cache.not_permitted", "give the user the rules of cache.access", error)
    elif isinstance(error, AskError):
        _once("cache.moved", "this is a cluster: pass a RedisCluster client", error)
    else:
        _once("cache.refused", "the server refused a command", error)
    return Unavailable(type(error).__name__)


def note_trouble(error: BaseException) -> None:
    """Says once what somebody must mend; what mends itself is said by the breaker."""
    if isinstance(error, AuthenticationError):
        _once("cache.not_authenticated", "check the user and password (or IAM token) of the client", error)


_said: set[str] = set()


def _once(event: str, what_to_do: str, error: Any) -> None:
    if event not in _said:
        _said.add(event)
        _log.error("%s: %s: %s", event, what_to_do, error)
