"""What all benchmarks store and ask for: RoleFerry's match scores, 100 jobs a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

JOBS_PER_USER: Final = 100
TTL_S: Final = 86_400
# The declared record: 95 bytes as compact JSON, 108 as `json.dumps` writes it.
_RECORD: Final = {"skills": 90, "title": 80, "location": 100, "salary": 65, "seniority": 55, "at": 1_790_000_000}


def score(user: int, job: int) -> dict[str, Any]:
    return {"score": (user * 7919 + job * 104_729) % 10_001 / 100, **_RECORD}


def scores(user: int, jobs: Iterable[int]) -> dict[int, dict[str, Any]]:
    return {job: score(user, job) for job in jobs}


def job_list(first: int = 100_000) -> list[int]:
    """The jobs of one list view."""
    return list(range(first, first + JOBS_PER_USER))


def key(user: int, job: int) -> str:
    """The brief's key, for peers that keep a string per score."""
    return f"match:{user}:{job}"
