"""Hit rate of each cache type as CloudWatch knows it, against its target and its seven-day baseline.

Fills the column "Current" of the caching strategy's table of targets.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from cache.catalog import CATALOG
from infra import baseline_function
from infra.alarms import BASELINE, HITS, MISSES
from scripts import common

if TYPE_CHECKING:
    import argparse

    from infra.settings import Settings

_EXIT_CODES: Final = (
    "exit codes: 0 every target met; 1 an error; 2 wrong usage; 3 a target missed; 5 no lookups of a type"
)
_HOUR: Final = timedelta(hours=1)
# CloudWatch keeps hourly sums for 455 days.
_MOST_HOURS: Final = 455 * 24


@dataclass(frozen=True)
class Row:
    """Rates in percent; None where nothing was counted or published."""

    cache_type: str
    target: float
    current: float | None
    baseline: float | None
    lookups: int

    @property
    def verdict(self) -> str:
        if self.current is None:
            return "no lookups"
        return "met" if self.current >= self.target else "missed"


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return common.guarded("hit_rates", lambda: _show(options))


def measure(cloudwatch: Any, settings: Settings, *, hours: int, now: datetime) -> list[Row]:
    """The hit rates of the last full `hours`, and the newest baseline of the last day."""
    end = now.replace(minute=0, second=0, microsecond=0)
    namespace, names = settings.names.metric_namespace, list(CATALOG.names())
    counted = baseline_function.sums(cloudwatch, namespace, names, end - hours * _HOUR, end)
    baselines = _baselines(cloudwatch, namespace, names, now)
    rows = []
    for cache_type in CATALOG:
        hits, misses = counted[cache_type.name, HITS], counted[cache_type.name, MISSES]
        lookups = round(hits + misses)
        rate = 100 * hits / lookups if lookups else None
        target = round(100 * cache_type.target_hit_rate, 2)
        rows.append(Row(cache_type.name, target, rate, baselines.get(cache_type.name), lookups))
    return rows


def _baselines(cloudwatch: Any, namespace: str, names: list[str], now: datetime) -> dict[str, float]:
    queries = [
        {
            "Id": f"b{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": namespace,
                    "MetricName": BASELINE,
                    "Dimensions": [{"Name": "CacheType", "Value": name}],
                },
                "Period": 3600,
                "Stat": "Average",
            },
        }
        for number, name in enumerate(names)
    ]
    newest: dict[str, float] = {}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        StartTime=now - timedelta(days=1), EndTime=now, MetricDataQueries=queries, ScanBy="TimestampDescending"
    )
    for page in pages:
        for result in page["MetricDataResults"]:
            if result["Values"]:
                newest.setdefault(names[int(result["Id"][1:])], result["Values"][0])
    return newest


def _show(options: argparse.Namespace) -> int:
    settings = common.stack_settings(options.stack)
    cloudwatch = common.aws("cloudwatch", settings.region)
    rows = measure(cloudwatch, settings, hours=options.hours, now=datetime.now(UTC))
    if options.json:
        print(json.dumps([asdict(row) | {"verdict": row.verdict} for row in rows], indent=2))
    else:
        _print(rows, settings.names.metric_namespace, options.hours)
    verdicts = {row.verdict for row in rows}
    return 3 if "missed" in verdicts else 5 if "no lookups" in verdicts else 0


def _print(rows: list[Row], namespace: str, hours: int) -> None:
    table = Table(box=None, pad_edge=False, title=f"{namespace}, the last {hours} full hours", title_justify="left")
    for column in ("cache type", "target", "current", "last seven days", "lookups", ""):
        table.add_column(column, justify="left" if column in ("cache type", "") else "right")
    colours = {"met": "green", "missed": "bold red", "no lookups": "yellow"}
    for row in rows:
        rates = ["–" if rate is None else f"{rate:.2f} %" for rate in (row.current, row.baseline)]
        verdict = f"[{colours[row.verdict]}]{row.verdict}"
        table.add_row(row.cache_type, f"{row.target:g} %", *rates, f"{row.lookups:,}", verdict)
    Console().print(table)


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("hit_rates", __doc__, _EXIT_CODES)
    parser.add_argument("--stack", required=True, help="a stack with a Pulumi.<stack>.yaml, such as prod")
    parser.add_argument(
        "--hours", type=common.from_number(1, _MOST_HOURS), default=168, help="full hours back from now (default: 168)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
