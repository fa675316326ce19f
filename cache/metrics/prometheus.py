"""As metrics of `prometheus_client`, for whatever serves that process's registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, Counter, Gauge

from cache.metrics.publisher import Sink
from cache.metrics.report import gauges, samples

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cache.metrics.report import Report

_HELP: Final = {
    "hits": "Lookups that found a value.",
    "near_hits": "Those of the hits that the near cache answered.",
    "misses": "Lookups that found none, by reason.",
    "computes": "Values computed.",
    "compute_s": "Seconds spent computing.",
    "errors": "Computes that raised.",
    "waits": "Lookups that waited for another caller's compute.",
    "refused_writes": "Writes that came after an invalidation and were rightly not stored.",
    "dropped_writes": "Writes that the server did not take.",
    "requests": "Requests by whether all their lookups were hits.",
}
_LABELS: Final = {"misses": ("cache_type", "reason"), "requests": ("status", "endpoint")}


class Prometheus(Sink):
    """Counters `roleferry_cache_…_total` and gauges, as old as the last report.

    Works in the multi-process mode of `prometheus_client` too.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._counters = {
            name: Counter(
                f"roleferry_cache_{_public(name)}", text, _LABELS.get(name, ("cache_type",)), registry=registry
            )
            for name, text in _HELP.items()
        }
        self._gauges = {
            name: Gauge(
                f"roleferry_cache_{name}", text, registry=registry, multiprocess_mode="livesum" if own else "max"
            )
            for name, text, own in (
                ("pending_invalidations", "Invalidations that the server has not confirmed.", True),
                ("server_memory_bytes", "Memory in use on the server.", False),
                ("server_items", "Keys on the server.", False),
                ("server_evicted_items", "Items that the server has evicted since it started.", False),
            )
        }

    def send(self, report: Report) -> None:
        for name, labels, count in samples(report):
            self._counters[name].labels(**labels).inc(count)
        for name, value in gauges(report):
            self._gauges[name].set(value)


def _public(name: str) -> str:
    return name.removesuffix("_s") + "_seconds" if name.endswith("_s") else name
