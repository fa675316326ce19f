"""To CloudWatch: `CacheHits` and `CacheMisses` of each cache type by the minute, which the stack's alarms watch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config

from cache.clock import SystemClock
from cache.metrics.publisher import Sink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cache.clock import Clock
    from cache.metrics.report import Report
    from cache.stats import Counts

NAMESPACE: Final = "RoleFerry/Cache"
HITS: Final = "CacheHits"
MISSES: Final = "CacheMisses"
DIMENSION: Final = "CacheType"
MINUTE_S: Final = 60
# Three hours without CloudWatch are kept. Later than that the alarms have long judged without these minutes.
KEPT_MINUTES: Final = 180
# PutMetricData takes 1,000 data in one call.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
_DATA_PER_CALL: Final = 1_000
_TIMEOUT_S: Final = 2


class Minutes:
    """Hits and misses by minute and cache type, and what PutMetricData is to be sent of them. Pure."""

    def __init__(self) -> None:
        self._minutes: dict[int, dict[str, tuple[int, int]]] = {}
        self.dropped = 0

    def add(self, at: float, types: Mapping[str, Counts]) -> None:
        """What was counted about the time `at` (seconds since the epoch)."""
        minute = self._minutes.setdefault(int(at) // MINUTE_S * MINUTE_S, {})
        for name, counts in types.items():
            hits, misses = minute.get(name, (0, 0))
            minute[name] = hits + counts.hits, misses + sum(counts.misses.values())
        while len(self._minutes) > KEPT_MINUTES:
            del self._minutes[min(self._minutes)]
            self.dropped += 1

    def ended(self, now: float) -> list[int]:
        """The minutes that are over at `now`, oldest first: each is a start in seconds since the epoch."""
        return sorted(minute for minute in self._minutes if minute + MINUTE_S <= now)

    def all(self) -> list[int]:
        return sorted(self._minutes)

    def data(self, minute: int) -> list[dict[str, Any]]:
        """The `MetricData` of a minute. A type without lookups is sent as 0: it is watched, and nobody asked."""
        return [
            {
                "MetricName": metric,
                "Dimensions": [{"Name": DIMENSION, "Value": name}],
                "Timestamp": datetime.fromtimestamp(minute, UTC),
                "Value": float(value),
                "Unit": "Count",
            }
            for name, counted in self._minutes[minute].items()
            for metric, value in zip((HITS, MISSES), counted, strict=True)
        ]

    def sent(self, minute: int) -> None:
        del self._minutes[minute]

    def clear(self) -> None:
        self._minutes.clear()


class CloudWatch(Sink):
    """One call of PutMetricData a minute, with what every process of the application counted by itself.

    What CloudWatch does not take (throttled, not reachable) is kept for three hours and sent later, a minute's counts
    under their own time. `namespace` is the one that the stack's alarms watch: `RoleFerry/Cache/prod` for `prod`.
    `client` is a boto3 client for cloudwatch; without it one is made at the first report, by boto3's usual settings.
    """

    def __init__(self, namespace: str = NAMESPACE, *, client: Any = None, clock: Clock | None = None) -> None:
        self.minutes = Minutes()
        self._namespace = namespace
        self._given = self._client = client
        self._clock = clock or SystemClock()

    def send(self, report: Report) -> None:
        self.minutes.add(report.began_at, report.types)
        self._put(self.minutes.ended(self._clock.now()))

    def close(self) -> None:
        """Sends the minute that is not over, too: the next process adds to it."""
        self._put(self.minutes.all())

    def after_fork(self) -> None:
        self.minutes.clear()
        self._client = self._given

    def _put(self, minutes: list[int]) -> None:
        if minutes and self._client is None:
            config = Config(connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"total_max_attempts": 1})
            self._client = boto3.client("cloudwatch", config=config)
        while minutes:
            batch, size = [minutes[0]], len(data := self.minutes.data(minutes[0]))
            for minute in minutes[1:]:
                more = self.minutes.data(minute)
                if size + len(more) > _DATA_PER_CALL:
                    break
                batch.append(minute)
                data += more
                size += len(more)
            self._client.put_metric_data(Namespace=self._namespace, MetricData=data)
            for minute in batch:
                self.minutes.sent(minute)
            minutes = minutes[len(batch) :]
