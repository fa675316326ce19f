"""What a flow may ask for, the replies to it, and the commands. No I/O.

A command is a tuple of its words, the first key at the place where the server's own table of commands has it.
Replies come as redis-py's connections give them without response callbacks: bytes, ints, None, lists, and for
HGETALL a dict or a flat list.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

# No ints: hiredis asks for their repr, and where a signal's handler raises in that very moment (Ctrl-C, a worker's
# time limit) it goes on with a null pointer (hiredis 3.5.0, pack.c).
Word: TypeAlias = str | bytes
Command: TypeAlias = tuple[Word, ...]
Reply: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Send:
    """Send these commands in one round trip. Answered by the list of their replies, or by Unavailable.

    In a cluster those for one slot keep their order, and all of them count as unanswered if one shard does not answer.
    """

    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class SharedRead(Send):
    """Whoever can lets callers who read the same at one time share a reply to what was sent after each had called."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The server could not answer; `reason` says why, for a log."""

    reason: str


@dataclass(frozen=True, slots=True)
class Compute:
    """Call the caller's function. Answered by its value; what it raises goes through the flow."""

    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait this long, then go on."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class WaitForLease(Wait):
    """Another caller fills the key. Whoever can watch its lease may end the wait when `look` says that it is free,

    and wait up to `at_most_s`; whoever cannot waits `wait_s` and lets the flow look again.
    Answered by the reply to `look` that ended the wait, or by None.
    """

    lease: str
    look: Command
    at_most_s: float


def is_free(look: Command, reply: Reply) -> bool:
    """By the reply to `WaitForLease.look`: MGET of the lease and its key, or HMGET of the leases of a user's jobs."""
    if type(reply) is not list:
        return False
    return reply[0] is None if look[0] == "MGET" else None in reply


Step: TypeAlias = Send | Compute | Wait
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")
    Flow: TypeAlias = Generator[Step, Any, T]


def _script(name: str) -> tuple[str, str]:
    text = resources.files("cache").joinpath("lua", f"{name}.lua").read_text()
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), text


_NAMES: Final = (
    *("ensure_generation", "ensure_job_generations", "fill_scores", "replace_scores", "fill"),
    *("release", "release_jobs", "renew", "renew_jobs", "take_jobs", "take_lease"),
)
_HASH: Final = {name: _script(name)[0] for name in _NAMES}

_NAME_OF_HASH: Final = {script_hash: name for name, script_hash in _HASH.items()}

# Text by hash: whoever sends the commands falls back to it when the server does not know a script (NOSCRIPT).
SCRIPTS: Final = dict(_script(name) for name in _NAMES)

# The reply where a key holds a type that no release of the library writes there: undecodable bytes.
WRONG_TYPE: Final = b"\0"


def script_name(command: Command) -> str | None:
    """Which of the library's scripts an EVALSHA command calls; None for another command."""
    return _NAME_OF_HASH.get(str(command[1])) if command[0] == "EVALSHA" else None


def with_text(command: Command) -> Command:
    """An EVALSHA command as EVAL."""
    return ("EVAL", SCRIPTS[str(command[1])], *command[2:])


def get(key: str) -> Command:
    return ("GET", key)


def pttl(key: str) -> Command:
    return ("PTTL", key)


def get_and_extend(key: str, ttl_s: int) -> Command:
    return ("GETEX", key, "EX", str(ttl_s))


def mget(keys: list[str]) -> Command:
    return ("MGET", *keys)


def set_for(key: str, value: bytes, ttl_s: int) -> Command:
    return ("SET", key, value, "EX", str(ttl_s))


def take_lease(lease: str, token: bytes, life_ms: int) -> Command:
    return ("EVALSHA", _HASH["take_lease"], "1", lease, token, str(life_ms))


def force_lease(lease: str, token: bytes, life_ms: int) -> Command:
    """Takes the lease from whoever holds it: what they computed is refused."""
    return ("SET", lease, token, "PX", str(life_ms))


def delete(*keys: str) -> Command:
    return ("UNLINK", *keys)


def expire(key: str, ttl_s: int) -> Command:
    return ("EXPIRE", key, str(ttl_s))


def hgetall(key: str) -> Command:
    return ("HGETALL", key)


def hmget(key: str, *fields: Word) -> Command:
    return ("HMGET", key, *fields)


def hdel(key: str, field: bytes) -> Command:
    return ("HDEL", key, field)


def ensure_generation(key: str, nonce: bytes, ttl_s: int, *, in_hash: bool) -> Command:
    return ("EVALSHA", _HASH["ensure_generation"], "1", key, nonce, str(ttl_s), str(int(in_hash)))


def ensure_job_generations(key: str, nonce: bytes, jobs: list[bytes]) -> Command:
    return ("EVALSHA", _HASH["ensure_job_generations"], "1", key, nonce, *jobs)


def fill_scores(key: str, generation: bytes, *, ttl_s: int, now: int, limit: int, entries: bytes) -> Command:
    return ("EVALSHA", _HASH["fill_scores"], "1", key, generation, str(ttl_s), str(now), str(limit), entries)


def replace_scores(key: str, *, seen: bytes, ttl_s: int, content: bytes) -> Command:
    return ("EVALSHA", _HASH["replace_scores"], "1", key, seen, str(ttl_s), content)


def fill(key: str, lease: str, token: bytes, value: bytes, ttl_s: int) -> Command:
    return ("EVALSHA", _HASH["fill"], "2", key, lease, token, value, str(ttl_s))


def release(lease: str, token: bytes) -> Command:
    return ("EVALSHA", _HASH["release"], "1", lease, token)


def renew(lease: str, token: bytes, life_ms: int) -> Command:
    return ("EVALSHA", _HASH["renew"], "1", lease, token, str(life_ms))


def take_jobs(lease: str, token: bytes, life_ms: int, jobs: list[bytes]) -> Command:
    return ("EVALSHA", _HASH["take_jobs"], "1", lease, token, str(life_ms), *jobs)


def leases_asked_for(command: Command) -> int:
    """How many jobs a `take_jobs` names: as many scores were missing. 0 for another command."""
    return len(command) - 6 if script_name(command) == "take_jobs" else 0


def track(prefixes: Sequence[str]) -> Command:
    """From here on the connection is told of every change of a key under these prefixes."""
    words = [word for prefix in prefixes for word in ("PREFIX", prefix)]
    return ("CLIENT", "TRACKING", "ON", "BCAST", *words)


def ping() -> Command:
    return ("PING",)


def renew_jobs(lease: str, token: bytes, life_ms: int, jobs: list[bytes]) -> Command:
    return ("EVALSHA", _HASH["renew_jobs"], "1", lease, token, str(life_ms), *jobs)


def release_jobs(lease: str, token: bytes) -> Command:
    return ("EVALSHA", _HASH["release_jobs"], "1", lease, token)
