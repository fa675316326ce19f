"""Company enrichment: what a provider knows of a company, asked for once and cached for 30 days."""

from cache.enrichment.clearbit import AsyncClearbit, Clearbit
from cache.enrichment.companies import AsyncCompanies, AsyncProvider, Companies, Provider, Savings
from cache.enrichment.errors import EnrichmentUnavailableError

__all__ = [
    "AsyncClearbit",
    "AsyncCompanies",
    "AsyncProvider",
    "Clearbit",
    "Companies",
    "EnrichmentUnavailableError",
    "Provider",
    "Savings",
]
