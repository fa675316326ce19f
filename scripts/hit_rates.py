"""Hit rate of each cache type as CloudWatch knows it, against its target and its seven-day baseline.

Fills the column "Current" of the caching strategy's table of targets. Full hours say how it has been; while an alarm
rings, --minutes says how it is.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cache.catalog import CATALOG
from infra import baseline_function
from infra.alarms import BASELINE, HITS, MISSES
from loadtest import terminal
from scripts import common

if TYPE_CHECKING:
    import argparse

    from infra.settings import Settings

_EXIT_CODES: Final = (
    "exit codes: 0 every target met; 1 an error; 2 wrong usage; 3 a target missed; 5 no lookups of a type"
)
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
# CloudWatch keeps hourly sums for 455 days, those of minutes for 15.
_MOST_HOURS: Final = 455 * 24
_MOST_MINUTES: Final = 24 * 60
_UNITS: Final = {_MINUTE_S: "minutes", _HOUR_S: "hours"}


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


def measure(cloudwatch: Any, settings: Settings, *, periods: int, period_s: int, now: datetime) -> list[Row]:
    """The hit rates of the last full `periods`, and the newest baseline of the last day."""
    end = datetime.fromtimestamp(now.timestamp() // period_s * period_s, UTC)
    start = end - timedelta(seconds=periods * period_s)
    namespace, names = settings.names.metric_namespace, list(CATALOG.names())
    counted = baseline_function.sums(cloudwatch, namespace, names, start, end, period_s=period_s)
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
    metrics = [baseline_function.of_cache_type(namespace, BASELINE, name) for name in names]
    values = baseline_function.series(cloudwatch, metrics, "Average", now - timedelta(days=1), now)
    return {name: newest_first[0] for name, newest_first in zip(names, values, strict=True) if newest_first}


def _show(options: argparse.Namespace) -> int:
    settings = common.stack_settings(options.stack)
    cloudwatch = common.aws("cloudwatch", settings.region)
    periods, period_s = (options.minutes, _MINUTE_S) if options.minutes else (options.hours, _HOUR_S)
    rows = measure(cloudwatch, settings, periods=periods, period_s=period_s, now=datetime.now(UTC))
    if options.json:
        print(json.dumps([asdict(row) | {"verdict": row.verdict} for row in rows], indent=2))
    else:
        _print(rows, f"{settings.names.metric_namespace}, the last {periods} full {_UNITS[period_s]}")
    verdicts = {row.verdict for row in rows}
    return 3 if "missed" in verdicts else 5 if "no lookups" in verdicts else 0


def _print(rows: list[Row], title: str) -> None:
    console = terminal.console()
    console.print(title)
    table = terminal.table("cache type", "target:", "current:", "last seven days:", "lookups:", "")
    colours = {"met": "green", "missed": "bold red", "no lookups": "yellow"}
    for row in rows:
        rates = ["–" if rate is None else f"{rate:.2f} %" for rate in (row.current, row.baseline)]
        verdict = f"[{colours[row.verdict]}]{row.verdict}"
        table.add_row(row.cache_type, f"{row.target:g} %", *rates, f"{row.lookups:,}", verdict)
    console.print(table)


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("hit_rates", __doc__, _EXIT_CODES)
    parser.add_argument("--stack", required=True, help="a stack with a Pulumi.<stack>.yaml, such as prod")
    window = parser.add_mutually_exclusive_group()
    window.add_argument(
        "--hours", type=common.from_number(1, _MOST_HOURS), default=168, help="the last full hours (default: 168)"
    )
    window.add_argument(
        "--minutes", type=common.from_number(1, _MOST_MINUTES), help="instead: the last minutes, up to a day"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
