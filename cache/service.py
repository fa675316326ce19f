"""`CacheService`: the flows of the library, carried out by threads on a redis-py client."""

from __future__ import annotations

import inspect
import queue
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import redis

from cache import keys
from cache.catalog import CATALOG, MAX_TTL_S
from cache.client import Parts, checked_url, no_compute
from cache.commands import Compute, Send, SharedRead, Wait, WaitForLease
from cache.flows import GENERIC, ids
from cache.gate import Operation
from cache.miss import MISS
from cache.near import NEAR_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from redis.credentials import CredentialProvider

    from cache.catalog import Catalog
    from cache.client import Client
    from cache.clock import Clock
    from cache.codec import Json
    from cache.commands import Flow, Reply, Step
    from cache.fences import Fence
    from cache.stats import Stats

T = TypeVar("T")


def _thread() -> Hashable:
    # Not its number: another thread gets that after its end.
    return weakref.ref(threading.current_thread())


def checked_ttl(name: str, ttl_s: int, *, least: int = 1) -> int:
    if type(ttl_s) is not int or not least <= ttl_s <= MAX_TTL_S:
        raise ValueError(f"{name} is {ttl_s!r}; it must be a whole number of seconds from {least} to {MAX_TTL_S}.")
    return ttl_s


class CacheService:
    """RoleFerry's cache on one Valkey or Redis server. Safe to share between threads, and after a fork.

    A server that does not answer is no error: lookups miss, computes run, writes are dropped. `set_*`, `update_*` and
    `start_session` return True when no reader gets anything older from now on; `invalidate_*`, `end_session` and
    `forget_user` when the server has confirmed. False: the invalidation is pending, and is applied before this process
    reads from the cache again. `stats` counts hits and misses by cache type.
    """

    def __init__(
        self,
        client: Client,
        *,
        cluster: bool = False,
        layout: str = "hash",
        job_invalidation: str = "exact",
        catalog: Catalog = CATALOG,
        clock: Clock | None = None,
        on_pending: Callable[[int], None] | None = None,
        jitter: Callable[[], float] | None = None,
        patience_s: float | None = None,
        max_connections: int | None = None,
        near: Iterable[str] = (),
        near_entries: int = NEAR_ENTRIES,
    ) -> None:
        """The client's options say where and as whom to connect. The connections are the service's own.

        `decode_responses`, retries, time-outs and health checks of the client do not hold here: a cache needs bytes,
        and a page must not wait. With `cluster` the client names one node of a cluster, or its configuration endpoint;
        a RedisCluster needs no saying. `layout` is `"hash"` (a user's scores in one packed hash) or `"keys"` (one
        string per score). With `job_invalidation="ttl"` a list view asks for less, and a job's change shows when the
        TTL of its scores ends. All services on one cache must agree on both. `on_pending(count)` is called when the
        number of pending invalidations changes. `jitter` gives numbers from 0 to 1, `random.random` by default: TTLs
        are shortened by up to 5 %. After `patience_s` (10 by default) a caller that waits for another's compute
        computes for itself. `max_connections` is for each node. `near` names cache types (match, company, ijp) whose
        values this process also keeps in its memory, for 5 seconds and at most `near_entries` of each: another
        process's change is seen within 2 ms. Raises ValueError for a session.
        """
        if not isinstance(client, redis.Redis | redis.RedisCluster):
            raise TypeError(
                f"client is a {type(client).__name__}; CacheService takes a redis.Redis or redis.RedisCluster."
            )
        self._parts = Parts(
            client,
            cluster=cluster,
            layout=layout,
            job_invalidation=job_invalidation,
            catalog=catalog,
            clock=clock,
            on_pending=on_pending,
            jitter=jitter,
            patience_s=patience_s,
            max_connections=max_connections,
            near=near,
            near_entries=near_entries,
            caller=_thread,
        )
        self.flows = self._parts.flows
        self._link = self._parts.link
        self._reads = self._parts.reads
        self._keeper = self._parts.keeper
        self.near = self._parts.near
        self.stats: Stats = self._parts.stats

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        credential_provider: CredentialProvider | None = None,
        cluster: bool = False,
        layout: str = "hash",
        job_invalidation: str = "exact",
        catalog: Catalog = CATALOG,
        clock: Clock | None = None,
        on_pending: Callable[[int], None] | None = None,
        jitter: Callable[[], float] | None = None,
        patience_s: float | None = None,
        max_connections: int | None = None,
        near: Iterable[str] = (),
        near_entries: int = NEAR_ENTRIES,
    ) -> CacheService:
        """A service for `redis://`, `rediss://` (TLS) or `unix://`. Raises ValueError for another URL.

        With `cluster` the URL names one node of a cluster, or its configuration endpoint; the others are found by it.
        `credential_provider` is redis-py's, such as `cache.elasticache.IamCredentials`, instead of a user and password
        in the URL.
        """
        pool = redis.ConnectionPool.from_url(checked_url(url), credential_provider=credential_provider)
        return cls(
            redis.Redis(connection_pool=pool),
            cluster=cluster,
            layout=layout,
            job_invalidation=job_invalidation,
            catalog=catalog,
            clock=clock,
            on_pending=on_pending,
            jitter=jitter,
            patience_s=patience_s,
            max_connections=max_connections,
            near=near,
            near_entries=near_entries,
        )

    def close(self) -> None:
        """Closes the connections and ends the threads."""
        self._parts.close()

    @property
    def pending_invalidations(self) -> int:
        """How many invalidations the server has not confirmed yet."""
        return len(self._parts.pending)

    # -- match scores ------------------------------------------------------------------------------------------

    def get_match_score(self, user_id: int, job_id: int) -> dict[str, Json] | None:
        """The cached score, or None."""
        if self.near is not None and (score := self.near.score(user_id, job_id)) is not None:
            return score
        return self.run(self.flows.get_scores(user_id, [keys.checked("job_id", job_id)])).get(job_id)

    def get_match_scores(self, user_id: int, job_ids: Iterable[int]) -> dict[int, dict[str, Json]]:
        """`{job_id: score}` of what is cached; missing ids are absent. One round trip where nothing is missing."""
        jobs = ids(job_ids)
        if self.near is not None and (scores := self.near.scores(user_id, jobs)) is not None:
            return scores
        return self.run(self.flows.get_scores(user_id, jobs))

    def fence(self, user_id: int, job_ids: Iterable[int]) -> Mapping[int, Fence]:
        """What `set_match_scores` needs to refuse late scores: call it before the origin is read, once a chunk."""
        return self.run(self.flows.fence(user_id, ids(job_ids)))

    def set_match_score(
        self, user_id: int, job_id: int, score_data: Mapping[str, Json], *, fence: Mapping[int, Fence] | None = None
    ) -> bool:
        """Caches one score for the catalogue's TTL. True if it was stored, False if it came too late."""
        return self.set_match_scores(user_id, {job_id: score_data}, fence=fence)

    def set_match_scores(
        self, user_id: int, scores: Mapping[int, Mapping[str, Json]], *, fence: Mapping[int, Fence] | None = None
    ) -> bool:
        """Caches scores, each with `fence`, else with the generations that the missed `get_*` before it saw.

        An invalidation since then makes the write late: it is refused or hidden, and never served.
        Raises UncacheableError for a value that is no JSON.
        """
        ids(scores)
        return self.run(self.flows.set_scores(user_id, scores, fence))

    def match_scores(
        self,
        user_id: int,
        job_ids: Iterable[int],
        compute: Callable[[list[int]], Mapping[int, Mapping[str, Json]]],
    ) -> dict[int, dict[str, Json]]:
        """`{job_id: score}` for all ids: what is cached, and `compute(missing_job_ids)` for the rest, stored.

        What another caller computes at the moment is waited for. `compute` is called at most once, with at least one
        id, and again only for what another caller failed to compute; ids that it leaves out are absent.
        """
        jobs = ids(job_ids)
        if self.near is not None and (scores := self.near.scores(user_id, jobs)) is not None:
            return scores
        return self.run(self.flows.match_scores(user_id, jobs), compute)

    def invalidate_user_matches(self, user_id: int) -> bool:
        """Forgets all scores of a user, in one round trip."""
        return self.run(self.flows.invalidate_user_matches(user_id))

    def invalidate_job_matches(self, job_id: int) -> bool:
        """Forgets all scores for a job, in one round trip. Raises RuntimeError with `job_invalidation="ttl"`."""
        return self.run(self.flows.invalidate_job_matches(job_id))

    # -- companies, preferences --------------------------------------------------------------------------------

    def get_company_enrichment(
        self, company_id: int, fetch: Callable[[], Json], *, none_ttl: int | None = None
    ) -> Json:
        """The cached enrichment, or `fetch()`, stored for 30 days; a None for `none_ttl` seconds if that is given."""
        company = self.flows.catalog.company
        return self._get_or_compute(company.name, keys.company(company_id), company.ttl_s, fetch, none_ttl)

    def set_company_enrichment(self, company_id: int, data: Json) -> bool:
        """Stores fresh data; a fetch that is in flight will not overwrite it."""
        company = self.flows.catalog.company
        flow = self.flows.set_value(company.name, keys.company(company_id), data, company.ttl_s)
        return self.run(flow)

    def invalidate_company(self, company_id: int) -> bool:
        """Forgets a company's enrichment, a fetch in flight included."""
        return self.run(self.flows.invalidate(keys.company(company_id)))

    def get_ijp(self, user_id: int, load: Callable[[], Json], *, none_ttl: int | None = None) -> Json:
        """The user's job preferences: cached, or `load()`, stored; a None for `none_ttl` seconds if that is given."""
        ijp = self.flows.catalog.ijp
        return self._get_or_compute(ijp.name, keys.ijp(user_id), ijp.ttl_s, load, none_ttl)

    def update_ijp(self, user_id: int, data: Json, *, save: Callable[[], object] | None = None) -> bool:
        """Stores changed preferences and forgets the user's scores.

        `save` writes them to the database. Of two updates at once neither leaves an older value cached than the
        database has; without `save` (the database was written before the call) the one that calls last wins.
        What `save` raises reaches the caller, and the cached preferences are forgotten.
        """
        flow = self.flows.update_ijp(user_id, data, saves=save is not None)
        return self.run(flow, save or no_compute)

    # -- sessions ----------------------------------------------------------------------------------------------

    def start_session(self, user_id: int, data: Json) -> bool:
        """Stores a session at login: 15 minutes, extended by each lookup, never beyond 8 hours."""
        return self.run(self.flows.start_session(user_id, data))

    def get_session(self, user_id: int, *, default: Json = None) -> Json:
        """The session, extended by its TTL in the same round trip; `default` if there is none."""
        return self.run(self.flows.get_session(user_id, default))

    def end_session(self, user_id: int) -> bool:
        """Forgets the session at logout; a login that is still on its way does not bring it back."""
        return self.run(self.flows.end_session(user_id))

    # -- anything else -----------------------------------------------------------------------------------------

    def get_with_lock(
        self, key: str, calculate_func: Callable[[], Json], ttl: int, *, none_ttl: int | None = None
    ) -> Json:
        """The cached value of `key`, or `calculate_func()`, stored for `ttl` seconds; a None for `none_ttl` if given.

        One caller computes, the others wait for its value. Raises InvalidKeyError for a key without a lease key
        or of the library's own, ValueError for a `ttl` under 1 or over ten years.
        """
        return self._get_or_compute(GENERIC, keys.generic(key), checked_ttl("ttl", ttl), calculate_func, none_ttl)

    def forget_user(self, user_id: int) -> bool:
        """Removes a person's scores, preferences and session.

        In layout keys the scores are out of reach at once and gone from the server within their TTL.
        """
        return self.run(self.flows.forget_user(user_id))

    # -- carrying out ------------------------------------------------------------------------------------------

    def _get_or_compute(
        self, name: str, key: str, ttl_s: int, compute: Callable[[], Json], none_ttl: int | None
    ) -> Json:
        if none_ttl is not None:
            checked_ttl("none_ttl", none_ttl, least=0)
        if self.near is not None and (value := self.near.value(name, key)) is not MISS:
            return value
        return self.run(self.flows.get_or_compute(name, key, ttl_s, none_ttl_s=none_ttl), compute)

    def run(self, flow: Flow[T], compute: Callable[..., Any] = no_compute) -> T:
        """Carries out a flow of `flows`, for warming and whoever else builds flows of their own."""
        operation = Operation()
        try:
            step = next(flow)
            while True:
                try:
                    answer = self.act(step, compute, operation)
                except BaseException as error:  # noqa: BLE001 - the flow cleans up and lets it pass
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    def act(self, step: Step, compute: Callable[..., Any], operation: Operation) -> Any:
        """Carries out one step, for whoever drives flows otherwise than `run` does."""
        match step:
            case SharedRead():
                return self._reads.send(step.commands, operation)
            case Send():
                return self._link.send(step.commands, operation)
            case Compute():
                answer = compute(*step.arguments)
                if inspect.iscoroutine(answer):  # nothing was done: what was to be saved is not
                    answer.close()
                    raise TypeError(
                        f"{compute!r} is async; CacheService takes plain functions (AsyncCacheService, async)."
                    )
                return answer
            case WaitForLease():
                seen = self._wait_for_lease(step)
                operation.has_waited()
                return seen
            case Wait():
                time.sleep(step.wait_s)
        return None

    def _wait_for_lease(self, step: WaitForLease) -> Reply:
        seen: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        stop_watching = self._keeper.watch(step, seen.put)
        try:
            return seen.get(timeout=step.at_most_s)
        except queue.Empty:
            return None
        finally:
            stop_watching()
