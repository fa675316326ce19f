"""Bytes of each cache type, measured on a real server: written by the library, read as `used_memory`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cache import keys
from cache.flows import Flows
from cache.stats import Stats
from loadtest import sizing
from loadtest.calls import Origins
from loadtest.pipeline import Pipeline, Task
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cache import Catalog

    Progress = Callable[[str, float], None]

_AT_ONCE: Final = 200
# Of the planned sizes, exactly: a JSON text of n bytes is n - 2 characters between quotes.
_QUOTES: Final = 2


@dataclass(frozen=True, slots=True)
class Measured:
    """What the planned data of `users` users takes on the server, tables and expiry included."""

    users: int
    layout: str
    types: dict[str, int]
    jobs_hash: int  # the generations of the jobs, shared by all users

    @property
    def total(self) -> int:
        return sum(self.types.values()) + self.jobs_hash


class _StillClock:
    def now(self) -> float:
        return 1_767_571_200.0


def measure(catalog: Catalog, users: int, layout: str, progress: Progress) -> Measured:
    """Writes the strategy's plan for this many users into a server of its own, one cache type after the other."""
    with Valkey("--hz", "500") as server:  # its background work at its most often, so that tables have moved soon
        pipeline = Pipeline(server.unix_socket)
        try:
            writer = _Writer(catalog, users, layout, pipeline)
            used = writer.used_bytes()
            types: dict[str, int] = {}
            jobs_hash = 0
            for name in ("company", "ijp", "session", "match"):
                if name == "match":
                    jobs_hash = writer.write_job_generations() - used
                    used += jobs_hash
                writer.write(name, progress)
                now = writer.used_bytes()
                types[name], used = now - used, now
            return Measured(users, layout, types, jobs_hash)
        finally:
            pipeline.close()


class _Writer:
    def __init__(self, catalog: Catalog, users: int, layout: str, pipeline: Pipeline) -> None:
        self._catalog = catalog
        self._users = users
        self._count = sizing.items(catalog, users)
        self._pipeline = pipeline
        self._flows = Flows(catalog=catalog, layout=layout, clock=_StillClock(), counts=Stats())
        self._origins = Origins(catalog, 1, int(_StillClock().now()))
        self._values = {each.name: "x" * (each.item_size_bytes - _QUOTES) for each in catalog}

    def used_bytes(self) -> int:
        """Once the tables have moved to their final size: the server does it bit by bit while it is idle."""
        before = -1
        while True:
            text = self._pipeline.send([("INFO", "memory")])[0].decode()
            memory = dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)
            used = int(memory["used_memory"])
            if used == before and memory["mem_overhead_db_hashtable_rehashing"] == "0":
                return used
            before = used
            for _ in range(100):
                self._pipeline.send([("PING",)] * 100)

    def write_job_generations(self) -> int:
        jobs = list(range(sizing.planned_jobs(self._users)))
        for start in range(0, len(jobs), _AT_ONCE):
            self._pipeline.run([Task(self._flows.fence(0, jobs[start : start + _AT_ONCE]))])
        self._pipeline.run([Task(self._flows.invalidate_user_matches(0))])
        return self.used_bytes()

    def write(self, name: str, progress: Progress) -> None:
        count = self._users if name == "match" else self._count[name]
        tasks = self._tasks(name, count)
        for start in range(0, count, _AT_ONCE):
            self._pipeline.run([task for _, task in zip(range(_AT_ONCE), tasks, strict=False)])
            progress(f"writing {name}", min(1.0, (start + _AT_ONCE) / count))

    def _tasks(self, name: str, count: int) -> Iterator[Task]:
        flows, value, ttl_s = self._flows, self._values[name], self._catalog[name].ttl_s
        if name == "match":
            per_user = self._count["match"] // self._users
            highest = sizing.planned_jobs(self._users)
            jobs = list(range(highest - per_user, highest))
            for user in range(count):
                yield Task(flows.set_scores(user, self._origins.scores(user, jobs)))
        else:
            for i in range(count):
                if name == "session":
                    yield Task(flows.start_session(i, value))
                else:
                    key = keys.company(i) if name == "company" else keys.ijp(i)
                    yield Task(flows.set_value(name, key, value, ttl_s))
