"""Many clients at once on a server that is cut, frozen, emptied, restarted and robbed of keys, or on a cluster of them

whose slots move; a model says what may be read, and who may compute.

`python -m tests.behaviour.model --steps 10000 --seed 1`: prints what was done, exits 1 at the first stale read.

Everything that is cached carries the version of the origin that it was computed from. When an invalidation or a write
has returned True, the versions of before are too old for every read that begins later, of any service; when it has
returned False, for every later read of the same service. A service that keeps values near may be behind what others
have changed, for as long as it trusts a link that tells nothing; never behind what it has changed itself.

Where no server is in trouble, nothing is computed by two at a time, unless it was invalidated or written meanwhile.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice, product
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import redis

from cache import CATALOG, commands, keys
from cache.breaker import Breaker
from cache.catalog import DAY, HOUR, MINUTE
from cache.near import PREFIXES
from cache.slots import slot_of
from local.cluster import ValkeyCluster
from local.errors import LocalError
from local.faketime import faketime_library
from local.valkey import Valkey
from tests.behaviour.services import LAYOUTS, SHELLS, ClusterClient, make_service

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from cache import CacheType

USERS: Final = range(3)
JOBS: Final = range(5)
COMPANIES: Final = range(2)
WORKERS: Final = 6
SLOWEST_COMPUTE_S: Final = 0.004
FAILING: Final = 0.1
BREAKER_PAUSE_S: Final = 0.01
# A fifth of what they are: in half a second a run would be half over.
NEAR_TRUSTED_S: Final = 0.1
NEAR_TIMES: Final[dict[str, Any]] = {
    "TRUSTED_S": NEAR_TRUSTED_S,
    "PING_EVERY_S": 0.04,
    "RETRY_EVERY_S": BREAKER_PAUSE_S,
}
# Over a part of a score's TTL and over all of it, over a company's and over that of preferences.
LEAPS_S: Final = (13 * HOUR, 25 * HOUR, 31 * DAY)
SLACK_S: Final = 10 * MINUTE  # so long a compute may take on a busy machine
# The harsh ones seldom.
FAULTS: Final = (
    *("evict_generation", "evict_any") * 6,
    *("evict_jobs", "cut") * 3,
    *("empty", "empty", "freeze", "restart", "pass_time", "pass_time"),
)
FAULTS_OF_A_CLUSTER: Final = (*("evict_generation", "evict_jobs", "move") * 3, "empty", "freeze")
# A link that breaks every other moment keeps nothing near for long enough to be old.
GENTLE: Final = ("evict_generation",) * 60


class StaleReadError(AssertionError):
    """A read returned what had been invalidated before it began."""


class TwoComputesError(AssertionError):
    """Two computed the same at a time, and neither had lost its lease."""


class OriginError(Exception):
    """What a compute of the model raises now and then."""


class Origin:
    """The database: a version for each thing, and the versions that are too old to be read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._versions: dict[Hashable, int] = defaultdict(int)
        self._own_floors: dict[tuple[int, Hashable], int] = defaultdict(int)
        self._floors: dict[Hashable, list[tuple[float, int]]] = defaultdict(list)  # since when, which version

    def version(self, thing: Hashable) -> int:
        with self._lock:
            return self._versions[thing]

    def change(self, thing: Hashable) -> int:
        with self._lock:
            self._versions[thing] += 1
            return self._versions[thing]

    def is_too_old(self, thing: Hashable, version: int, service: int, *, everywhere: bool) -> None:
        """All below this version, for all services or for this one."""
        with self._lock:
            self._own_floors[service, thing] = max(self._own_floors[service, thing], version)
            if everywhere:
                self._floors[thing].append((time.monotonic(), version))

    def floor(self, thing: Hashable, service: int, *, behind_s: float) -> int:
        """The oldest version that `service` may read, which is at most so far behind what others have changed."""
        with self._lock:
            seen_until = time.monotonic() - behind_s
            seen = (version for since, version in self._floors[thing] if since <= seen_until)
            return max(self._own_floors[service, thing], *seen, 0)


class RunningClock:
    """The machine's, and `offset_s` on top."""

    def __init__(self) -> None:
        self.offset_s = 0

    def now(self) -> float:
        return time.time() + self.offset_s


class Computes:
    """Who computes what at the moment. A change lets go of the leases: those who had called before it are excused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._computing: dict[Hashable, list[object]] = defaultdict(list)
        self._excused: set[object] = set()
        self._begun: Counter[Hashable] = Counter()
        self._ended: Counter[Hashable] = Counter()

    def changes(self, thing: Hashable) -> int:
        """Those that had ended: to be asked before a call that may compute."""
        with self._lock:
            return self._ended[thing]

    @contextmanager
    def computing(self, things: Mapping[Hashable, int], *, alone: bool) -> Iterator[None]:
        """`things` with their changes before the call. Raises TwoComputesError where one must compute `alone`, and

        another one does already.
        """
        me = object()
        with self._lock:
            if any(self._begun[thing] != changes for thing, changes in things.items()):
                self._excused.add(me)
            for thing in things:
                if alone and me not in self._excused and not self._excused.issuperset(self._computing[thing]):
                    raise TwoComputesError(f"{thing} is computed by two at a time.")
                self._computing[thing].append(me)
        try:
            yield
        finally:
            with self._lock:
                for thing in things:
                    self._computing[thing].remove(me)
                self._excused.discard(me)

    @contextmanager
    def changing(self, things: Collection[Hashable]) -> Iterator[None]:
        with self._lock:
            self._begun.update(things)
            for thing in things:
                self._excused.update(self._computing[thing])
        try:
            yield
        finally:
            with self._lock:
                self._ended.update(things)


class Model:
    """Services, workers and faults on a server or a cluster.

    The sequence of operations is the seed's, their timing is not. `faults` are names of those that happen, each as
    often as it is named; without any, computes are checked as well: the deadline of an operation and the life of a
    lease must then be so long that a busy machine does not end them. With `near` all services but one keep what they
    read near, too.
    """

    def __init__(
        self,
        server: Valkey | ValkeyCluster,
        *,
        seed: int,
        layout: str,
        faults: Sequence[str] | None = None,
        near: bool = False,
    ) -> None:
        self._seed = seed
        self._origin = Origin()
        self._computes = Computes()
        self._server = server
        is_cluster = isinstance(server, ValkeyCluster)
        port = server.primaries[0].port if isinstance(server, ValkeyCluster) else server.port
        self._raw: Any = ClusterClient(port) if is_cluster else redis.Redis(port=port)
        of_place = (*(FAULTS_OF_A_CLUSTER if is_cluster else FAULTS), *(GENTLE if near else ()))
        self._fault_names = of_place if faults is None else faults
        patience_s = 0.5 if self._fault_names else 60
        self._clock = RunningClock()
        self._turn = threading.Condition()
        self._in_flight = 0
        self._is_time_passing = False
        options = {"layout": layout, "patience_s": patience_s, "cluster": is_cluster, "clock": self._clock}
        nears = [PREFIXES if near else (), PREFIXES if near else (), ()]
        # A run lasts a second or two: behind an open breaker it would pass without the server.
        with mock.patch("cache.client.Breaker", partial(Breaker, pause_s=BREAKER_PAUSE_S)):
            self._services = [
                make_service(shell, server.url, near=types, **options)
                for shell, types in zip((*SHELLS, SHELLS[0]), nears, strict=True)
            ]
        # Only `save=` orders the writers of a database; others must do it themselves.
        self._company_writer = [threading.Lock() for _ in COMPANIES]
        self._saved: dict[int, int] = {}
        self._left = 0
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.error: BaseException | None = None

    def run(self, steps: int) -> None:
        """Raises StaleReadError, or whatever a call raised."""
        with mock.patch.multiple("cache.tracking", **NEAR_TIMES):
            self._run(steps)
        if self.error is not None:
            raise self.error

    def _run(self, steps: int) -> None:
        self._left = steps
        workers = [threading.Thread(target=self._work, args=(number,)) for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        rng = random.Random(self._seed)
        faults = self._faults(rng)
        while any(worker.is_alive() for worker in workers):
            time.sleep(rng.uniform(0, 0.05))
            self._move_server_clock()
            for fault in islice(faults, 1):
                getattr(self, f"_{fault}")(rng)
                self.done[fault] += 1
        for service in self._services:
            self.done["near_hits"] += sum(service.stats.counts(name).near_hits for name in PREFIXES)
            service.close()
        self._raw.close()

    def _work(self, number: int) -> None:
        rng = random.Random(self._seed * 1000 + number)
        operations: list[Callable[[random.Random, int], None]] = [
            *[self._match_scores] * 4,
            *[self._get_then_set] * 3,
            *[self._company] * 3,
            *[self._preferences] * 2,
            self._change_user,
            self._change_job,
            self._set_company,
            self._invalidate_company,
            self._save_preferences,
        ]
        try:
            while self._next_step():
                operation = rng.choice(operations)
                with self._flying(), suppress(OriginError):
                    operation(rng, rng.randrange(len(self._services)))
                self.done[operation.__name__] += 1
        except BaseException as error:  # noqa: BLE001 - raised by run
            self.error = error

    def _next_step(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0 and self.error is None

    @contextmanager
    def _flying(self) -> Iterator[None]:
        with self._turn:
            self._turn.wait_for(lambda: not self._is_time_passing)
            self._in_flight += 1
        try:
            yield
        finally:
            with self._turn:
                self._in_flight -= 1
                self._turn.notify_all()

    # -- scores ------------------------------------------------------------------------------------------------

    def _match_scores(self, rng: random.Random, service: int) -> None:
        user, jobs = rng.choice(USERS), rng.sample(JOBS, rng.randint(1, len(JOBS)))
        floors = self._score_floors(user, jobs, service)
        pause = self._pause(rng)
        changes = {job: self._computes.changes(("score", user, job)) for job in jobs}

        def compute(missing: list[int]) -> dict[int, dict[str, int]]:
            with self._computing({("score", user, job): changes[job] for job in missing}):
                scores = {job: self._score(user, job) for job in missing}
                pause()
                return scores

        self._check_scores(self._services[service].match_scores(user, jobs, compute), floors)

    def _get_then_set(self, rng: random.Random, service: int) -> None:
        user, job = rng.choice(USERS), rng.choice(JOBS)
        floors = self._score_floors(user, [job], service)
        score = self._services[service].get_match_score(user, job)
        if score is not None:
            self._check_scores({job: score}, floors)
            return
        score = self._score(user, job)
        time.sleep(rng.uniform(0, SLOWEST_COMPUTE_S))
        self._services[service].set_match_score(user, job, score)

    def _score(self, user: int, job: int) -> dict[str, int]:
        return {
            "user": self._origin.version(("user", user)),
            "job": self._origin.version(("job", job)),
            "at": int(self._clock.now()),
        }

    def _score_floors(self, user: int, jobs: list[int], service: int) -> dict[int, dict[str, int]]:
        of_user = self._floor(("user", user), service)
        return {job: {"user": of_user, "job": self._floor(("job", job), service)} for job in jobs}

    def _check_scores(self, scores: dict[int, dict[str, int]], floors: dict[int, dict[str, int]]) -> None:
        for job, score in scores.items():
            for thing, floor in floors[job].items():
                self._check(f"score of job {job}, {thing}", score[thing], floor)
            self._check_age(score["at"], CATALOG.match)

    def _change_user(self, rng: random.Random, service: int) -> None:
        user = rng.choice(USERS)
        version = self._origin.change(("user", user))
        with self._computes.changing(_scores_of(user)):
            done = self._services[service].invalidate_user_matches(user)
        self._origin.is_too_old(("user", user), version, service, everywhere=done)

    def _change_job(self, rng: random.Random, service: int) -> None:
        job = rng.choice(JOBS)
        version = self._origin.change(("job", job))
        done = self._services[service].invalidate_job_matches(job)
        self._origin.is_too_old(("job", job), version, service, everywhere=done)

    # -- single values -----------------------------------------------------------------------------------------

    def _company(self, rng: random.Random, service: int) -> None:
        company = rng.choice(COMPANIES)
        thing = ("company", company)
        floor = self._floor(thing, service)
        pause = self._pause(rng)
        changes = self._computes.changes(thing)

        def fetch() -> list[int]:
            with self._computing({thing: changes}):
                value = self._dated(self._origin.version(thing))
                pause()
                return value

        version, at = self._services[service].get_company_enrichment(company, fetch)
        self._check("company", version, floor)
        self._check_age(at, CATALOG.company)

    def _set_company(self, rng: random.Random, service: int) -> None:
        company = rng.choice(COMPANIES)
        thing = ("company", company)
        with self._company_writer[company], self._computes.changing([thing]):
            version = self._origin.change(thing)
            done = self._services[service].set_company_enrichment(company, self._dated(version))
            self._origin.is_too_old(thing, version, service, everywhere=done)

    def _invalidate_company(self, rng: random.Random, service: int) -> None:
        company = rng.choice(COMPANIES)
        thing = ("company", company)
        with self._company_writer[company], self._computes.changing([thing]):
            version = self._origin.change(thing)
            done = self._services[service].invalidate_company(company)
            self._origin.is_too_old(thing, version, service, everywhere=done)

    def _preferences(self, rng: random.Random, service: int) -> None:
        user = rng.choice(USERS)
        thing = ("preferences", user)
        floor = self._floor(thing, service)
        pause = self._pause(rng)
        changes = self._computes.changes(thing)

        def load() -> list[int]:
            with self._computing({thing: changes}):
                with self._lock:
                    saved = self._dated(self._saved.get(user, 0))
                pause()
                return saved

        name, at = self._services[service].get_ijp(user, load)
        self._check("preferences", self._origin.version(("saved as", name)), floor)
        self._check_age(at, CATALOG.ijp)

    def _save_preferences(self, rng: random.Random, service: int) -> None:
        """Two at once may save in another order than they began in: what counts is the order of the saves."""
        user, name, pause_s = rng.choice(USERS), rng.getrandbits(50), rng.uniform(0, SLOWEST_COMPUTE_S)
        order: list[int] = []

        def save() -> None:
            time.sleep(pause_s)
            with self._lock:
                self._saved[user] = name
                order.append(self._origin.change(("preferences", user)))
                for _ in range(order[0]):
                    self._origin.change(("saved as", name))
            time.sleep(pause_s)

        with self._computes.changing([("preferences", user), *_scores_of(user)]):
            done = self._services[service].update_ijp(user, self._dated(name), save=save)
        self._origin.is_too_old(("preferences", user), order[0], service, everywhere=done)

    def _computing(self, things: Mapping[Hashable, int]) -> AbstractContextManager[None]:
        return self._computes.computing(things, alone=not self._fault_names)

    def _pause(self, rng: random.Random) -> Callable[[], None]:
        """What a compute does: takes its time, and fails now and then."""
        pause_s, fails = rng.uniform(0, SLOWEST_COMPUTE_S), rng.random() < FAILING

        def pause() -> None:
            time.sleep(pause_s)
            if fails:
                raise OriginError

        return pause

    def _floor(self, thing: Hashable, service: int) -> int:
        behind_s = NEAR_TRUSTED_S if self._services[service].near is not None else 0
        return self._origin.floor(thing, service, behind_s=behind_s)

    def _check(self, what: str, version: int, floor: int) -> None:
        if version < floor:
            raise StaleReadError(f"{what}: version {version} was read, {floor} is the oldest that may be.")

    def _dated(self, value: int) -> list[int]:
        return [value, int(self._clock.now())]

    def _check_age(self, at: int, cache_type: CacheType) -> None:
        age_s = self._clock.now() - at
        if age_s > cache_type.ttl_s + SLACK_S:
            raise StaleReadError(f"{cache_type.name}: {age_s:.0f} s old, its TTL is {cache_type.ttl_s} s.")

    # -- faults ------------------------------------------------------------------------------------------------

    def _faults(self, rng: random.Random) -> Iterator[str]:
        """Each in its turn."""
        while self._fault_names:
            yield from rng.sample(self._fault_names, len(self._fault_names))

    def _evict_generation(self, rng: random.Random) -> None:
        key = f"match:{rng.choice(USERS)}"
        if self._raw.type(key) == b"hash":
            self._raw.hdel(key, "g")
        else:
            self._raw.delete(key)

    def _evict_jobs(self, rng: random.Random) -> None:
        self._raw.delete("job:generations")

    def _evict_any(self, rng: random.Random) -> None:
        key: Any = self._raw.randomkey()
        if key is not None:
            self._raw.delete(key)

    def _cut(self, rng: random.Random) -> None:
        self._raw.client_kill_filter(_type="normal", skipme=True)

    def _empty(self, rng: random.Random) -> None:
        self._raw.flushall()

    def _freeze(self, rng: random.Random) -> None:
        pid = self._pid(rng)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.12)  # longer than the deadline of an operation
        os.kill(pid, signal.SIGCONT)

    def _restart(self, rng: random.Random) -> None:
        assert isinstance(self._server, Valkey)
        restart(self._server)
        self._move_server_clock()

    def _pass_time(self, rng: random.Random) -> None:
        """For the library and the server at once, while nothing is in flight; nowhere where no clock can be moved."""
        assert isinstance(self._server, Valkey)
        if faketime_library() is None:
            return
        with self._turn:
            self._is_time_passing = True
            self._turn.wait_for(lambda: not self._in_flight)
            self._clock.offset_s += rng.choice(LEAPS_S)
            self._move_server_clock()
            for service in self._services:
                if service.near is not None:
                    service.near.forget_all()  # its own time, of which 5 seconds would do, does not move
            self._is_time_passing = False
            self._turn.notify_all()

    def _move_server_clock(self) -> None:
        """To the library's time. It stands still between two faults, which is shorter than anything that expires."""
        if isinstance(self._server, Valkey) and faketime_library() is not None:
            self._server.set_time(self._clock.now())

    def _move(self, rng: random.Random) -> None:
        """A user's slot goes to another node."""
        assert isinstance(self._server, ValkeyCluster)
        slot = slot_of(commands.get(keys.match(rng.choice(USERS))))
        owner = self._server.owner(slot)
        to = rng.choice([node for node in self._server.primaries if node is not owner])
        self._server.start_moving(slot, to)
        time.sleep(rng.uniform(0, 0.05))
        self._server.finish_moving(slot, to)

    def _pid(self, rng: random.Random) -> int:
        clients = (
            [node.client for node in self._server.primaries] if isinstance(self._server, ValkeyCluster) else [self._raw]
        )
        return int(rng.choice(clients).info("server")["process_id"])


def one_server() -> Valkey:
    """A server whose clock can be moved, if it can on this machine."""
    return Valkey(movable_clock=faketime_library() is not None, start_time=time.time())


def restart(server: Valkey) -> None:
    """The server is there again at its old port, empty."""
    server.stop()
    give_up_at = time.monotonic() + 30
    while True:
        try:
            server.__enter__()
        except LocalError:  # for a moment somebody else may have the port
            if time.monotonic() > give_up_at:
                raise
        else:
            return


def _scores_of(user: int) -> list[Hashable]:
    return [("score", user, job) for job in JOBS]


def main() -> int:
    parser = argparse.ArgumentParser(description="Looks for stale reads under concurrency and faults.")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    places: tuple[Callable[[], Valkey | ValkeyCluster], ...] = (one_server, ValkeyCluster)
    for place, layout, near in product(places, LAYOUTS, (False, True)):
        name = f"{place.__name__}, layout {layout}{', near' if near else ''}, seed {options.seed}"
        with place() as server:
            model = Model(server, seed=options.seed, layout=layout, near=near)
            try:
                model.run(options.steps)
            except StaleReadError as error:
                print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
                return 1
        print(f"{name}: no stale read; {dict(model.done)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
