"""Keys: `{entity}:{identifier}:{field}`. Pure functions.

Ids are whole numbers, so that no id can reach into another key; anything else is refused here.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Final

from cache.access import KEY_PATTERNS
from cache.errors import InvalidKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ID: Final = 2**63 - 1
JOB_GENERATIONS: Final = "job:generations"
# The server's scripts take some 8,000 words; a list has a hundred jobs, and a user's hash keeps 500.
MAX_JOBS_PER_CALL: Final = 2_000
WARMED_LISTS: Final = "warming:lists"
WARMING_RUN: Final = "warming:run"
_LIBRARY_S_OWN: Final = re.compile("|".join(map(fnmatch.translate, KEY_PATTERNS)))


def checked(name: str, identifier: int) -> int:
    """`identifier`. Raises InvalidKeyError for what is no id."""
    if type(identifier) is not int or not 0 <= identifier <= MAX_ID:
        raise InvalidKeyError(f"{name} is {identifier!r}; it must be a whole number (int) from 0 to {MAX_ID}.")
    return identifier


def match(user_id: int) -> str:
    """Layout hash: the hash of all of a user's scores. Layout keys: the user's generation."""
    return f"match:{checked('user_id', user_id)}"


def match_score(user_id: int, job_id: int) -> str:
    """Layout keys: one score."""
    return f"match:{checked('user_id', user_id)}:{checked('job_id', job_id)}"


def warm_stamp(user_id: int) -> str:
    """Layout keys: what warming noted about a user."""
    return f"match:{checked('user_id', user_id)}:warm"


def check_job_ids(identifiers: list[int]) -> None:
    """Raises InvalidKeyError for the first that is no id, and for too many. At once, because a list has a hundred."""
    if len(identifiers) > MAX_JOBS_PER_CALL:
        raise InvalidKeyError(f"{len(identifiers)} job_ids in one call; at most {MAX_JOBS_PER_CALL}. Split the list.")
    if identifiers and (set(map(type, identifiers)) != {int} or min(identifiers) < 0 or max(identifiers) > MAX_ID):
        for identifier in identifiers:
            checked("job_id", identifier)


def score_field(job_id: int) -> bytes:
    """A job's field in `match:{user_id}` and in the hash of job generations."""
    return _FIELDS[checked("job_id", job_id)]


def score_fields(job_ids: Iterable[int]) -> list[bytes]:
    """`score_field` of each; they have been checked."""
    return list(map(_FIELDS.__getitem__, job_ids))


class _Fields(dict[int, bytes]):
    """Fields by job, made when first asked for: a list view has a hundred, twice. All are forgotten at the limit."""

    _LIMIT: Final = 1 << 17

    def __missing__(self, job_id: int) -> bytes:
        if len(self) >= self._LIMIT:
            self.clear()
        field = self[job_id] = b"%d" % job_id
        return field


_FIELDS: Final = _Fields()


def company(company_id: int) -> str:
    return f"company:{checked('company_id', company_id)}:enrichment"


def ijp(user_id: int) -> str:
    return f"ijp:{checked('user_id', user_id)}"


def session(user_id: int) -> str:
    return f"user:{checked('user_id', user_id)}:session"


def generic(key: str) -> str:
    """A caller's own key, as `get_with_lock` takes it.

    Raises InvalidKeyError for one without a lease key, and for what may be a key of the library's own.
    """
    if type(key) is not str or not key:
        raise InvalidKeyError(f"key is {key!r}; it must be a non-empty str.")
    if _LIBRARY_S_OWN.match(key):
        raise InvalidKeyError(
            f"key {key!r} is kept for the library itself, as are {', '.join(KEY_PATTERNS)}. "
            "Any other key is allowed: 'report:7', say."
        )
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise InvalidKeyError(f"key {key!r} has no bytes in UTF-8: {error.reason}.") from None
    lease(key)
    return key


def lease(key: str) -> str:
    """The lease of `key`, in the key's own cluster slot: `lock:{<key>}`.

    A key with its own hash tag (`a:{tag}:b`) has the lease `lock:<key>`, which hashes by the same tag. Other
    braces would change the slot and are refused, as is `{key}` as a whole: its lease would be that of `key`.
    """
    if "{" not in key and "}" not in key:
        return f"lock:{{{key}}}"
    opening, closing = key.find("{"), key.find("}")
    is_part = 0 <= opening < closing - 1 and closing - opening + 1 < len(key)
    if key.count("{") == key.count("}") == 1 and is_part:
        return f"lock:{key}"
    raise InvalidKeyError(
        f"key {key!r} has braces that are no hash tag; use none, or exactly one pair around part of the key."
    )
