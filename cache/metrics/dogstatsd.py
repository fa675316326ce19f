"""To a Datadog agent, as the caching strategy has it: `roleferry.cache.requests` with its tags, and all the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadog.dogstatsd.base import DogStatsd

from cache.metrics.publisher import Sink
from cache.metrics.report import gauges, samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cache.metrics.report import Report


class DogStatsD(Sink):
    """Counts and gauges by UDP, tags as `cache_type:match`. An agent that does not listen costs nothing but the data.

    Without `host` and `port` the variables of the agent hold (`DD_AGENT_HOST`, `DD_DOGSTATSD_URL` …), else
    127.0.0.1:8125. Packets that could not be sent are logged by `datadog.dogstatsd`, and reported to the agent when it
    is back, as `datadog.dogstatsd.client.packets_dropped`.
    """

    def __init__(self, host: str | None = None, port: int | None = None, *, tags: Sequence[str] = ()) -> None:
        """`tags` are added to everything, as `env:prod`."""
        self._statsd = DogStatsd(
            host=host,
            port=port,
            namespace="roleferry.cache",
            constant_tags=list(tags),
            disable_buffering=False,  # one packet for many counts
            flush_interval=0,  # and no thread for it: each report ends with a flush
        )

    def send(self, report: Report) -> None:
        for name, labels, count in samples(report):
            self._statsd.increment(name, count, tags=[f"{label}:{value}" for label, value in labels.items()])
        for name, value in gauges(report):
            self._statsd.gauge(name, value)
        self._statsd.flush()

    def send_numbers(self, numbers: Mapping[str, float]) -> None:
        """As gauges, for what is known at the end of a batch job."""
        for name, value in numbers.items():
            self._statsd.gauge(name, value)
        self._statsd.flush()

    def close(self) -> None:
        self._statsd.close_socket()
