"""Publish the seven-day hit rates that the drop alarms compare with: what the stack's function does every hour.

Run it by hand when the function failed, or with --back-fill for the hours in which it did not run. The same code as
the function's; a type with too few lookups in the week gets no baseline. Running it twice does no harm.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cache.catalog import CATALOG
from infra import baseline_function
from infra.baseline import least_lookups
from loadtest import terminal
from scripts import common

if TYPE_CHECKING:
    import argparse

_EXIT_CODES: Final = "exit codes: 0 published, or nothing to publish yet; 1 an error; 2 wrong usage"
# CloudWatch takes data of the last two weeks.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/publishingMetrics.html
_MOST_HOURS: Final = 14 * 24 - 1


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return common.guarded("publish_baseline", lambda: _publish(options))


def _publish(options: argparse.Namespace) -> int:
    settings = common.stack_settings(options.stack)
    cloudwatch = common.aws("cloudwatch", settings.region)
    act = baseline_function.measure if options.dry_run else baseline_function.publish
    now = datetime.now(UTC)
    published: dict[str, dict[str, float]] = {}
    hours = options.back_fill + 1
    with (
        common.saying(lambda: f"Of {hours} hour(s) {0 if options.dry_run else len(published)} were published."),
        terminal.progress() as progress,
    ):
        for back in range(options.back_fill, -1, -1):
            at = now - timedelta(hours=back)
            published[at.isoformat(timespec="seconds")] = act(
                cloudwatch,
                namespace=settings.names.metric_namespace,
                least_lookups=least_lookups(CATALOG),
                now=at,
            )
            progress("publishing", 1 - back / hours)
    if options.json:
        print(json.dumps({"dry_run": options.dry_run, "baselines": published}, indent=2))
        return 0
    for time, baselines in published.items():
        rates = ", ".join(f"{name} {rate:.2f} %" for name, rate in baselines.items())
        print(f"{time}  {rates or 'no type has enough lookups in the week before'}")
    verb = "would publish" if options.dry_run else "published"
    print(f"{verb} {sum(map(len, published.values()))} value(s) in {settings.names.metric_namespace}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("publish_baseline", __doc__, _EXIT_CODES)
    parser.add_argument("--stack", required=True, help="a stack with a Pulumi.<stack>.yaml, such as prod")
    parser.add_argument(
        "--back-fill",
        type=common.from_number(0, _MOST_HOURS),
        default=0,
        metavar="HOURS",
        help="also publish for so many hours before (CloudWatch takes two weeks)",
    )
    parser.add_argument("--dry-run", action="store_true", help="compute and print, publish nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    return parser


if __name__ == "__main__":
    sys.exit(main())
