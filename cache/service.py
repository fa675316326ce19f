"""`CacheService`: the flows of the library, carried out on a redis-py client."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from cache import commands, keys
from cache.catalog import CATALOG
from cache.clock import SystemClock
from cache.commands import Compute, Send, Unavailable, Wait
from cache.flows import GENERIC, Flows, ids
from cache.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cache.catalog import Catalog
    from cache.clock import Clock
    from cache.codec import Json
    from cache.commands import Command, Flow, Reply, Step

T = TypeVar("T")

# One round trip inside a region takes about 1 ms; a page must not hang on a cache that takes a hundred.
SOCKET_TIMEOUT_S = 0.1
CONNECT_TIMEOUT_S = 1.0


def _no_compute(*_: object) -> Any:
    raise AssertionError("a flow without a compute asked for one")


class CacheService:
    """RoleFerry's cache on one Valkey or Redis server. Safe to share between threads.

    A server that does not answer is no error: lookups miss, computes run, writes are dropped, `set_*`, `update_*` and
    `invalidate_*` return False. `stats` counts hits and misses by cache type.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        layout: str = "hash",
        catalog: Catalog = CATALOG,
        clock: Clock | None = None,
    ) -> None:
        """`client` must give bytes: one with `decode_responses=True` is refused with a ValueError.

        `layout` is `"hash"` (a user's scores in one packed hash) or `"keys"` (one string per score).
        """
        self._pool = client.connection_pool
        if self._pool.connection_kwargs.get("decode_responses"):
            raise ValueError("the client has decode_responses=True; the cache stores bytes: leave it out.")
        self._layout = layout
        self.stats = Stats()
        self._clock = clock or SystemClock()
        self.flows = Flows(catalog=catalog, layout=layout, clock=self._clock, counts=self.stats)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        layout: str = "hash",
        catalog: Catalog = CATALOG,
        clock: Clock | None = None,
        max_connections: int = 50,
    ) -> CacheService:
        """A service for `redis://`, `rediss://` (TLS) or `unix://`, with time-outs that suit a cache.

        No blind retries: a lookup that fails is a miss at once. Raises ValueError for another scheme.
        """
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=SOCKET_TIMEOUT_S,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=None,
            client_name="roleferry-cache",
        )
        return cls(redis.Redis(connection_pool=pool), layout=layout, catalog=catalog, clock=clock)

    def sharing_connections(self, catalog: Catalog | None = None) -> CacheService:
        """Another service on the same connections, with counts of its own and, if given, another catalogue."""
        client = redis.Redis(connection_pool=self._pool)
        return CacheService(client, layout=self._layout, catalog=catalog or self.flows.catalog, clock=self._clock)

    def close(self) -> None:
        """Closes the connections."""
        self._pool.disconnect()

    # -- match scores ------------------------------------------------------------------------------------------

    def get_match_score(self, user_id: int, job_id: int) -> dict[str, Json] | None:
        """The cached score, or None."""
        return self.run(self.flows.get_scores(user_id, ids([job_id]))).get(job_id)

    def get_match_scores(self, user_id: int, job_ids: Iterable[int]) -> dict[int, dict[str, Json]]:
        """`{job_id: score}` of what is cached; missing ids are absent. One round trip."""
        return self.run(self.flows.get_scores(user_id, ids(job_ids)))

    def set_match_score(self, user_id: int, job_id: int, score_data: dict[str, Json]) -> bool:
        """Caches one score for the catalogue's TTL. True if it was stored, False if it came too late."""
        return self.set_match_scores(user_id, {job_id: score_data})

    def set_match_scores(self, user_id: int, scores: Mapping[int, dict[str, Json]]) -> bool:
        """Caches scores, each with the generations that the missed `get_*` before it saw.

        An invalidation since that `get_*` makes the write late: it is refused or hidden, and never served.
        Raises UncacheableError for a value that is no JSON.
        """
        ids(scores)
        return self.run(self.flows.set_scores(user_id, scores))

    def match_scores(
        self,
        user_id: int,
        job_ids: Iterable[int],
        compute: Callable[[list[int]], Mapping[int, dict[str, Json]]],
    ) -> dict[int, dict[str, Json]]:
        """`{job_id: score}` for all ids: what is cached, and `compute(missing_job_ids)` for the rest, stored.

        `compute` is called at most once, with at least one id; ids that it leaves out are absent.
        """
        return self.run(self.flows.match_scores(user_id, ids(job_ids)), compute)

    def invalidate_user_matches(self, user_id: int) -> bool:
        """Forgets all scores of a user, in one round trip. True if done, False if the server did not answer."""
        return self.run(self.flows.invalidate_user_matches(user_id))

    def invalidate_job_matches(self, job_id: int) -> bool:
        """Forgets all scores for a job, in one round trip. True if done, False if the server did not answer."""
        return self.run(self.flows.invalidate_job_matches(job_id))

    # -- companies, preferences --------------------------------------------------------------------------------

    def get_company_enrichment(self, company_id: int, fetch: Callable[[], Json]) -> Json:
        """The cached enrichment, or `fetch()`, stored for 30 days."""
        company = self.flows.catalog.company
        key = keys.company(company_id)
        return self.run(self.flows.get_or_compute(company.name, key, company.ttl_s), fetch)

    def set_company_enrichment(self, company_id: int, data: Json) -> bool:
        """Stores fresh data; a fetch that is in flight will not overwrite it."""
        ttl_s = self.flows.catalog.company.ttl_s
        return self.run(self.flows.set_value(keys.company(company_id), data, ttl_s))

    def invalidate_company(self, company_id: int) -> bool:
        """Forgets a company's enrichment, a fetch in flight included."""
        return self.run(self.flows.invalidate(keys.company(company_id)))

    def get_ijp(self, user_id: int, load: Callable[[], Json]) -> Json:
        """The user's job preferences: cached, or `load()`, stored."""
        ijp = self.flows.catalog.ijp
        return self.run(self.flows.get_or_compute(ijp.name, keys.ijp(user_id), ijp.ttl_s), load)

    def update_ijp(self, user_id: int, data: Json) -> bool:
        """Stores changed preferences (write them to the database first) and forgets the user's scores."""
        return self.run(self.flows.update_ijp(user_id, data))

    # -- sessions ----------------------------------------------------------------------------------------------

    def start_session(self, user_id: int, data: Json) -> bool:
        """Stores a session at login: 15 minutes, extended by each lookup, never beyond 8 hours."""
        return self.run(self.flows.start_session(user_id, data))

    def get_session(self, user_id: int) -> Json | None:
        """The session, extended by its TTL in the same round trip; None if there is none."""
        return self.run(self.flows.get_session(user_id))

    def end_session(self, user_id: int) -> bool:
        """Forgets the session at logout."""
        return self.run(self.flows.end_session(user_id))

    # -- anything else -----------------------------------------------------------------------------------------

    def get_with_lock(self, key: str, calculate_func: Callable[[], Json], ttl: int) -> Json:
        """The cached value of `key`, or `calculate_func()`, stored for `ttl` seconds.

        One caller computes, the others wait for its value; after 10 s a waiter computes for itself.
        Raises InvalidKeyError for a key without a lease key, ValueError for a `ttl` under 1.
        """
        if type(ttl) is not int or ttl < 1:
            raise ValueError(f"ttl is {ttl!r}; it must be a whole number of seconds, at least 1.")
        return self.run(self.flows.get_or_compute(GENERIC, keys.generic(key), ttl), calculate_func)

    # -- carrying out ------------------------------------------------------------------------------------------

    def run(self, flow: Flow[T], compute: Callable[..., Any] = _no_compute) -> T:
        """Carries out a flow of this service, for `cache.warming` and whoever else builds flows of their own."""
        resume: Callable[[], Step] = partial(next, flow)
        while True:
            try:
                step = resume()
            except StopIteration as done:
                result: T = done.value
                return result
            try:
                resume = partial(flow.send, self._act(step, compute))
            except BaseException as error:  # noqa: BLE001 - the flow cleans up and lets it pass
                resume = partial(flow.throw, error)

    def _act(self, step: Step, compute: Callable[..., Any]) -> Any:
        match step:
            case Send():
                return self._send(step.commands)
            case Compute():
                return compute(*step.arguments)
            case Wait():
                return time.sleep(step.wait_s)

    def _send(self, batch: Sequence[Command]) -> list[Reply] | Unavailable:
        try:
            connection = self._pool.get_connection()
        except (RedisError, OSError) as error:
            return Unavailable(type(error).__name__)
        try:
            replies = _exchange(connection, batch)
        except (RedisError, OSError) as error:
            with suppress(RedisError, OSError):
                connection.disconnect()  # type: ignore[no-untyped-call]
            return Unavailable(type(error).__name__)
        finally:
            self._pool.release(connection)
        refused = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
        return Unavailable(type(refused).__name__) if refused else replies


def _exchange(connection: Any, batch: Sequence[Command]) -> list[Reply]:
    """One round trip; a second one only for scripts that the server did not know."""
    connection.send_packed_command(connection.pack_commands(batch))
    replies = [_read(connection) for _ in batch]
    unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        connection.send_packed_command(connection.pack_commands([commands.with_text(batch[i]) for i in unknown]))
        for i in unknown:
            replies[i] = _read(connection)
    return replies


def _read(connection: Any) -> Reply:
    try:
        return connection.read_response()
    except ResponseError as error:  # an answer like any other: those behind it must be read too
        return error
