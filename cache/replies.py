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
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from cache import commands
from cache.commands import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.commands import Command, Reply, Word

_log = logging.getLogger("cache")

# All that a client or a socket raises when a server is gone, slow or talks nonsense.
TROUBLE: Final = (RedisError, OSError, EOFError)

# These say that the server as a whole cannot serve for now, or not any more as the primary.
_SERVER_IN_TROUBLE: Final = (ReadOnlyError, ClusterDownError)
# As a node says it of a single slot, which moves or has lost its primary, while it serves the others.
_SLOT_NOT_SERVED: Final = "Hash slot not served"
# There the code is ERR.
_REFUSED_IN_SCRIPT: Final = "ACL failure in script"

# By command: the types that its reply may have, and how many of its words are not answered one by one (0: none are).
_BYTES: Final = (bytes, type(None))
_SHAPES: Final[dict[Word, tuple[tuple[type, ...], int]]] = {
    "GET": (_BYTES, 0),
    "GETEX": (_BYTES, 0),
    "SET": (_BYTES, 0),
    "MGET": ((list,), 1),
    "HMGET": ((list,), 2),
    "HGETALL": ((dict, list), 0),
    "UNLINK": ((int,), 0),
    "HDEL": ((int,), 0),
    "EXPIRE": ((int,), 0),
    "PTTL": ((int,), 0),
    "EVALSHA": ((int, bytes, list), 0),
    "EVAL": ((int, bytes, list), 0),
    "CLUSTER": ((list,), 0),
    "ASKING": ((bytes,), 0),
}


class NonsenseError(RedisError):
    """A reply that the command cannot have: the connection is out of step, or this is no Valkey."""


class NoConnectionError(RedisTimeoutError):
    """None was free in time: that says nothing against those that there are, nor against one that is being made."""

    def __init__(self) -> None:
        super().__init__("no connection was free in time")


class ClosedError(RedisError):
    """The service was closed in this event loop, while others may use it on."""


class InTroubleError(RedisError):
    """The server answered that it cannot serve."""


def unknown_scripts(batch: Sequence[Command], replies: Sequence[Reply]) -> list[int]:
    if NoScriptError not in map(type, replies):  # nearly always; each lookup passes here
        return []
    return [i for i, reply in enumerate(replies) if type(reply) is NoScriptError and batch[i][0] == "EVALSHA"]


def judge(batch: Sequence[Command], replies: list[Reply], *, in_cluster: bool = False) -> list[Reply] | Unavailable:
    """The replies as flows take them; `in_cluster` those that lead to another node stay in their places, as AskError.

    What it raises says that the connection is not to be used again.
    """
    for i, reply in enumerate(replies):
        command = batch[i]
        types, unanswered = _SHAPES[command[0]]
        if type(reply) in types and (not unanswered or len(reply) == len(command) - unanswered):
            continue
        if in_cluster and isinstance(reply, AskError):
            continue
        if isinstance(reply, RedisConnectionError):  # as LOADING and NOAUTH are
            raise reply
        if not isinstance(reply, (ResponseError, ClusterDownError)):
            raise NonsenseError(f"{command[0]!r} was answered by {type(reply).__name__}.")
        if not str(reply).startswith("WRONGTYPE"):
            return _refused(reply)
        replies[i] = commands.WRONG_TYPE
    return replies


def _refused(error: Exception) -> Unavailable:
    if isinstance(error, TryAgainError) or _SLOT_NOT_SERVED in str(error):
        return Unavailable(type(error).__name__)
    if isinstance(error, _SERVER_IN_TROUBLE):
        raise InTroubleError(str(error)) from error
    if isinstance(error, OutOfMemoryError):
        _once("cache.out_of_memory", "writes are refused until the server evicts or grows", error)
    elif isinstance(error, NoPermissionError) or _REFUSED_IN_SCRIPT in str(error):
        _not_permitted(error)
    elif isinstance(error, AskError):
        _once("cache.moved", "this is a cluster: pass a RedisCluster client, or cluster=True", error)
    else:
        _once("cache.refused", "the server refused a command", error)
    return Unavailable(type(error).__name__)


def _not_permitted(error: BaseException) -> None:
    _once("cache.not_permitted", "give the user the rules of cache.access", error)


def note_trouble(error: BaseException) -> None:
    """Says once what somebody must mend; what mends itself is said by the breaker."""
    if isinstance(error, AuthenticationError):
        _once("cache.not_authenticated", "check the user and password (or IAM token) of the client", error)
    elif isinstance(error, NoPermissionError):  # in a handshake
        _not_permitted(error)


_said: set[str] = set()


def _once(event: str, what_to_do: str, error: Any) -> None:
    if event not in _said:
        _said.add(event)
        _log.error("%s: %s: %s", event, what_to_do, error)
