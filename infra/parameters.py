"""Engine parameters: what ElastiCache lets one modify, and what this stack sets, each with its reason.

The engine itself knows parameters that ElastiCache refuses, so a server that takes a value proves nothing. The table
is the judge. Pure data and checks; no I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cache.catalog import CATALOG
from cache.layouts import MAX_SCORES_PER_USER
from cache.nodes import RESERVED_MEMORY_PERCENT

if TYPE_CHECKING:
    from collections.abc import Mapping

# Engine versions on ElastiCache and their parameter group families:
# https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/engine-versions.html (read 2026-11).
FAMILIES: Final = {
    "7.2": "valkey7",
    "8.0": "valkey8",
    "8.1": "valkey8",
    "8.2": "valkey8",
    "9.0": "valkey9",
    "9.1": "valkey9",
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """Whole numbers from `low` to `high`."""

    low: int
    high: int

    def allows(self, value: str) -> bool:
        return bool(re.fullmatch(r"-?\d{1,10}", value, re.ASCII)) and self.low <= int(value) <= self.high

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class Words:
    """One of a few words."""

    words: tuple[str, ...]

    def allows(self, value: str) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"


_YES_NO: Final = Words(("yes", "no"))
_U32: Final = 2**32 - 1

# The parameters that the families valkey7, valkey8 and valkey9 all let one modify, as far as a cache needs them, by
# https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/ParameterGroups.Engine.html: Valkey 7.2 has the parameters of
# Redis OSS 7, and those of Valkey 8 are compatible with them.
MODIFIABLE: Final[dict[str, Numbers | Words]] = {
    "activedefrag": _YES_NO,
    "activerehashing": _YES_NO,
    "client-output-buffer-limit-normal-hard-limit": Numbers(0, _U32),
    "hash-max-listpack-entries": Numbers(0, _U32),
    "hash-max-listpack-value": Numbers(0, _U32),
    "lazyfree-lazy-eviction": _YES_NO,
    "lazyfree-lazy-expire": _YES_NO,
    "lazyfree-lazy-server-del": _YES_NO,
    "lazyfree-lazy-user-del": _YES_NO,
    "maxmemory-policy": Words(
        (
            "volatile-lru",
            "allkeys-lru",
            "volatile-lfu",
            "allkeys-lfu",
            "volatile-random",
            "allkeys-random",
            "volatile-ttl",
            "noeviction",
        )
    ),
    "maxmemory-samples": Numbers(1, 64),
    # ElastiCache takes 100 too, which leaves nothing to data.
    "reserved-memory-percent": Numbers(0, 99),
    "slowlog-log-slower-than": Numbers(-1, _U32),
    "slowlog-max-len": Numbers(0, _U32),
    "tcp-keepalive": Numbers(0, _U32),
    "timeout": Numbers(0, _U32),
}

# What people try, and what ElastiCache says to it.
REFUSED: Final = {
    "appendonly": "ElastiCache offers no append-only file on these engines; snapshots and replicas keep the data",
    "cluster-enabled": "the setting clusterMode decides it",
    "maxmemory": "the node type decides it; reserved-memory-percent is what one can change",
    "save": "ElastiCache makes the snapshots; set snapshotRetentionDays and snapshotWindow",
}

# A listpack holds fields and values of a user's hash side by side. Above either limit the server changes the whole
# hash into a table of several times the size, for good.
LISTPACK_ENTRIES: Final = 512
LISTPACK_VALUE: Final = 128
# Format version, deadline and generation, that a score stored as JSON carries before its text.
SCORE_HEAD_BYTES: Final = 13

LISTPACK_MINIMUM: Final = {
    # The scores, and beside them the user's generation and what warming notes.
    "hash-max-listpack-entries": MAX_SCORES_PER_USER + 2,
    "hash-max-listpack-value": CATALOG.match.item_size_bytes + SCORE_HEAD_BYTES,
}


@dataclass(frozen=True, slots=True)
class Parameter:
    value: str
    reason: str


DEFAULTS: Final = {
    "maxmemory-policy": Parameter(
        "volatile-lru", "every entry has a TTL; the hash of job generations has none and must outlive pressure"
    ),
    "reserved-memory-percent": Parameter(
        str(RESERVED_MEMORY_PERCENT), "a fork for a snapshot or a new replica needs it; the sizing reckons with it"
    ),
    "hash-max-listpack-entries": Parameter(
        str(LISTPACK_ENTRIES), f"a user's hash has up to {MAX_SCORES_PER_USER} scores, a generation and warming's stamp"
    ),
    "hash-max-listpack-value": Parameter(
        str(LISTPACK_VALUE), "a score that falls back to JSON takes about 113 bytes; one above the limit unpacks all"
    ),
    "lazyfree-lazy-eviction": Parameter("yes", "freeing a big hash must not hold up the commands behind it"),
    "lazyfree-lazy-expire": Parameter("yes", "as for eviction"),
    "lazyfree-lazy-server-del": Parameter("yes", "as for eviction; also when a value is overwritten"),
    "lazyfree-lazy-user-del": Parameter("yes", "the library's scripts use DEL; this makes it free as UNLINK does"),
    "slowlog-log-slower-than": Parameter("10000", "10 ms in microseconds; a lookup takes well under 1 ms"),
    "slowlog-max-len": Parameter("128", "the log is delivered to CloudWatch; the server need not keep more"),
}


def problem(name: str, value: str) -> str | None:
    """What is wrong with an override, in a sentence; None if ElastiCache and the library take it."""
    if name in REFUSED:
        return f"it cannot be set: {REFUSED[name]}."
    if name not in MODIFIABLE:
        return f"it is no parameter that ElastiCache lets one modify. Known: {', '.join(MODIFIABLE)}."
    if not MODIFIABLE[name].allows(value):
        return f"it must be {MODIFIABLE[name]}."
    if name in LISTPACK_MINIMUM and int(value) < LISTPACK_MINIMUM[name]:
        return (
            f"the layout of match scores needs at least {LISTPACK_MINIMUM[name]}, "
            "else every user's hash takes several times the memory."
        )
    return None


def parameters(*, cluster_mode: bool, overrides: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the group by name, overrides applied. A group for cluster mode says so itself."""
    values = {name: parameter.value for name, parameter in DEFAULTS.items()} | dict(overrides)
    if cluster_mode:
        values["cluster-enabled"] = "yes"
    return dict(sorted(values.items()))
