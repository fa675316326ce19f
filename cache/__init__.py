"""RoleFerry's cache library.

from cache import CacheService

cache = CacheService.from_url("rediss://…")
scores = cache.match_scores(user_id, job_ids, compute)
"""

from cache.aio import AsyncCacheService
from cache.catalog import CATALOG, CacheType, Catalog
from cache.clock import Clock, SystemClock
from cache.errors import InvalidKeyError, UncacheableError
from cache.miss import MISS
from cache.service import CacheService
from cache.stats import Counts, Stats

__all__ = [
    "CATALOG",
    "MISS",
    "AsyncCacheService",
    "CacheService",
    "CacheType",
    "Catalog",
    "Clock",
    "Counts",
    "InvalidKeyError",
    "Stats",
    "SystemClock",
    "UncacheableError",
]
