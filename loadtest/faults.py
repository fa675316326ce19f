"""What goes wrong at a virtual time: `flush@3d`, `warming-stopped@2d+12h`, `ttl-halved:match@2d`.

flush           the cache is empty from one moment to the next
warming-stopped the hourly warming does not run
ttl-halved      values of one cache type are written with half their TTL, from then on
storm           every job is updated at once (an import): no stored score is valid any more
node-lost       nothing answers; what comes back is an empty node
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cache import CATALOG
from loadtest.errors import ScenarioError
from loadtest.scenarios import DAY_S, HOUR_S

# How long each fault lasts where no `+DURATION` says so; None: to the end of the run. 0: a moment.
_DEFAULT_DURATION_S: Final[dict[str, int | None]] = {
    "flush": 0,
    "warming-stopped": None,
    "ttl-halved": None,
    "storm": 0,
    # Detection and promotion, or a new node, take "a few minutes":
    # https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/AutoFailover.html (read 2026-11).
    "node-lost": 5 * 60,
}
KINDS: Final = tuple(_DEFAULT_DURATION_S)
_UNITS: Final = {"s": 1, "m": 60, "h": HOUR_S, "d": DAY_S}
_FAULT: Final = re.compile(r"(?P<kind>[a-z-]+)(:(?P<type>\w+))?@(?P<at>[\d.]+[smhd])(\+(?P<lasts>[\d.]+[smhd]))?")
_FORM: Final = (
    "a fault is KIND@TIME or KIND@TIME+DURATION, as flush@3d or warming-stopped@36h+12h; ttl-halved names a cache "
    f"type, as ttl-halved:match@2d. Kinds: {', '.join(KINDS)}; units: s, m, h, d"
)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """`at_s` and `until_s` are virtual seconds since the start; until_s is None where it never ends."""

    at_s: int
    kind: str
    until_s: int | None = None
    cache_type: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.cache_type}" if self.cache_type else self.kind


def parse(text: str) -> Fault:
    """The fault that an option's text names. Raises ScenarioError."""
    found = _FAULT.fullmatch(text)
    if not found or found["kind"] not in KINDS:
        raise ScenarioError(f"--fault {text!r}: {_FORM}.")
    kind, cache_type = found["kind"], found["type"]
    if (kind == "ttl-halved") != (cache_type is not None) or (cache_type and cache_type not in CATALOG.names()):
        raise ScenarioError(f"--fault {text!r}: ttl-halved, and no other, names one of {', '.join(CATALOG.names())}.")
    lasts = duration_s(found["lasts"]) if found["lasts"] else _DEFAULT_DURATION_S[kind]
    if _DEFAULT_DURATION_S[kind] == 0 and lasts:
        raise ScenarioError(f"--fault {text!r}: {kind} is a moment and has no duration.")
    at = duration_s(found["at"])
    return Fault(at, kind, None if lasts is None else at + lasts, cache_type)


def duration_s(text: str) -> int:
    """Seconds of `90s`, `15m`, `1.5h` or `2d`. Raises ScenarioError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found:
        raise ScenarioError(f"{text!r} is no duration; write a number and s, m, h or d, as 12h.")
    return round(float(found[1]) * _UNITS[found[2]])
