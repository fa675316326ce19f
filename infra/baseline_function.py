"""The scheduled function that publishes each cache type's hit rate of the last seven days, in percent.

It runs in AWS Lambda as one file: the standard library and boto3, nothing of this project.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

DAYS = 7
HOUR = timedelta(hours=1)


class IncompleteError(RuntimeError):
    """CloudWatch did not give all that it was asked for: what it gave would be taken for all there is."""


def handler(event: object, context: object) -> dict[str, float]:
    """Lambda's entry point. Returns what was published, by cache type; an error of AWS fails the run."""
    del event, context
    return publish(
        boto3.client("cloudwatch"),
        namespace=os.environ["NAMESPACE"],
        least_lookups=json.loads(os.environ["LEAST_LOOKUPS"]),
        now=datetime.now(UTC),
    )


def publish(cloudwatch: Any, *, namespace: str, least_lookups: dict[str, int], now: datetime) -> dict[str, float]:
    """Publishes `HitRateBaseline` of each cache type in `least_lookups`, and returns it."""
    baselines = measure(cloudwatch, namespace=namespace, least_lookups=least_lookups, now=now)
    if baselines:
        cloudwatch.put_metric_data(
            Namespace=namespace,
            MetricData=[
                {
                    "MetricName": "HitRateBaseline",
                    "Dimensions": [{"Name": "CacheType", "Value": cache_type}],
                    "Timestamp": now,
                    "Unit": "Percent",
                    "Value": value,
                }
                for cache_type, value in baselines.items()
            ],
        )
    return baselines


def measure(cloudwatch: Any, *, namespace: str, least_lookups: dict[str, int], now: datetime) -> dict[str, float]:
    """The hit rate of the week before `now` by cache type, in percent. Publishes nothing."""
    start, end = week(now)
    return hit_rates(sums(cloudwatch, namespace, list(least_lookups), start, end), least_lookups)


def week(now: datetime) -> tuple[datetime, datetime]:
    """Start and end of the week that a baseline published at `now` is of.

    It ends an hour before the last full hour, so that a drop is not part of what it is compared with.
    """
    end = now.replace(minute=0, second=0, microsecond=0) - HOUR
    return end - timedelta(days=DAYS), end


def hit_rates(counted: dict[tuple[str, str], float], least_lookups: dict[str, int]) -> dict[str, float]:
    """Percent by cache type. One with fewer lookups than its least is left out: there is no baseline yet."""
    rates = {}
    for cache_type, least in least_lookups.items():
        hits, misses = counted[cache_type, "CacheHits"], counted[cache_type, "CacheMisses"]
        if hits + misses >= least:
            rates[cache_type] = 100 * hits / (hits + misses)
    return rates


def sums(
    cloudwatch: Any, namespace: str, cache_types: list[str], start: datetime, end: datetime, *, period_s: int = 3600
) -> dict[tuple[str, str], float]:
    """Hits and misses between two full periods, by cache type and the metric's name. Raises IncompleteError."""
    counted = [(cache_type, metric) for cache_type in cache_types for metric in ("CacheHits", "CacheMisses")]
    metrics = [of_cache_type(namespace, metric, cache_type) for cache_type, metric in counted]
    values = series(cloudwatch, metrics, "Sum", start, end, period_s=period_s)
    return dict(zip(counted, map(sum, values), strict=True))


def of_cache_type(namespace: str, metric: str, cache_type: str) -> dict[str, Any]:
    """A metric as CloudWatch names it."""
    return {
        "Namespace": namespace,
        "MetricName": metric,
        "Dimensions": [{"Name": "CacheType", "Value": cache_type}],
    }


def series(
    cloudwatch: Any, metrics: list[dict[str, Any]], stat: str, start: datetime, end: datetime, *, period_s: int = 3600
) -> list[list[float]]:
    """The values of each metric between two times, the newest first. Raises IncompleteError.

    Each result of GetMetricData has a status of its own, in an answer that is none of an error: PartialData and
    InternalError are made good by the next page, if there is one, Forbidden by none.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataResult.html
    """
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        StartTime=start,
        EndTime=end,
        ScanBy="TimestampDescending",
        MetricDataQueries=[
            {"Id": f"m{index}", "MetricStat": {"Metric": metric, "Period": period_s, "Stat": stat}}
            for index, metric in enumerate(metrics)
        ],
    )
    values: list[list[float]] = [[] for _ in metrics]
    statuses = ["Complete"] * len(metrics)
    for page in pages:
        for result in page["MetricDataResults"]:
            index = int(result["Id"][1:])
            values[index] += result["Values"]
            statuses[index] = result["StatusCode"]
    for metric, status in zip(metrics, statuses, strict=True):
        if status != "Complete":
            way_out = "these keys may not read it" if status == "Forbidden" else "ask again"
            raise IncompleteError(f"CloudWatch did not give all of {metric['MetricName']}: {status}; {way_out}.")
    return values
