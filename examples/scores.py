"""How well a job fits a user: the function that the cache saves the application from calling."""

from __future__ import annotations

import os
import time
from functools import cache as once
from typing import TYPE_CHECKING, Any

import sqlalchemy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_JOBS = sqlalchemy.text("SELECT id, title, skills, salary FROM jobs WHERE id = ANY(:ids)")
_PREFERENCES = sqlalchemy.text("SELECT data FROM preferences WHERE user_id = :user")


def calculate(engine: sqlalchemy.Engine, preferences: Mapping[str, Any], job_ids: Sequence[int]) -> dict[int, Any]:
    """`{job_id: score}` of the jobs that there are: the record of seven fields that the cache packs."""
    with engine.connect() as connection:
        jobs = connection.execute(_JOBS, {"ids": list(job_ids)}).all()
    return {job.id: _score(preferences, job.skills, job.salary) for job in jobs}


def _score(preferences: Mapping[str, Any], skills: Sequence[int], salary: int) -> dict[str, Any]:
    wanted = set(preferences.get("skills", ()))
    fit = round(100 * len(wanted & set(skills)) / (len(set(skills)) or 1))
    pay = min(100, round(100 * salary / (preferences.get("salary") or salary)))
    return {
        "score": round(0.7 * fit + 0.3 * pay, 2),
        "skills": fit,
        "title": 50,
        "location": 50,
        "salary": pay,
        "seniority": 50,
        "at": int(time.time()),
    }


def load_preferences(engine: sqlalchemy.Engine, user_id: int) -> dict[str, Any]:
    with engine.connect() as connection:
        data: dict[str, Any] | None = connection.scalar(_PREFERENCES, {"user": user_id})
    return data or {}


@once
def _engine() -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(os.environ["DATABASE_URL"])


def score(user_id: int, job_ids: list[int]) -> dict[int, Any]:
    """For `python -m scripts.warm_popular_jobs examples.scores:score`."""
    return calculate(_engine(), load_preferences(_engine(), user_id), job_ids)
