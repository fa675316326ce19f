"""Middleware that tells of each request whether its lookups were hits, for ASGI and for WSGI.

The response's header `X-Cache-Hit` is `1` if every lookup of the request was a hit, empty if one of them missed, and
left out where there was no lookup. Empty rather than `0`, so that `if response.headers.get("X-Cache-Hit")` stays right.
Lookups count until the response starts: what a streamed body or a background task looks up comes after the header.
"""

from cache.middleware.asgi import AsgiCacheMetrics
from cache.middleware.wsgi import WsgiCacheMetrics

__all__ = ["AsgiCacheMetrics", "WsgiCacheMetrics"]
