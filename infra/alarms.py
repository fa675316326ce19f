"""The alarms of a stack as plain values, from the catalogue and the node type. What each means is in its description.

ElastiCache's own CacheHitRate is drawn on the dashboard and never alarmed: it counts keys, and a full hit of the list
view is one key found and up to 101 fields, while a cold one is a single miss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infra import metric_math
from infra.static_site import GLOBAL_REGION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pulumi

    from cache.catalog import CacheType, Catalog
    from infra.settings import Settings

HITS: Final = "CacheHits"
MISSES: Final = "CacheMisses"
BASELINE: Final = "HitRateBaseline"
RUNBOOKS: Final = "docs/runbooks"

# CPU credits of cache.t4g.medium: 24 an hour, at most 576; a fully busy node of two vCPUs spends 120 an hour
# (https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/CacheNodes.SupportedTypes.html). At this balance 90 minutes
# of full load are left.
CREDITS_LEFT: Final = 144
# AWS recommends 90 % of one vCPU's share for the host, as the engine's main thread keeps to one vCPU.
CPU_PERCENT_OF_ONE_VCPU: Final = 90
ENGINE_CPU_PERCENT: Final = 90
# Nothing is evicted while data fits; this many in five minutes is pressure and not an accident.
EVICTIONS: Final = 100
REPLICATION_LAG_S: Final = 1
# Below it the one-week TTL does not do its work: names without fingerprints, or query strings that vary.
CDN_HIT_RATE_PERCENT: Final = 80
CDN_ERROR_PERCENT: Final = 1
# CloudFront refuses (403) what programs send that look for holes, such as POST; a closed bucket refuses every page.
CDN_REFUSED_PERCENT: Final = 5
# One error in so many requests stays under the threshold.
CDN_GUARD_REQUESTS: Final = 200


@dataclass(frozen=True)
class Metric:
    """One series of CloudWatch."""

    namespace: str
    name: str
    dimensions: Mapping[str, pulumi.Input[str]]
    stat: str
    period_s: int


@dataclass(frozen=True)
class Alarm:
    """One alarm. `expression` is over the ids of `metrics`; the id of a single metric is an expression too."""

    name: str
    kind: str
    description: str
    metrics: Mapping[str, Metric]
    expression: str
    comparison: str
    threshold: float
    datapoints: int
    periods: int
    missing: str = "notBreaching"
    region: str | None = None
    # False where a composite pages for it.
    pages: bool = True

    @property
    def text(self) -> str:
        return f"{self.description} Runbook: {RUNBOOKS}/{self.kind}.md"


@dataclass(frozen=True)
class Composite:
    """Pages when any of `children` rings."""

    name: str
    kind: str
    description: str
    children: tuple[str, ...]

    @property
    def rule(self) -> str:
        return " OR ".join(f'ALARM("{child}")' for child in self.children)

    @property
    def text(self) -> str:
        return f"{self.description} Runbook: {RUNBOOKS}/{self.kind}.md"


_LOW_FOR_LONG: Final = "warming did not run, a release changed a key or format, the TTL is too short, keys were evicted"
_FELL_AT_ONCE: Final = "something changed in the last hour: a release, a flush, a failover, a job that invalidates much"

ABOVE: Final = "GreaterThanThreshold"
BELOW: Final = "LessThanThreshold"


def every(
    settings: Settings, catalog: Catalog, *, distribution_id: pulumi.Input[str], baseline_function: str
) -> Iterator[Alarm]:
    """All alarms of a stack, but for the composites above them."""
    yield from hit_rate_alarms(settings, catalog)
    yield from node_alarms(settings)
    yield from cdn_alarms(settings, distribution_id)
    yield from baseline_alarms(settings, baseline_function)


def counts(settings: Settings, cache_type: CacheType, period_s: int) -> dict[str, Metric]:
    """Hits `h` and misses `m` of a cache type, as the application publishes them."""
    namespace, dimensions = settings.names.metric_namespace, {"CacheType": cache_type.name}
    return {
        "h": Metric(namespace, HITS, dimensions, "Sum", period_s),
        "m": Metric(namespace, MISSES, dimensions, "Sum", period_s),
    }


def baseline(settings: Settings, cache_type: CacheType) -> Metric:
    """The hit rate of the last seven days in percent, published every hour."""
    return Metric(
        settings.names.metric_namespace,
        BASELINE,
        {"CacheType": cache_type.name},
        "Average",
        metric_math.DROP_PERIOD_S,
    )


def hit_rate_alarms(settings: Settings, catalog: Catalog) -> Iterator[Alarm]:
    """Floor, drop and telemetry of each cache type."""
    for cache_type in catalog:
        name, target = cache_type.name, 100 * cache_type.target_hit_rate
        floor = settings.floor_percent(cache_type)
        watch = metric_math.watch(cache_type, catalog, floor_percent=floor)
        yield Alarm(
            settings.names.of(f"{name}-floor"),
            "hit-rate",
            f"The hit rate of {name} is under {floor:g} % (target {target:g} %): more pages compute than should. "
            f"Likely: {_LOW_FOR_LONG}.",
            counts(settings, cache_type, watch.period_s),
            metric_math.rate(guard=watch.guard, otherwise=target),
            BELOW,
            floor,
            watch.datapoints,
            watch.periods,
            pages=False,
        )
        hourly = metric_math.DROP_PERIOD_S
        yield Alarm(
            settings.names.of(f"{name}-drop"),
            "hit-rate",
            f"The hit rate of {name} fell more than {metric_math.DROP_POINTS} points under its last seven days. "
            f"Likely: {_FELL_AT_ONCE}.",
            counts(settings, cache_type, hourly) | {"b": baseline(settings, cache_type)},
            metric_math.drop(guard=metric_math.guard_lookups(cache_type, catalog, points=metric_math.DROP_POINTS)),
            ABOVE,
            metric_math.DROP_POINTS,
            # Rings at once, and ends when two hours are fine: a rate that creeps back would page again and again.
            1,
            2,
            pages=False,
        )
        yield Alarm(
            settings.names.of(f"{name}-telemetry"),
            "telemetry",
            f"No counts of {name} were published for half an hour: its hit rate is not watched. Likely: the "
            "application is down, lost its permission to publish metrics, or publishes in another namespace.",
            counts(settings, cache_type, 900),
            # The application publishes 0 where nobody looked anything up: a quiet night is no failure.
            metric_math.or_if_missing("h+m", -1),
            BELOW,
            0,
            2,
            2,
            missing="breaching",
        )


def hit_rate_composites(settings: Settings, catalog: Catalog) -> Iterator[Composite]:
    """What pages for a cache type: once, whether it is under its floor, has dropped, or both."""
    for cache_type in catalog:
        name, target, floor = cache_type.name, 100 * cache_type.target_hit_rate, settings.floor_percent(cache_type)
        yield Composite(
            settings.names.of(f"{name}-hit-rate"),
            "hit-rate",
            f"The hit rate of {name} (target {target:g} %) is under its floor of {floor:g} %, or fell more than "
            f"{metric_math.DROP_POINTS} points under its last seven days. Likely: {_LOW_FOR_LONG}; or {_FELL_AT_ONCE}.",
            (settings.names.of(f"{name}-floor"), settings.names.of(f"{name}-drop")),
        )


def node_metric(node: str, name: str, stat: str, *, period_s: int = 60, host: bool = False) -> Metric:
    """A metric of one node; those of its host have the node's number as a second dimension."""
    dimensions = {"CacheClusterId": node} | ({"CacheNodeId": "0001"} if host else {})
    return Metric("AWS/ElastiCache", name, dimensions, stat, period_s)


def node_alarms(settings: Settings) -> Iterator[Alarm]:
    """The alarms of every node. ElastiCache has few metrics for a replication group as a whole."""
    cpu = CPU_PERCENT_OF_ONE_VCPU / settings.node.vcpus
    for node in settings.node_ids:

        def alarm(
            kind: str, description: str, metric: Metric, threshold: float, m: int, n: int, *, node: str = node
        ) -> Alarm:
            return Alarm(f"{node}-{kind}", kind, description, {"v": metric}, "v", ABOVE, threshold, m, n)

        yield alarm(
            "cpu",
            f"{node} uses over {cpu:g} % of its CPU, which is {CPU_PERCENT_OF_ONE_VCPU} % of one vCPU: lookups "
            "queue up. Likely: more traffic than planned, a large batch, many new TLS connections.",
            node_metric(node, "CPUUtilization", "Average", host=True),
            cpu,
            5,
            5,
        )
        yield alarm(
            "engine-cpu",
            f"The engine's thread on {node} is busy over {ENGINE_CPU_PERCENT} %: every command waits. Likely: an "
            "expensive command (see the slow log), or more traffic than one node serves.",
            node_metric(node, "EngineCPUUtilization", "Average"),
            ENGINE_CPU_PERCENT,
            5,
            5,
        )
        yield alarm(
            "memory",
            f"{node} has filled {settings.memory_alarm_percent:g} % of its memory: evictions come next. Likely: more "
            "users than the node was sized for, or entries grew.",
            node_metric(node, "DatabaseMemoryUsagePercentage", "Maximum"),
            settings.memory_alarm_percent,
            5,
            5,
        )
        yield alarm(
            "evictions",
            f"{node} evicted over {EVICTIONS} entries in five minutes: data does not fit, hit rates will fall. "
            "Likely: more users than the node was sized for, entries grew, or something without a TTL fills it.",
            node_metric(node, "Evictions", "Sum", period_s=300),
            EVICTIONS,
            2,
            3,
        )
        yield alarm(
            "replication-lag",
            f"{node} is over {REPLICATION_LAG_S} s behind its primary: a failover now would lose that much, and "
            "invalidations with it. Likely: a write burst, a snapshot, a node short of CPU.",
            node_metric(node, "ReplicationLag", "Maximum"),
            REPLICATION_LAG_S,
            15,
            15,
        )
        yield alarm(
            "connections",
            f"{node} has over {settings.connections_alarm} connections. Likely: an application that opens a client for "
            "each request, or pools larger than planned.",
            node_metric(node, "CurrConnections", "Average", host=True),
            settings.connections_alarm,
            10,
            10,
        )
        yield Alarm(
            f"{node}-swap",
            "swap",
            f"{node} swaps more than it has free memory: latency jumps. Likely: a snapshot while memory is full.",
            {
                "s": node_metric(node, "SwapUsage", "Maximum", host=True),
                "f": node_metric(node, "FreeableMemory", "Minimum", host=True),
            },
            "s-f",
            ABOVE,
            0,
            5,
            5,
        )
        yield Alarm(
            f"{node}-node-lost",
            "node-lost",
            f"{node} reports nothing for five minutes: it is gone or cannot be reached. Likely: it failed and is being "
            "replaced, or the replication group is being changed.",
            {"v": node_metric(node, "EngineCPUUtilization", "SampleCount")},
            metric_math.or_if_missing("v", 0),
            BELOW,
            1,
            5,
            5,
            missing="breaching",
        )
        if settings.node.burstable:
            yield Alarm(
                f"{node}-cpu-credits",
                "cpu-credits",
                f"{node} has under {CREDITS_LEFT} CPU credits: in about 90 busy minutes it is throttled to a fifth of "
                "its CPU. Likely: sustained load that needs a larger, non-burstable node.",
                {"v": node_metric(node, "CPUCreditBalance", "Minimum", period_s=300, host=True)},
                "v",
                BELOW,
                CREDITS_LEFT,
                3,
                3,
            )


def cdn_metric(distribution_id: pulumi.Input[str], name: str, stat: str) -> Metric:
    return Metric("AWS/CloudFront", name, {"DistributionId": distribution_id, "Region": "Global"}, stat, 300)


def cdn_alarms(settings: Settings, distribution_id: pulumi.Input[str]) -> Iterator[Alarm]:
    """The static site's alarms, where CloudFront's metrics are."""
    requests = cdn_metric(distribution_id, "Requests", "Sum")
    yield Alarm(
        settings.names.of("cdn-hit-rate"),
        "cdn-hit-rate",
        f"CloudFront serves under {CDN_HIT_RATE_PERCENT} % of the static files from its cache: pages load slower. "
        "Likely: a release changed every file at once, files lie outside assets/, somebody invalidated everything.",
        {"r": requests, "v": cdn_metric(distribution_id, "CacheHitRate", "Average")},
        # Third, since a missing second value would count as 0: no rate is published of errors alone, or where it is
        # not subscribed to.
        f"IF(r<{CDN_GUARD_REQUESTS}, 100, v)",
        BELOW,
        CDN_HIT_RATE_PERCENT,
        4,
        6,
        region=GLOBAL_REGION,
    )

    def over(percent: int, name: str, metric: str, what: str) -> Alarm:
        return Alarm(
            settings.names.of(name),
            "cdn-errors",
            f"Over {percent} % of the requests for static files {what}",
            {"r": requests, "v": cdn_metric(distribution_id, metric, "Average")},
            f"IF(r>={CDN_GUARD_REQUESTS}, v, 0)",
            ABOVE,
            percent,
            3,
            3,
            region=GLOBAL_REGION,
        )

    yield over(
        CDN_ERROR_PERCENT,
        "cdn-errors",
        "5xxErrorRate",
        "end in a server error. Likely: S3 or CloudFront have a disturbance.",
    )
    if settings.web_acl_arn is None:  # which refuses by the same code, and whoever it is meant to
        yield over(
            CDN_REFUSED_PERCENT,
            "cdn-refused",
            "403ErrorRate",
            "are refused. Likely: the bucket's policy or the origin access control was changed.",
        )


def baseline_alarms(settings: Settings, function_name: str) -> Iterator[Alarm]:
    """The baseline function's own: it failed, or it did not run."""

    def ran(name: str) -> dict[str, Metric]:
        return {"v": Metric("AWS/Lambda", name, {"FunctionName": function_name}, "Sum", 3_600)}

    effect = "drops of the hit rate are no longer noticed."
    yield Alarm(
        settings.names.of("baseline-failed"),
        "baseline",
        f"The hourly baseline function raised an error: {effect} Likely: a permission is missing (see its log).",
        ran("Errors"),
        "v",
        ABOVE,
        0,
        1,
        1,
    )
    yield Alarm(
        settings.names.of("baseline-missing"),
        "baseline",
        f"The hourly baseline function did not run for three hours: {effect} Likely: its schedule is disabled.",
        ran("Invocations"),
        metric_math.or_if_missing("v", 0),
        BELOW,
        1,
        3,
        3,
        missing="breaching",
    )
