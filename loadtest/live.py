"""The same behaviour in real time, against any server. Knows no Locust.

Each person has a `CacheService` of their own on the shared connections: its counts are that person's, exactly.
"""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from cache import CacheService, Stats
from cache.elasticache import IamCredentials
from cache.stats import UNAVAILABLE
from cache.warming import Warmer
from loadtest import population as populations
from loadtest import scenarios, stationary
from loadtest.calls import Origins
from loadtest.counts import Counts
from loadtest.errors import ScenarioError, ServerGoneError
from loadtest.result import Memory, Result
from loadtest.scenarios import DAY_S
from loadtest.server import Server
from loadtest.traffic import Action, Behaviour, CacheCall, Call, Operation, Platform

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache import Catalog
    from loadtest.scenarios import Scenario

# {cache type: {person: (hits, lookups)}}
CountsByPerson: TypeAlias = dict[str, dict[int, tuple[int, int]]]

# How long one write of the stationary state is tried, and how soon again.
_PATIENCE_S = 30
_AGAIN_AFTER_S = 0.05

# Few and fixed: names of requests in Locust's statistics.
REQUEST_NAMES = {
    Call.START_SESSION: "session.start",
    Call.GET_SESSION: "session.get",
    Call.END_SESSION: "session.end",
    Call.COMPANY: "company.get",
    Call.IJP: "ijp.get",
    Call.UPDATE_IJP: "ijp.update",
    Call.INVALIDATE_JOB: "match.invalidate_job",
    Call.SET_COMPANY: "company.set",
}


@dataclass
class Live:
    """One process's share of a live run, on a server or a cluster. Raises LoadTestError if none answers at `url`."""

    scenario: Scenario
    seed: int
    layout: str
    url: str
    fire: Callable[[str, float], None]  # (request name, milliseconds)
    iam: str = ""  # USER:CACHE:REGION where ElastiCache asks for a signed token
    max_connections: int | None = None  # of the library, instead of its own number
    visits: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.people = populations.draw(self.scenario, self.seed)
        self.behaviour = Behaviour(self.scenario, self.people, self.seed)
        self.platform = Platform(self.scenario, self.people)
        self.origins = Origins(self.scenario.catalog, self.seed, int(time.time()))
        credentials = _credentials(self.iam)
        self.server = Server(self.url, credentials)
        self._service = CacheService.from_url(
            self.url,
            cluster=self.server.is_cluster,
            layout=self.layout,
            catalog=self.scenario.catalog,
            credential_provider=credentials,
            max_connections=self.max_connections,
        )
        self._services: dict[int, CacheService] = {}
        self._warmer = Warmer(self._service.flows, everything=self.scenario.warming == "everything")
        self.memory: list[Memory] = []
        self.started = time.time()
        self.ended: float | None = None

    def write_stationary_start(self) -> None:
        """Writes the stationary state with the TTLs that are left, through the library; oldest first."""
        start_s = time.time() % DAY_S
        past = stationary.history(self.scenario, self.people, self.behaviour.rhythm, self.seed, start_s)
        for user, age in past.last_login_age_s.items():
            self.platform.last_login[user] = time.time() - age
        for write in past.writes:
            self._write(write)

    def perform(self, operation: Operation) -> None:
        """Carries out one operation of a person or of the platform."""
        if operation.action is Action.LOGIN:
            self.visits[operation.user] = self.visits.get(operation.user, 0) + 1
        for call in self.platform.calls(operation, time.time()):
            started = time.perf_counter()
            self.call(call)
            name = REQUEST_NAMES.get(call.call) or ("match.list" if len(call.jobs) > 1 else "match.one")
            self.fire(name, (time.perf_counter() - started) * 1000)

    def warm(self) -> None:
        """One run of warming over the people of this process who were here lately."""
        if self.scenario.warming != "off":
            users = self.platform.active_users(time.time())
            self._warmer.run(self._service, users, self.platform.popular(), self.origins.scores_of_users)

    def sample_memory(self) -> None:
        """Notes what the node holds, with what it held before; nothing where this user may not ask for it."""
        used = self.server.used_bytes()
        if used is not None:
            self.memory.append(Memory(int(time.time() - self.started) // 3600, used))

    def counts(self) -> CountsByPerson:
        """`{cache type: {person: (hits, lookups)}}` since the start, and `visits` as `(visits, 0)`."""
        counted: CountsByPerson = {"visits": {user: (n, 0) for user, n in self.visits.items()}}
        for name in self.scenario.catalog.names():
            counted[name] = {}
            for user, service in self._services.items():
                seen = service.stats.counts(name)
                if seen.lookups:
                    counted[name][user] = seen.hits, seen.lookups
        return counted

    def unanswered(self) -> int:
        """Lookups since the start that no server answered: the library lets such a page go on without the cache."""
        names = self.scenario.catalog.names()
        return sum(
            service.stats.counts(name).misses[UNAVAILABLE] for service in self._services.values() for name in names
        )

    def result(self, counted: CountsByPerson, stopped_because: str | None = None) -> Result:
        """The counts of all processes as a result to judge. `stopped_because` says why something of it is missing."""
        counts = Counts.of(self.scenario.catalog.names(), self.scenario.users)
        for user, (visits, _) in counted.get("visits", {}).items():
            counts.visits[user] = visits
        for name, tally in counts.types.items():
            for user, (hits, lookups) in counted.get(name, {}).items():
                tally.add(user, hits, lookups, 0)
        return Result(
            scenario=self.scenario,
            population=self.people,
            seed=self.seed,
            layout=self.layout,
            counts=counts,
            stats=Stats(),
            clock_note="real",
            is_live=True,
            stopped_because=stopped_because,
            server_version=self.server.version(),
            memory=self.memory,
            remarks=["Memory is the fullest shard's: each has a node of its own."] if self.server.is_cluster else [],
            wall_s=(self.ended or time.time()) - self.started,
        )

    def _service_of(self, user: int) -> CacheService:
        service = self._services.get(user)
        if service is None:
            service = self._services[user] = _counting_apart(self._service)
        return service

    def call(self, call: CacheCall) -> None:  # noqa: C901 - one line for each kind of call
        cache, user, origins = self._service_of(call.user), call.user, self.origins
        match call.call:
            case Call.GET_SESSION:
                if cache.get_session(user) is None:
                    cache.start_session(user, origins.session)
            case Call.MATCH_SCORES:
                cache.match_scores(user, call.jobs, lambda jobs: origins.scores(user, jobs))
            case Call.IJP:
                cache.get_ijp(user, lambda: origins.ijp)
            case Call.COMPANY:
                cache.get_company_enrichment(call.subject, lambda: origins.company)
            case Call.START_SESSION:
                cache.start_session(user, origins.session)
            case Call.END_SESSION:
                cache.end_session(user)
            case Call.UPDATE_IJP:
                cache.update_ijp(user, origins.ijp)
            case Call.INVALIDATE_JOB:
                cache.invalidate_job_matches(call.subject)
            case Call.SET_COMPANY:
                cache.set_company_enrichment(call.subject, origins.company)

    def _write(self, write: stationary.Write) -> None:
        catalog = self.scenario.catalog
        name = {"company": "company", "ijp": "ijp"}.get(write.what, "match")
        left_s = catalog[name].ttl_s - write.age_s
        if left_s < 1:
            return
        give_up_at = time.monotonic() + _PATIENCE_S
        while not self._is_written(write, _counting_apart(self._service, catalog.changed(ttl_s={name: left_s})), name):
            if time.monotonic() > give_up_at:
                raise ServerGoneError(f"The server took no write of the stationary state for {_PATIENCE_S} s.")
            time.sleep(_AGAIN_AFTER_S)

    def _is_written(self, write: stationary.Write, cache: CacheService, name: str) -> bool:
        """Whether the server has it. A busy one refuses some, and the run would miss them all along."""
        origins = self.origins
        if write.what == "company":
            cache.set_company_enrichment(write.subject, origins.company)
        elif write.what == "ijp":
            cache.get_ijp(write.subject, lambda: origins.ijp)
        elif write.what == "scores":
            cache.match_scores(write.subject, write.slots, lambda jobs: origins.scores(write.subject, jobs))
        else:
            warmed = Warmer(cache.flows).run(cache, [write.subject], self.platform.popular(), origins.scores_of_users)
            return not warmed.users_unanswered
        counts = cache.stats.counts(name)
        return not counts.dropped_writes and not counts.misses.get(UNAVAILABLE)


def add_options(parser: Any) -> None:
    """The options that both of Locust's files have."""
    add = parser.add_argument
    add("--scenario", default="expected", help="a scenario of loadtest/scenarios.toml", env_var="ROLEFERRY_SCENARIO")
    add("--scenarios", default=str(scenarios.FILE), help="another file of scenarios")
    add("--seed", type=int, default=1, help="seed of the behaviour")
    add("--layout", choices=["hash", "keys"], default="hash", help="layout of match scores")
    add("--iam", default="", metavar="USER:CACHE:REGION", help="sign in at ElastiCache with a token by IAM")


def for_locust(
    environment: Any, host: str, *, is_worker: bool, max_connections: int | None = None, **changes: Any
) -> Live:
    """What one of Locust's processes needs, by its options. Raises LoadTestError.

    `changes` are settings instead of the scenario's, where they are not None. Workers take the scenario from their
    master, to whom Locust's options belong: another machine may have another file, or none.
    """
    options = environment.parsed_options
    fire = environment.events.request.fire

    def request(name: str, milliseconds: float) -> None:
        fire(request_type="cache", name=name, response_time=milliseconds, response_length=0, exception=None, context={})

    if not is_worker:
        given = {name: value for name, value in changes.items() if value is not None}
        scenario = scenarios.load(options.scenario, Path(options.scenarios)).changed(**given)
        scenarios.check_seed(options.seed)
        options.scenario_settings = asdict(scenario)
    return Live(
        scenarios.Scenario(**options.scenario_settings),
        options.seed,
        options.layout,
        host,
        request,
        options.iam,
        max_connections,
    )


def hits_of(counted: CountsByPerson, catalog: Catalog) -> dict[str, tuple[int, int]]:
    """{cache type: (hits, lookups)} of everybody."""
    return {
        name: (
            sum(hits for hits, _ in counted.get(name, {}).values()),
            sum(lookups for _, lookups in counted.get(name, {}).values()),
        )
        for name in catalog.names()
    }


def _counting_apart(service: CacheService, catalog: Catalog | None = None) -> CacheService:
    """The same service and connections, with counts of its own and, if given, another catalogue."""
    twin = copy.copy(service)
    twin.stats = Stats()
    twin.flows = copy.copy(service.flows)
    twin.flows.stats = twin.stats
    twin.flows.catalog = catalog or service.flows.catalog
    return twin


def _credentials(iam: str) -> IamCredentials | None:
    if not iam:
        return None
    parts = iam.split(":")
    if len(parts) != 3 or not all(parts):
        raise ScenarioError(f"--iam is {iam!r}; write USER:CACHE:REGION, as the stack's outputs have them.")
    from botocore.exceptions import BotoCoreError  # only who needs it waits for its import

    user, cache_name, region = parts
    credentials = IamCredentials(user, cache_name, region)
    try:
        credentials.get_credentials()
    except BotoCoreError as error:
        why = str(error).rstrip(".")
        raise ScenarioError(f"--iam: {why}. Sign in at AWS, or give this machine a role that may.") from None
    return credentials
