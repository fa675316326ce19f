"""The dashboard's layout, from the catalogue and the nodes. Pure, but for the resource at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pulumi
from pulumi_aws import cloudwatch

from infra import alarms
from infra.static_site import GLOBAL_REGION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cache.catalog import CacheType, Catalog
    from infra.settings import Settings

# CloudWatch's grid is 24 columns wide.
_COLUMNS: Final = 24
_HEIGHT: Final = 6
_PERIOD_S: Final = 300


@dataclass(frozen=True)
class Graph:
    """One widget. `series` are rows as the dashboard's JSON has them; `line` is a drawn threshold."""

    title: str
    series: list[Any]
    region: str
    label: str
    line: tuple[str, float] | None = None
    percent: bool = False
    stat: str = "Average"

    def widget(self, x: int, y: int, width: int) -> dict[str, Any]:
        axis: dict[str, Any] = {"label": self.label, "showUnits": False}
        if self.percent:
            axis |= {"min": 0, "max": 100}
        properties: dict[str, Any] = {
            "title": self.title,
            "view": "timeSeries",
            "region": self.region,
            "period": _PERIOD_S,
            "stat": self.stat,
            "metrics": self.series,
            "yAxis": {"left": axis},
        }
        if self.line:
            label, value = self.line
            properties["annotations"] = {"horizontal": [{"label": label, "value": value}]}
        return {"type": "metric", "x": x, "y": y, "width": width, "height": _HEIGHT, "properties": properties}


def rows(settings: Settings, catalog: Catalog, distribution_id: pulumi.Input[str]) -> Iterator[list[Graph]]:
    """The dashboard, row by row: hit rates, what the nodes hold, how they do, the static site."""
    yield [_hit_rate(settings, cache_type) for cache_type in catalog]

    def nodes(title: str, metric: str, label: str, **options: Any) -> Graph:
        series = [["AWS/ElastiCache", metric, "CacheClusterId", node, {"label": node}] for node in settings.node_ids]
        return Graph(title, series, settings.region, label, **options)

    memory, cpu = settings.memory_alarm_percent, alarms.CPU_PERCENT_OF_ONE_VCPU / settings.node.vcpus
    yield [
        nodes("Memory", "DatabaseMemoryUsagePercentage", "percent", percent=True, line=("alarm", memory)),
        nodes("Evictions", "Evictions", "entries in 5 min", stat="Sum", line=("alarm", alarms.EVICTIONS)),
        # Counts keys, not lookups of a cache type: drawn to compare nodes, and not alarmed.
        nodes("ElastiCache's own hit rate (keys)", "CacheHitRate", "percent", percent=True),
    ]
    health = [
        nodes("CPU", "CPUUtilization", "percent", percent=True, line=("alarm", cpu)),
        nodes("Latency of reads", "SuccessfulReadRequestLatency", "microseconds"),
        nodes("Latency of writes", "SuccessfulWriteRequestLatency", "microseconds"),
    ]
    if settings.node.burstable:
        health.append(nodes("CPU credits", "CPUCreditBalance", "credits", line=("alarm", alarms.CREDITS_LEFT)))
    yield health

    def site(title: str, metrics: Sequence[str], label: str, stat: str, **options: Any) -> Graph:
        dimensions = ["DistributionId", distribution_id, "Region", "Global"]
        series = [["AWS/CloudFront", metric, *dimensions] for metric in metrics]
        return Graph(title, series, GLOBAL_REGION, label, stat=stat, **options)

    yield [
        site(
            "Static files: hit rate",
            ["CacheHitRate"],
            "percent",
            "Average",
            percent=True,
            line=("alarm", alarms.CDN_HIT_RATE_PERCENT),
        ),
        site("Static files: requests", ["Requests"], "requests in 5 min", "Sum"),
        site(
            "Static files: server errors, and refusals",
            ["5xxErrorRate", "403ErrorRate"],
            "percent",
            "Average",
            line=("alarm", alarms.CDN_ERROR_PERCENT),
        ),
    ]


def body(settings: Settings, catalog: Catalog, distribution_id: pulumi.Input[str]) -> dict[str, Any]:
    """The dashboard's JSON. Each row fills the width."""
    return {
        "widgets": [
            graph.widget(x=column * _COLUMNS // len(row), y=number * _HEIGHT, width=_COLUMNS // len(row))
            for number, row in enumerate(rows(settings, catalog, distribution_id))
            for column, graph in enumerate(row)
        ]
    }


def _hit_rate(settings: Settings, cache_type: CacheType) -> Graph:
    name, namespace = cache_type.name, settings.names.metric_namespace
    return Graph(
        f"Hit rate: {name}",
        [
            [{"expression": "100*h/(h+m)", "label": "hit rate", "id": "rate"}],
            [namespace, alarms.HITS, "CacheType", name, {"id": "h", "stat": "Sum", "visible": False}],
            [namespace, alarms.MISSES, "CacheType", name, {"id": "m", "stat": "Sum", "visible": False}],
            [namespace, alarms.BASELINE, "CacheType", name, {"label": "last seven days", "period": 3_600}],
        ],
        settings.region,
        "percent",
        line=("target", round(100 * cache_type.target_hit_rate, 2)),
        percent=True,
    )


@dataclass(frozen=True)
class DashboardArgs:
    settings: Settings
    catalog: Catalog
    distribution_id: pulumi.Input[str]


class Dashboard(pulumi.ComponentResource):
    """The stack's dashboard; `name` is what CloudWatch lists it under."""

    name: pulumi.Output[str]

    def __init__(self, name: str, args: DashboardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("roleferry:monitoring:Dashboard", name, None, opts)
        dashboard = cloudwatch.Dashboard(
            name,
            dashboard_name=args.settings.names.dashboard,
            dashboard_body=pulumi.Output.json_dumps(body(args.settings, args.catalog, args.distribution_id)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name = dashboard.dashboard_name
        self.register_outputs({"name": self.name})
