"""What a stack costs in a month. Pure.

Only what the stack's own declaration fixes. What traffic costs (requests, data out, logs written, snapshots kept
beyond the free one) comes on top, and is named below the total.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cache.nodes import PRICE_SOURCE
from infra import alarms
from infra.static_site import GLOBAL_REGION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.catalog import Catalog
    from infra.settings import Settings

HOURS_PER_MONTH: Final = 730
CLOUDWATCH_SOURCE: Final = (
    "CloudWatch, us-east-1, first tier, by "
    "https://www.factualminds.com/blog/amazon-cloudwatch-pricing-metrics-logs-alarms-dashboards (2026-06), read 2026-11"
)
KMS_SOURCE: Final = "a customer managed key, https://aws.amazon.com/kms/pricing/, read 2026-11"
KEY_USD: Final = 1.00
ALARM_METRIC_USD: Final = 0.10
COMPOSITE_USD: Final = 0.50
DASHBOARD_USD: Final = 3.00
METRIC_USD: Final = 0.30
# Hits, misses and the baseline of each cache type, and the hits and misses that `get_with_lock` counts as `generic`.
METRICS_PER_TYPE: Final = 3
GENERIC_METRICS: Final = 2
# What a monitoring subscription adds to a distribution.
CDN_METRICS: Final = 8
NOT_INCLUDED: Final = (
    "Not included, as traffic decides it: CloudFront and S3 requests and transfer, logs, CloudWatch requests, "
    "snapshots, messages, taxes. In its second year a key costs 1.00 more, from the third on 2.00, for what it was "
    "before its yearly rotations."
)


@dataclass(frozen=True, slots=True)
class Line:
    resource: str
    count: int
    usd_each: float
    source: str

    @property
    def usd(self) -> float:
        return self.count * self.usd_each


def lines(settings: Settings, catalog: Catalog) -> list[Line]:
    """The monthly cost by resource, at us-east-1's prices."""
    cache_types = len(catalog.names())
    declared = alarms.every(settings, catalog, distribution_id="", baseline_function="")
    keys = 2 if settings.region == GLOBAL_REGION else 3
    node = settings.node
    return [
        Line(f"nodes {node.name}", len(settings.node_ids), node.usd_per_hour * HOURS_PER_MONTH, PRICE_SOURCE),
        # An alarm on an expression is charged for each metric in it.
        Line("alarm metrics", sum(len(alarm.metrics) for alarm in declared), ALARM_METRIC_USD, CLOUDWATCH_SOURCE),
        Line(
            "composite alarms",
            len(list(alarms.hit_rate_composites(settings, catalog))),
            COMPOSITE_USD,
            CLOUDWATCH_SOURCE,
        ),
        Line("dashboard", 1, DASHBOARD_USD, CLOUDWATCH_SOURCE),
        Line("hit-rate metrics", cache_types * METRICS_PER_TYPE + GENERIC_METRICS, METRIC_USD, CLOUDWATCH_SOURCE),
        Line("CloudFront metrics", CDN_METRICS, METRIC_USD, CLOUDWATCH_SOURCE),
        Line("encryption keys", keys, KEY_USD, KMS_SOURCE),
    ]


def total(priced: Sequence[Line]) -> float:
    return round(sum(line.usd for line in priced), 2)


def table(stack: str, priced: Sequence[Line]) -> str:
    """The cost as text, the sources of the prices below it."""
    rows = [f"{line.resource:<28}{line.count:>5} x {line.usd_each:>8.2f} = {line.usd:>9.2f}" for line in priced]
    sources = sorted({line.source for line in priced})
    return "\n".join(
        [
            f"Monthly cost of stack {stack} in USD, {HOURS_PER_MONTH} hours, us-east-1",
            *rows,
            f"{'total':<46}{total(priced):>9.2f}",
            NOT_INCLUDED,
            *(f"Prices: {source}" for source in sources),
        ]
    )
