"""The values that RoleFerry's origins would give, and the library's flow for each call."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from cache import keys
from loadtest.traffic import Call

if TYPE_CHECKING:
    from cache import Catalog
    from cache.codec import Json
    from cache.commands import Flow
    from cache.flows import Flows
    from loadtest.traffic import CacheCall

_POOL = 256


class Origins:
    """Values of the catalogue's planned sizes. Scores are the packed record of seven fields."""

    def __init__(self, catalog: Catalog, seed: int, now: int) -> None:
        rng = random.Random(seed)
        self._scores = [
            {
                "score": round(rng.uniform(0, 100), 2),
                "skills": rng.randrange(101),
                "title": rng.randrange(101),
                "location": rng.randrange(101),
                "salary": rng.randrange(101),
                "seniority": rng.randrange(101),
                "at": now - rng.randrange(86_400),
            }
            for _ in range(_POOL)
        ]
        self.company = _padded({"name": "Example GmbH", "domain": "example.com"}, catalog.company.item_size_bytes)
        self.ijp = _padded({"titles": ["engineer"], "remote": True}, catalog.ijp.item_size_bytes)
        self.session = _padded({"token": "0" * 32, "roles": ["candidate"]}, catalog.session.item_size_bytes)

    def scores(self, user: int, jobs: list[int]) -> dict[int, dict[str, Json]]:
        pool, first = self._scores, user * 31
        return {job: pool[(first + job) % _POOL] for job in jobs}

    def scores_of_users(self, wanted: dict[int, list[int]]) -> dict[int, dict[int, dict[str, Json]]]:
        """What warming asks for: `{user: [job, …]}` to `{user: {job: score}}`."""
        return {user: self.scores(user, jobs) for user, jobs in wanted.items()}


def text_of(size_bytes: int) -> str:
    """A value of this many bytes as JSON."""
    return "x" * max(0, size_bytes - 2)


def _padded(value: dict[str, Json], size_bytes: int) -> dict[str, Json]:
    """The value with a text that fills it up to about this size as JSON."""
    return value | {"text": "x" * max(0, size_bytes - 80)}


def flow_of(call: CacheCall, flows: Flows, origins: Origins) -> Flow[Any]:
    """The library's flow for a call. `Origins` has what it computes."""
    catalog = flows.catalog
    match call.call:
        case Call.GET_SESSION:
            return flows.get_session(call.user)
        case Call.MATCH_SCORES:
            return flows.match_scores(call.user, call.jobs)
        case Call.IJP:
            return flows.get_or_compute(catalog.ijp.name, keys.ijp(call.user), catalog.ijp.ttl_s)
        case Call.COMPANY:
            return flows.get_or_compute(catalog.company.name, keys.company(call.subject), catalog.company.ttl_s)
        case Call.START_SESSION:
            return flows.start_session(call.user, origins.session)
        case Call.END_SESSION:
            return flows.end_session(call.user)
        case Call.UPDATE_IJP:
            return flows.update_ijp(call.user, origins.ijp)
        case Call.INVALIDATE_JOB:
            return flows.invalidate_job_matches(call.subject)
        case Call.SET_COMPANY:
            company = catalog.company
            return flows.set_value(company.name, keys.company(call.subject), origins.company, company.ttl_s)
