"""`python -m cache catalog`: the cache types as a table, or with `--json` for machines."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict

from cache.catalog import CATALOG, DAY, HOUR, MINUTE


def _duration(seconds: int) -> str:
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if (seconds % unit == 0 and seconds >= 2 * unit) or seconds == unit == HOUR:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def _table() -> str:
    head = ("cache type", "key", "TTL", "target", "item", "items", "lookups/min day", "night")
    rows = [head]
    rows += [
        (
            cache_type.name,
            cache_type.key_pattern.split(",")[0],
            _duration(cache_type.ttl_s) + (", sliding" if cache_type.sliding else ""),
            f"{cache_type.target_hit_rate:.0%}",
            f"{cache_type.item_size_bytes:,} B",
            f"{cache_type.item_count:,}",
            f"{cache_type.lookups_per_minute_day:g}",
            f"{cache_type.lookups_per_minute_night:g}",
        )
        for cache_type in CATALOG
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", *(f"{cache_type.name}: {cache_type.reason}" for cache_type in CATALOG)]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cache", description="What RoleFerry caches, and how.")
    commands = parser.add_subparsers(dest="command", required=True)
    catalog = commands.add_parser("catalog", help="print the cache types: keys, TTLs, targets, sizes, traffic")
    catalog.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(argv)
    print(json.dumps([asdict(cache_type) for cache_type in CATALOG], indent=2) if options.json else _table())
    return 0


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # a reader who has seen enough, as `head`, ends it without a word
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
