"""Memory of the cached data, predicted from what the server allocates for each entry. Pure.

What Valkey 9.1 asks its allocator for, read in its sources (object.c, hashtable.c, listpack.c, sds.h of
https://github.com/valkey-io/valkey) and seen in `MEMORY USAGE`: a key's object holds header, expiry and key in one
piece; a short value lies in it too; a user's scores are one listpack. Two tables of 64-byte buckets, of all keys and of
those with a TTL, hold seven pointers each, double when they are full, and grow children where a bucket overflows.

What an allocator hands out for a request is its size class. ElastiCache's engine uses jemalloc, the embedded server
libc's malloc; both are modelled, and libc's is checked against the embedded server.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cache import codec, keys
from cache.nodes import NODE_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cache import Catalog

    Allocator = Callable[[int], int]

LAYOUTS: Final = ("hash", "keys")
_OBJECT: Final = 16
_EXPIRY: Final = 8
_POINTER: Final = 8  # in the object; not needed where the value lies in it
_EMBEDDED_UP_TO: Final = 128  # expiry, key and value, for the value to lie in the object
_BUCKET: Final = 64
_PER_BUCKET: Final = 7
# What the two tables take for an entry, halfway between two doublings; for counts that are not known exactly.
TABLE_BYTES_OF_ENTRY: Final = 2 * round(_BUCKET / (_PER_BUCKET * 0.75))
_LISTPACK: Final = 7  # six bytes of header, one that ends it
_GENERATION: Final = codec.GENERATION_BYTES
_STAMP: Final = 12
_PACKED_SCORE: Final = codec.PACKED_BYTES
_FORMAT: Final = 1
_SESSION_HEAD: Final = 5
_MMAP_FROM: Final = 128 * 1024
_PAGE: Final = 4096
# A number in a listpack: greatest value of each encoding, and its bytes (listpack.c).
_LISTPACK_NUMBERS: Final = ((127, 1), (4_095, 2), (32_767, 3), (8_388_607, 4), (2**31 - 1, 5))


def jemalloc(size: int) -> int:
    """The size class of the engine's jemalloc (quantum 8): multiples of 8 up to 64, then four in each doubling."""
    if size <= 64:
        return max(8, -(-size // 8) * 8)
    spacing = 1 << ((size - 1).bit_length() - 3)
    return -(-size // spacing) * spacing


def libc(size: int) -> int:
    """What glibc's malloc makes usable, as the server counts it: chunks of 16 bytes, eight of them its own."""
    if size >= _MMAP_FROM:
        return -(-(size + 16) // _PAGE) * _PAGE - 16
    return max(24, -(-(size + 8) // 16) * 16 - 8)


ALLOCATORS: Final[dict[str, Allocator]] = {"jemalloc": jemalloc, "libc": libc}


def text_bytes(length: int) -> int:
    """A string with its header and final zero (sds.h)."""
    header = 1 if length < 32 else 3 if length <= 252 else 5
    return header + length + 1


def string_entry(key: str, value_bytes: int, allocate: Allocator) -> int:
    """A key with a TTL and a string value."""
    entry = _key_object(key)
    embedded = entry + 3 + value_bytes + 1
    if embedded - _OBJECT <= _EMBEDDED_UP_TO:
        return allocate(embedded - _POINTER)
    return allocate(entry) + allocate(text_bytes(value_bytes))


def scores_entry(user: int, jobs: list[int], allocate: Allocator, *, is_warmed: bool = False) -> int:
    """A user's hash of packed scores, of up to 512 fields."""
    packed = _LISTPACK + _listpack_text(1) + _listpack_text(_GENERATION)
    packed += sum(_listpack_number(job) + _listpack_text(_PACKED_SCORE) for job in jobs)
    if is_warmed:
        packed += _listpack_text(1) + _listpack_text(_STAMP)
    return allocate(_key_object(keys.match(user))) + allocate(packed)


def tables(entries: int, allocate: Allocator) -> int:
    """The two tables that hold this many keys with a TTL."""
    if not entries:
        return 0
    buckets = 1
    while buckets * _PER_BUCKET < entries:
        buckets *= 2
    # Keys fall into buckets at random: Poisson. Past seven a bucket gets children: one entry gives way to the pointer.
    load = entries / buckets
    children = 0.0
    probability = math.exp(-load)
    for held in range(1, 64):
        probability *= load / held
        children += probability * max(0, math.ceil((held - _PER_BUCKET) / (_PER_BUCKET - 1)))
    return 2 * (allocate(buckets * _BUCKET) + round(buckets * children) * allocate(_BUCKET))


def _key_object(key: str) -> int:
    return _OBJECT + _EXPIRY + 1 + text_bytes(len(key))


def _listpack_text(length: int) -> int:
    return (1 if length < 64 else 2) + length + 1


def _listpack_number(number: int) -> int:
    return next((size for most, size in _LISTPACK_NUMBERS if number <= most), 9) + 1


@dataclass(frozen=True, slots=True)
class Projection:
    """Bytes at a number of users with everything resident, by cache type and for the tables."""

    users: int
    layout: str
    allocator: str
    types: Mapping[str, int]
    tables: int
    jobs_hash: int  # the generations of the jobs, shared by all users

    @property
    def total(self) -> int:
        return sum(self.types.values()) + self.tables + self.jobs_hash


def items(catalog: Catalog, users: int) -> dict[str, int]:
    """How many items of each cache type the caching strategy plans at this many users: in proportion to its 10,000."""
    return {cache_type.name: round(cache_type.item_count * users / catalog.ijp.item_count) for cache_type in catalog}


def project(catalog: Catalog, users: int, layout: str, allocator: str) -> Projection:
    """The strategy's own plan at this many users: every user's list of scores, preferences and session at once."""
    allocate = ALLOCATORS[allocator]
    count = items(catalog, users)
    per_user = count["match"] // users
    jobs = list(range(planned_jobs(users) - per_user, planned_jobs(users)))
    user, company = max(users - 1, 0), max(count["company"] - 1, 0)
    sizes = {cache_type.name: cache_type.item_size_bytes for cache_type in catalog}
    types = {
        "company": count["company"] * string_entry(keys.company(company), _FORMAT + sizes["company"], allocate),
        "ijp": count["ijp"] * string_entry(keys.ijp(user), _FORMAT + sizes["ijp"], allocate),
        "session": count["session"] * string_entry(keys.session(user), _SESSION_HEAD + sizes["session"], allocate),
    }
    others = count["company"] + count["ijp"] + count["session"]
    if layout == "hash":
        types["match"] = users * scores_entry(user, jobs, allocate)
        entries = others + users
    else:
        score = string_entry(keys.match_score(user, jobs[-1]), _PACKED_SCORE + _GENERATION, allocate)
        types["match"] = count["match"] * score + users * string_entry(keys.match(user), _GENERATION, allocate)
        entries = others + count["match"] + users
    return Projection(
        users, layout, allocator, types, tables(entries, allocate), job_generations(planned_jobs(users), allocate)
    )


def job_generations(jobs: int, allocate: Allocator) -> int:
    """The hash of the jobs' generations: a table of its own, field and value in one piece."""
    field = text_bytes(len(str(jobs))) + 1 + text_bytes(_GENERATION)
    return jobs * allocate(field) + tables(jobs, allocate) // 2


def planned_jobs(users: int) -> int:
    """Vacancies at this many users, as the scenario `expected` has them: one for each user."""
    return users


def full_at(catalog: Catalog, node_type: str, layout: str) -> int:
    """The most users whose planned data the node type can use memory for, by its engine's allocator."""
    usable = NODE_TYPES[node_type].usable_bytes
    low, high = 1_000, 1_000_000_000
    while high - low > max(1, low // 1_000):
        middle = (low + high) // 2
        low, high = (middle, high) if project(catalog, middle, layout, "jemalloc").total <= usable else (low, middle)
    return low
