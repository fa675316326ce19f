"""How fast recorded logs are replayed: `python -m benchmarks.replay_run [--lookups N] [--rounds N] [SHAPE …]`.

Each shape is a log that is made here from a seed, and replayed by two processes from an empty cache, with the TTLs of
the scenario `expected`; the rounds take the shapes in turns. The rate is all lookups over the whole replay, with
reading the file, starting servers and the second process, and adding up; "replaying" is without the start.

views    list views of 100 jobs, 10 of each user, 3 a second
busy     the same, 30 a second
single   300 lookups a second of one value each: session, preferences, company, score; a thousand by each user; users
         and companies by Zipf
cold     the same, a hundred by each user
trace    as single, as a trace of keys
dense    the same, 3,000 a second: some keys come several times in one
sink     the traffic of `expected` without its warming, in the words of `cache.metrics.AccessLog`, at its own pace
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks import report
from cache import testing
from cache.metrics.access_log import HEADER
from cache.metrics.access_log import AccessLog as Sink
from loadtest import population, replay, scenarios
from loadtest.accesslog import AccessLog
from loadtest.calls import Origins, flow_of
from loadtest.driver import CACHE_TYPE_OF, START_EPOCH_S
from loadtest.traffic import Behaviour, Platform
from loadtest.virtual import instants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loadtest.columns import Integers
    from loadtest.scenarios import Scenario

SEED: Final = 1
JOBS, COMPANIES, LIST = 10_000, 5_000, 100
JOBS_OF_USER: Final = 20  # of those that are looked up by themselves
VIEWS_OF_USER: Final = 10
# Of the lookups of single values: each request looks up the session before its own data.
SHARES: Final = {"session": 0.5, "ijp": 0.15, "company": 0.15, "match": 0.2}
LINES: Final = {
    "session": "session,{user},,get",
    "ijp": "ijp,{user},,get",
    "company": "company,,{company},get",
    "match": "match,{user},{job},get",
}
KEYS: Final = {
    "session": "user:{user}:session",
    "ijp": "ijp:{user}",
    "company": "company:{company}:enrichment",
    "match": "match:{user}:{job}",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Of one shape: the middle of its rounds, the least and the most."""

    shape: str
    lookups: int
    hit_rate: float
    per_s: float
    least_per_s: float
    most_per_s: float
    replaying_per_s: float


def views(lookups: int, *, per_s: int) -> Iterator[str]:
    """Everybody's list is of consecutive jobs, and begins anywhere."""
    rng = np.random.default_rng(SEED)
    users = max(1, lookups // LIST // VIEWS_OF_USER)
    first_jobs = rng.integers(0, JOBS, users).tolist()
    yield HEADER
    for view in range(lookups // LIST):
        user = view % users
        now, first = START_EPOCH_S + view / per_s, first_jobs[user]
        yield "".join(f"{now:.3f},match,{user},{job},get\n" for job in range(first, first + LIST))


def single(lookups: int, *, per_user: int, per_s: int, words: dict[str, str]) -> Iterator[str]:
    rng = np.random.default_rng(SEED)
    users, companies = _zipf(rng, max(1, lookups // per_user), lookups), _zipf(rng, COMPANIES, lookups)
    jobs = rng.integers(0, JOBS_OF_USER, lookups)
    kinds = rng.choice(len(SHARES), lookups, p=list(SHARES.values()))
    templates = [words[name] for name in SHARES]
    columns = zip(kinds.tolist(), users.tolist(), companies.tolist(), jobs.tolist(), strict=True)
    seen: set[int] = set()
    for number, (kind, user, company, job) in enumerate(columns):
        now = START_EPOCH_S + number / per_s
        if words is LINES and user not in seen:
            seen.add(user)
            yield f"{now:.3f},session,{user},,start\n"
        yield f"{now:.3f},{templates[kind].format(user=user, company=company, job=job)}\n"


def with_header(lines: Iterator[str]) -> Iterator[str]:
    yield HEADER
    yield from lines


def sink(path: Path, lookups: int, scenario: Scenario) -> None:
    """The library's own, told of each call of the behaviour."""
    people = population.draw(scenario, SEED)
    platform_, clock = Platform(scenario, people), testing.MovableClock(START_EPOCH_S)
    origins, asked = Origins(scenario.catalog, SEED, START_EPOCH_S), 0
    with closing(testing.off(clock=clock)) as cache, closing(Sink(path, cache)) as log:
        for now, operations in instants(Behaviour(scenario, people, SEED).streams(), sys.maxsize):
            clock.advance(START_EPOCH_S + now - clock.now())
            for call in (call for operation in operations for call in platform_.calls(operation, now)):
                flow_of(call, cache.flows, origins)
                asked += (len(call.jobs) or 1) if call.call in CACHE_TYPE_OF else 0
            log.send(None)  # type: ignore[arg-type] # a report, which it does not read
            if asked >= lookups:
                return


def _zipf(rng: np.random.Generator, values: int, count: int) -> Integers:
    weights = 1 / np.arange(1, values + 1) ** 0.8
    return rng.choice(values, count, p=weights / weights.sum())


SHAPES: Final[dict[str, Callable[[int], Iterator[str]]]] = {
    "views": lambda lookups: views(lookups, per_s=3),
    "busy": lambda lookups: views(lookups, per_s=30),
    "single": lambda lookups: with_header(single(lookups, per_user=1_000, per_s=300, words=LINES)),
    "cold": lambda lookups: with_header(single(lookups, per_user=100, per_s=300, words=LINES)),
    "trace": lambda lookups: single(lookups, per_user=1_000, per_s=300, words=KEYS),
    "dense": lambda lookups: single(lookups, per_user=1_000, per_s=3_000, words=KEYS),
}
ALL: Final = (*SHAPES, "sink")


def write(shape: str, folder: Path, lookups: int, scenario: Scenario) -> Path:
    path = folder / f"{shape}.csv"
    if shape == "sink":
        sink(path, lookups, scenario)
    else:
        with path.open("w") as file:
            file.writelines(SHAPES[shape](lookups))
    return path


def measure(log: Path, scenario: Scenario) -> tuple[int, int, float, float]:
    """(hits, lookups, seconds, seconds without the start) of one replay."""
    began = time.perf_counter()
    result = replay.run(AccessLog(log), scenario, processes=2)
    took_s = time.perf_counter() - began
    totals = [counted.total() for counted in result.counts.types.values()]
    return sum(hits for hits, _ in totals), sum(lookups for _, lookups in totals), took_s, result.wall_s


def figure(shape: str, rounds: list[tuple[int, int, float, float]]) -> Figure:
    hits, lookups = rounds[0][:2]
    if any(each[:2] != (hits, lookups) for each in rounds):
        raise RuntimeError(f"{shape}: the rounds differ in their hits")
    rates = [lookups / took_s for *_, took_s, _ in rounds]
    replaying = statistics.median(lookups / took_s for *_, took_s in rounds)
    return Figure(shape, lookups, hits / lookups, statistics.median(rates), min(rates), max(rates), replaying)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help="all by default")
    parser.add_argument("--lookups", type=int, default=2_000_000, help="in each log")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    unknown = set(options.shapes).difference(ALL)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: no such shape; known are {', '.join(ALL)}")
    shapes = options.shapes or ALL
    scenario = scenarios.load("expected").changed(warming="off")
    with tempfile.TemporaryDirectory() as folder:
        logs = {shape: write(shape, Path(folder), options.lookups, scenario) for shape in shapes}
        rounds: dict[str, list[Any]] = {shape: [] for shape in logs}
        for _ in range(options.rounds):
            for shape, log in logs.items():
                rounds[shape].append(measure(log, scenario))
    figures = [figure(shape, measured) for shape, measured in rounds.items()]
    print(f"{'shape':8}{'lookups':>11}{'hits':>9}{'lookups/s':>11}{'least':>11}{'most':>11}{'replaying':>11}")
    for each in figures:
        rates = (each.per_s, each.least_per_s, each.most_per_s, each.replaying_per_s)
        print(
            f"{each.shape:8}{each.lookups:>11,}{each.hit_rate:>9.2%}"
            + "".join(f"{rate:>11,.0f}" for rate in rates)
            + f"  n={options.rounds}"
        )
    if options.json:
        machine = report.machine("python -m benchmarks.replay_run")
        document = {"machine": machine, "rounds": options.rounds, "figures": [asdict(each) for each in figures]}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
