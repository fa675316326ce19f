"""`AsyncCacheService`: the flows of the library, carried out by asyncio tasks on a redis.asyncio client."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import redis.asyncio

from cache import keys
from cache.catalog import CATALOG
from cache.client import Parts, checked_url, no_compute
from cache.commands import Compute, Send, SharedRead, Wait, WaitForLease
from cache.flows import GENERIC, ids
from cache.gate import Operation
from cache.miss import MISS
from cache.near import NEAR_ENTRIES
from cache.service import checked_ttl
from cache.shared_reads import AsyncSharedReads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping

    from redis.credentials import CredentialProvider

    from cache.catalog import Catalog
    from cache.client import AsyncClient
    from cache.clock import Clock
    from cache.codec import Json
    from cache.commands import Flow, Reply, Step
    from cache.fences import Fence
    from cache.stats import Stats

T = TypeVar("T")


class AsyncCacheService:
    """`CacheService` for asyncio: the same methods and promises, awaited; callbacks are async functions.

    Each event loop has connections of its own. What computes without awaiting keeps its lease all the same: a thread
    renews it. A task that is cancelled gives its lease back.
    """

    def __init__(
        self,
        client: AsyncClient,
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
        """As for `CacheService`; `client` is a redis.asyncio client."""
        if not isinstance(client, redis.asyncio.Redis | redis.asyncio.RedisCluster):
            raise TypeError(
                f"client is a {type(client).__name__}; AsyncCacheService takes a redis.asyncio.Redis "
                "or redis.asyncio.RedisCluster."
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
            caller=_task,
        )
        self.flows = self._parts.flows
        self._link = self._parts.async_link()
        self._keeper = self._parts.keeper
        self.near = self._parts.near
        self.stats: Stats = self._parts.stats
        self._reads = AsyncSharedReads(self._link, self.stats)

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
    ) -> AsyncCacheService:
        """A service for `redis://`, `rediss://` (TLS) or `unix://`. Raises ValueError for another URL.

        `credential_provider` is redis-py's, such as `cache.elasticache.IamCredentials`, instead of a user and password
        in the URL.
        """
        pool = redis.asyncio.ConnectionPool.from_url(checked_url(url), credential_provider=credential_provider)
        return cls(
            redis.asyncio.Redis(connection_pool=pool),
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

    async def close(self) -> None:
        """Closes the connections and ends the threads."""
        await self._link.close()
        await asyncio.to_thread(self._parts.close)

    @property
    def pending_invalidations(self) -> int:
        """How many invalidations the server has not confirmed yet."""
        return len(self._parts.pending)

    # -- match scores ------------------------------------------------------------------------------------------

    async def get_match_score(self, user_id: int, job_id: int) -> dict[str, Json] | None:
        if self.near is not None and (score := self.near.score(user_id, job_id)) is not None:
            return score
        return (await self.run(self.flows.get_scores(user_id, [keys.checked("job_id", job_id)]))).get(job_id)

    async def get_match_scores(self, user_id: int, job_ids: Iterable[int]) -> dict[int, dict[str, Json]]:
        jobs = ids(job_ids)
        if self.near is not None and (scores := self.near.scores(user_id, jobs)) is not None:
            return scores
        return await self.run(self.flows.get_scores(user_id, jobs))

    async def fence(self, user_id: int, job_ids: Iterable[int]) -> Mapping[int, Fence]:
        return await self.run(self.flows.fence(user_id, ids(job_ids)))

    async def set_match_score(
        self, user_id: int, job_id: int, score_data: Mapping[str, Json], *, fence: Mapping[int, Fence] | None = None
    ) -> bool:
        return await self.set_match_scores(user_id, {job_id: score_data}, fence=fence)

    async def set_match_scores(
        self, user_id: int, scores: Mapping[int, Mapping[str, Json]], *, fence: Mapping[int, Fence] | None = None
    ) -> bool:
        ids(scores)
        return await self.run(self.flows.set_scores(user_id, scores, fence))

    async def match_scores(
        self,
        user_id: int,
        job_ids: Iterable[int],
        compute: Callable[[list[int]], Awaitable[Mapping[int, Mapping[str, Json]]]],
    ) -> dict[int, dict[str, Json]]:
        jobs = ids(job_ids)
        if self.near is not None and (scores := self.near.scores(user_id, jobs)) is not None:
            return scores
        return await self.run(self.flows.match_scores(user_id, jobs), compute)

    async def invalidate_user_matches(self, user_id: int) -> bool:
        return await self.run(self.flows.invalidate_user_matches(user_id))

    async def invalidate_job_matches(self, job_id: int) -> bool:
        return await self.run(self.flows.invalidate_job_matches(job_id))

    # -- companies, preferences --------------------------------------------------------------------------------

    async def get_company_enrichment(
        self, company_id: int, fetch: Callable[[], Awaitable[Json]], *, none_ttl: int | None = None
    ) -> Json:
        company = self.flows.catalog.company
        return await self._get_or_compute(company.name, keys.company(company_id), company.ttl_s, fetch, none_ttl)

    async def set_company_enrichment(self, company_id: int, data: Json) -> bool:
        company = self.flows.catalog.company
        flow = self.flows.set_value(company.name, keys.company(company_id), data, company.ttl_s)
        return await self.run(flow)

    async def invalidate_company(self, company_id: int) -> bool:
        return await self.run(self.flows.invalidate(keys.company(company_id)))

    async def get_ijp(self, user_id: int, load: Callable[[], Awaitable[Json]], *, none_ttl: int | None = None) -> Json:
        ijp = self.flows.catalog.ijp
        return await self._get_or_compute(ijp.name, keys.ijp(user_id), ijp.ttl_s, load, none_ttl)

    async def update_ijp(
        self, user_id: int, data: Json, *, save: Callable[[], Awaitable[object]] | None = None
    ) -> bool:
        flow = self.flows.update_ijp(user_id, data, saves=save is not None)
        return await self.run(flow, save or no_compute)

    # -- sessions ----------------------------------------------------------------------------------------------

    async def start_session(self, user_id: int, data: Json) -> bool:
        return await self.run(self.flows.start_session(user_id, data))

    async def get_session(self, user_id: int, *, default: Json = None) -> Json:
        return await self.run(self.flows.get_session(user_id, default))

    async def end_session(self, user_id: int) -> bool:
        return await self.run(self.flows.end_session(user_id))

    # -- anything else -----------------------------------------------------------------------------------------

    async def get_with_lock(
        self, key: str, calculate_func: Callable[[], Awaitable[Json]], ttl: int, *, none_ttl: int | None = None
    ) -> Json:
        return await self._get_or_compute(GENERIC, keys.generic(key), checked_ttl("ttl", ttl), calculate_func, none_ttl)

    async def forget_user(self, user_id: int) -> bool:
        return await self.run(self.flows.forget_user(user_id))

    # -- carrying out ------------------------------------------------------------------------------------------

    async def _get_or_compute(
        self, name: str, key: str, ttl_s: int, compute: Callable[[], Awaitable[Json]], none_ttl: int | None
    ) -> Json:
        if none_ttl is not None:
            checked_ttl("none_ttl", none_ttl, least=0)
        if self.near is not None and (value := self.near.value(name, key)) is not MISS:
            return value
        return await self.run(self.flows.get_or_compute(name, key, ttl_s, none_ttl_s=none_ttl), compute)

    async def run(self, flow: Flow[T], compute: Callable[..., Awaitable[Any]] = no_compute) -> T:
        """As `CacheService.run`, awaited."""
        operation = Operation()
        is_cancelled = False
        try:
            step = next(flow)
            while True:
                try:
                    acting = self.act(step, compute, operation)
                    # What cleans up happens though the caller is cancelled once more: anyio does so at each await.
                    answer = await (asyncio.shield(acting) if is_cancelled else acting)
                except BaseException as error:  # noqa: BLE001 - the flow cleans up and lets it pass
                    is_cancelled = is_cancelled or isinstance(error, asyncio.CancelledError)
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    async def act(self, step: Step, compute: Callable[..., Awaitable[Any]], operation: Operation) -> Any:
        """Carries out one step, for whoever drives flows otherwise than `run` does."""
        match step:
            case SharedRead():
                return await self._reads.send(step.commands, operation)
            case Send():
                return await self._link.send(step.commands, operation)
            case Compute():
                awaitable = compute(*step.arguments)
                if not inspect.isawaitable(awaitable):
                    raise TypeError(f"{compute!r} is not async; AsyncCacheService takes async functions.")
                return await awaitable
            case WaitForLease():
                seen = await self._wait_for_lease(step)
                operation.has_waited()
                return seen
            case Wait():
                await asyncio.sleep(step.wait_s)
        return None

    async def _wait_for_lease(self, step: WaitForLease) -> Reply:
        loop = asyncio.get_running_loop()
        seen: asyncio.Queue[Reply] = asyncio.Queue()

        def wake(reply: Reply) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(seen.put_nowait, reply)

        stop_watching = self._keeper.watch(step, wake)
        try:
            async with asyncio.timeout(step.at_most_s):
                return await seen.get()
        except TimeoutError:
            return None
        finally:
            stop_watching()


def _task() -> Hashable:
    task = asyncio.current_task()
    assert task is not None
    return weakref.ref(task)
