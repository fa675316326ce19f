"""Match scores as the load test and the tests use them."""

from __future__ import annotations

from typing import Any

RECORD = {"score": 87.25, "skills": 1, "title": 2, "location": 3, "salary": 4, "seniority": 100, "at": 1_767_571_200}


def scores(jobs: list[int]) -> dict[int, dict[str, Any]]:
    return {job: RECORD | {"score": job % 100 + 0.25} for job in jobs}
