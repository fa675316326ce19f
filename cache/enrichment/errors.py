from __future__ import annotations


class EnrichmentUnavailableError(RuntimeError):
    """The provider could not tell now: away, over its rate, or still looking. Nothing is cached; ask again later."""
