"""The one declaration of what RoleFerry caches.

A fact about a cache type (key, TTL, target hit rate, planned size, expected traffic) is written here and
nowhere else: the library stores by it, the stack sets alarms and draws dashboards from it, the load test
judges by it and the sizing projects it. Pure data; no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
# Ten years; more is milliseconds taken for seconds. The deadlines that scores carry reach to 2106.
MAX_TTL_S: Final = 3650 * DAY


@dataclass(frozen=True, slots=True)
class CacheType:
    """One cache type. Sizes are bytes of one item as JSON, counts are items at 10,000 users.

    `lookups_per_minute_day` is expected from 07:00 to 23:00, `lookups_per_minute_night` in the other eight
    hours, both at 10,000 users; the load test's scenario `expected` argues them and a test compares the two.
    """

    name: str
    entity: str
    key_pattern: str
    ttl_s: int
    sliding: bool
    target_hit_rate: float
    item_size_bytes: int
    item_count: int
    lookups_per_minute_day: float
    lookups_per_minute_night: float
    reason: str

    def __post_init__(self) -> None:
        if not 1 <= self.ttl_s <= MAX_TTL_S:
            raise ValueError(f"{self.name}: ttl_s is {self.ttl_s!r}; it must be from 1 to {MAX_TTL_S} seconds.")
        if not 0 < self.target_hit_rate < 1:
            raise ValueError(
                f"{self.name}: target_hit_rate is {self.target_hit_rate!r}; it must lie between 0 and 1 (80 % is 0.8)."
            )


@dataclass(frozen=True, slots=True)
class Catalog:
    """The four cache types, by name. Iterates in the order of the caching strategy's tables."""

    match: CacheType
    company: CacheType
    ijp: CacheType
    session: CacheType

    def __iter__(self) -> Iterator[CacheType]:
        return (getattr(self, field.name) for field in fields(self))

    def __getitem__(self, name: str) -> CacheType:
        """The cache type called `name`. Raises KeyError with the known names."""
        if name not in self.names():
            raise KeyError(f"{name!r} is no cache type. Known: {', '.join(self.names())}.")
        found: CacheType = getattr(self, name)
        return found

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    def changed(self, *, ttl_s: Mapping[str, int] | None = None, targets: Mapping[str, float] | None = None) -> Catalog:
        """A copy with other TTLs (seconds) or target hit rates (fractions of 1), by cache type's name.

        Raises KeyError for an unknown name and ValueError for a value that no cache type may have.
        """
        by_name = {cache_type.name: cache_type for cache_type in self}
        for name, ttl in (ttl_s or {}).items():
            by_name[name] = replace(self[name], ttl_s=ttl)
        for name, target in (targets or {}).items():
            by_name[name] = replace(by_name[self[name].name], target_hit_rate=target)
        return Catalog(**by_name)


# A session's greatest lifetime, however busy it is. OWASP's Session Management Cheat Sheet asks for an
# absolute time-out and names 4 to 8 hours for an application that is used through an office day.
SESSION_MAX_LIFETIME_S: Final = 8 * HOUR

CATALOG: Final = Catalog(
    match=CacheType(
        name="match",
        entity="match",
        key_pattern="match:{user_id} {job_id}, as hash and field; layout keys: match:{user_id}:{job_id}",
        ttl_s=24 * HOUR,
        sliding=False,
        target_hit_rate=0.80,
        item_size_bytes=100,
        item_count=1_000_000,
        lookups_per_minute_day=840,
        lookups_per_minute_night=186,
        reason="the caching strategy: a job's change may show up to 24 h late; a user's change invalidates at once",
    ),
    company=CacheType(
        name="company",
        entity="company",
        key_pattern="company:{company_id}:enrichment",
        ttl_s=30 * DAY,
        sliding=False,
        target_hit_rate=0.90,
        item_size_bytes=5_000,
        item_count=5_000,
        lookups_per_minute_day=7.3,
        lookups_per_minute_night=1.6,
        reason="the caching strategy: companies are enriched again monthly",
    ),
    ijp=CacheType(
        name="ijp",
        entity="ijp",
        key_pattern="ijp:{user_id}",
        ttl_s=30 * DAY,
        sliding=False,
        target_hit_rate=0.95,
        item_size_bytes=2_000,
        item_count=10_000,
        lookups_per_minute_day=9.6,
        lookups_per_minute_night=2.1,
        reason=(
            "the caching strategy names none. Every change writes through, so the TTL bounds memory, not staleness; "
            "at two lookups a visit and one visit in two days, 24 h gives 76 %, 7 d 93 %, 14 d 96 % and 30 d 98 %, "
            "and 30 d leaves room for rarer visits at 20 MB"
        ),
    ),
    session=CacheType(
        name="session",
        entity="user",
        key_pattern="user:{user_id}:session",
        ttl_s=15 * MINUTE,
        sliding=True,
        target_hit_rate=0.99,
        item_size_bytes=1_000,
        item_count=10_000,
        lookups_per_minute_day=32.6,
        lookups_per_minute_night=7.2,
        reason=(
            "the caching strategy: the token's 15 min, sliding. Judged with the login writing the entry: if the first "
            "lookup of a visit were to miss, a visit would need 100 lookups to reach 99 %"
        ),
    ),
)
