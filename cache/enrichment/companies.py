"""Between the cache and a provider: one call per company, `cached_at`, and what the cache has saved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from cache.catalog import DAY

if TYPE_CHECKING:
    from cache.aio import AsyncCacheService
    from cache.clock import Clock
    from cache.codec import Json
    from cache.service import CacheService
    from cache.stats import Stats

# A company that the provider does not know today may be in its next release of data.
UNKNOWN_FOR_S: Final = 7 * DAY


class Provider(Protocol):
    """Whoever knows companies. `find` gives what is known by a domain (a JSON object), or None.

    Raises EnrichmentUnavailableError if it cannot tell now, ValueError for what is no domain.
    """

    def find(self, domain: str) -> dict[str, Json] | None: ...
    @property
    def calls(self) -> int:
        """How many requests were sent, each of which is paid for."""


class AsyncProvider(Protocol):
    """As `Provider`, awaited."""

    async def find(self, domain: str) -> dict[str, Json] | None: ...
    @property
    def calls(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Savings:
    """What the cache has saved since the process started, against one call for each lookup."""

    lookups: int
    calls: int
    price_usd_per_call: float

    @property
    def calls_saved(self) -> int:
        return max(self.lookups - self.calls, 0)

    @property
    def saved_usd(self) -> float:
        return self.calls_saved * self.price_usd_per_call

    def __str__(self) -> str:
        share = self.calls_saved / self.lookups if self.lookups else 0.0
        return (
            f"{self.lookups:,} lookups, {self.calls:,} calls to the provider: {self.calls_saved:,} saved "
            f"({share:.0%}), {self.saved_usd:,.2f} USD at {self.price_usd_per_call:g} USD a call"
        )


class Companies:
    """`Companies(cache, Clearbit.from_environment()).get(101, "example.com")`.

    However many ask for a company at once, in all processes together, one of them calls the provider. A company that
    the provider does not know is kept as None for 7 days.
    """

    def __init__(self, cache: CacheService, provider: Provider) -> None:
        self._cache = cache
        self._provider = provider

    def get(self, company_id: int, domain: str) -> dict[str, Any] | None:
        """The enrichment with `cached_at` (ISO 8601, UTC), or None if the provider knows no such company.

        Raises EnrichmentUnavailableError if it is not cached and the provider cannot tell now, ValueError for what is
        no domain.
        """

        def fetch() -> Json:
            return dated(self._provider.find(domain), self._cache.flows.clock)

        found: dict[str, Any] | None = self._cache.get_company_enrichment(company_id, fetch, none_ttl=UNKNOWN_FOR_S)
        return found

    def savings(self, price_usd_per_call: float) -> Savings:
        return savings(self._cache.stats, self._provider.calls, price_usd_per_call)


class AsyncCompanies:
    """As `Companies`, awaited."""

    def __init__(self, cache: AsyncCacheService, provider: AsyncProvider) -> None:
        self._cache = cache
        self._provider = provider

    async def get(self, company_id: int, domain: str) -> dict[str, Any] | None:
        async def fetch() -> Json:
            return dated(await self._provider.find(domain), self._cache.flows.clock)

        found: dict[str, Any] | None = await self._cache.get_company_enrichment(
            company_id, fetch, none_ttl=UNKNOWN_FOR_S
        )
        return found

    def savings(self, price_usd_per_call: float) -> Savings:
        return savings(self._cache.stats, self._provider.calls, price_usd_per_call)


def dated(company: dict[str, Json] | None, clock: Clock) -> Json:
    if company is None:
        return None
    return {**company, "cached_at": datetime.fromtimestamp(clock.now(), UTC).isoformat()}


def savings(stats: Stats, calls: int, price_usd_per_call: float) -> Savings:
    return Savings(stats.counts("company").lookups, calls, price_usd_per_call)
