"""What the cache holds by type, by sampling; evictions and the slow log.

Asks for random keys, a bounded number of them, and never walks the keyspace. Contents are not read. With the stack's
outputs it signs in at the reader endpoint as the operator, by IAM; outputs of `python -m local` do as well. With a URL
it goes there. In cluster mode it asks one replica of each shard and reports their sum. A primary that has replicas is
left alone. A password belongs into the variable CACHE_URL, which is not printed.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis

from cache.catalog import CATALOG, DAY
from cache.elasticache import IamCredentials
from loadtest import terminal
from scripts import common

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_EXIT_CODES: Final = "exit codes: 0 a report; 1 an error; 2 wrong usage, or a primary that has replicas"
# One round trip each; small enough to be a matter of microseconds for the server.
_CHUNK: Final = 100
_SLOW_ENTRIES: Final = 10
_TIMEOUT_S: Final = 5
# Of `MEMORY USAGE`: fields of a hash that are looked at. All scores of a user are alike.
_NESTED_SAMPLES: Final = 5
_OTHER: Final = "other"
_KINDS: Final = {
    **{cache_type.name: re.compile(rf"{cache_type.entity}:") for cache_type in CATALOG},
    "leases": re.compile(r"lock:"),
    "generations": re.compile(r"job:generations$"),
}


@dataclass(frozen=True)
class Size:
    """One kind of entry, estimated from a sample. `margin` is half the 95 % interval of `entries`."""

    kind: str
    sampled: int
    entries: int
    margin: int
    mean_bytes: float
    total_bytes: int


@dataclass(frozen=True)
class Slow:
    """One entry of the slow log: the command's name, never its arguments."""

    at: int
    microseconds: int
    command: str


@dataclass(frozen=True)
class Report:
    """One server, or one of each shard. `slow` is None where the user may not read it.

    `evicted` and `expired` are None for a replica: it only deletes what its primary evicted or let expire.
    """

    taken_at: int
    role: str
    shards: int
    entries: int
    used_bytes: int
    maxmemory_bytes: int
    evicted: int | None
    expired: int | None
    uptime_s: int
    sizes: list[Size]
    slow: list[Slow] | None


@dataclass(frozen=True)
class Earlier:
    """What an earlier report is needed for: bytes by kind."""

    taken_at: float
    total_bytes: dict[str, float]


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return common.guarded("cache_report", lambda: _show(options))


def take(client: redis.Redis, *, sample: int, now: int) -> Report:
    """A report of one server. Raises UsageError for a primary that has replicas."""
    info: dict[str, Any] = {}
    for section in ("replication", "memory", "stats", "server"):
        info |= client.info(section)
    if info["role"] == "master" and info.get("connected_slaves"):
        raise common.UsageError(
            f"this is a primary with {info['connected_slaves']} replica(s); give one of them: "
            "the reader endpoint (the stack's output reader_endpoint), or a replica's URL."
        )
    entries, is_primary = int(client.dbsize()), info["role"] == "master"
    return Report(
        taken_at=now,
        role="primary" if is_primary else "replica",
        shards=1,
        entries=entries,
        used_bytes=info["used_memory"],
        maxmemory_bytes=info["maxmemory"],
        evicted=info["evicted_keys"] if is_primary else None,
        expired=info["expired_keys"] if is_primary else None,
        uptime_s=info["uptime_in_seconds"],
        sizes=_sizes(list(_sampled(client, sample if entries else 0)), entries),
        slow=_slow(client),
    )


def summed(reports: list[Report]) -> Report:
    """One report of all shards from one of each."""
    found = [size for report in reports for size in report.sizes]
    by_kind = {kind: [size for size in found if size.kind == kind] for kind in (*_KINDS, _OTHER)}
    logs = [report.slow for report in reports if report.slow is not None]
    return Report(
        taken_at=reports[0].taken_at,
        role=" or ".join(sorted({report.role for report in reports})),
        shards=len(reports),
        entries=sum(report.entries for report in reports),
        used_bytes=sum(report.used_bytes for report in reports),
        maxmemory_bytes=sum(report.maxmemory_bytes for report in reports),
        evicted=_sum_if_all([report.evicted for report in reports]),
        expired=_sum_if_all([report.expired for report in reports]),
        uptime_s=max(report.uptime_s for report in reports),
        sizes=[_added(sizes) for sizes in by_kind.values() if sizes],
        slow=sorted((entry for log in logs for entry in log), key=lambda entry: -entry.at)[:_SLOW_ENTRIES]
        if logs
        else None,
    )


def _sum_if_all(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _added(sizes: list[Size]) -> Size:
    """One kind, of which each shard was sampled by itself."""
    entries, total = sum(size.entries for size in sizes), sum(size.total_bytes for size in sizes)
    return Size(
        kind=sizes[0].kind,
        sampled=sum(size.sampled for size in sizes),
        entries=entries,
        margin=round(math.hypot(*(size.margin for size in sizes))),
        mean_bytes=total / entries if entries else 0.0,
        total_bytes=total,
    )


def read_earlier(file: Path) -> Earlier:
    """A report that --json printed into `file`. Raises UsageError."""
    try:
        found = json.loads(file.read_text())
        return Earlier(float(found["taken_at"]), {one["kind"]: float(one["total_bytes"]) for one in found["sizes"]})
    except OSError as error:
        raise common.UsageError(f"--since {file} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise common.UsageError(f"--since {file} must be a file that --json wrote.") from None


def grown(report: Report, earlier: Earlier) -> dict[str, float]:
    """Bytes a day by kind since an earlier report."""
    days = (report.taken_at - earlier.taken_at) / DAY
    if days <= 0:
        raise common.UsageError("--since must be a report from before this one.")
    return {size.kind: (size.total_bytes - earlier.total_bytes.get(size.kind, 0)) / days for size in report.sizes}


def _sampled(client: redis.Redis, sample: int) -> Iterator[tuple[str, int]]:
    """Kind and bytes of random keys; one that expires in between is left out."""
    for start in range(0, sample, _CHUNK):
        asked = client.pipeline(transaction=False)
        for _ in range(min(_CHUNK, sample - start)):
            asked.randomkey()
        keys = [key for key in asked.execute() if key is not None]
        weighed = client.pipeline(transaction=False)
        for key in keys:
            weighed.memory_usage(key, samples=_NESTED_SAMPLES)
        for key, size in zip(keys, weighed.execute(), strict=True):
            if size is not None:
                yield _kind(key.decode(errors="replace")), size


def _kind(key: str) -> str:
    return next((kind for kind, pattern in _KINDS.items() if pattern.match(key)), _OTHER)


def _sizes(sampled: list[tuple[str, int]], entries: int) -> list[Size]:
    sizes = []
    for kind in (*_KINDS, _OTHER):
        weights = [size for found, size in sampled if found == kind]
        if not weights and kind not in CATALOG.names():
            continue
        share = len(weights) / len(sampled) if sampled else 0.0
        spread = math.sqrt(share * (1 - share) / len(sampled)) if sampled else 0.0
        mean = sum(weights) / len(weights) if weights else 0.0
        count = round(share * entries)
        sizes.append(Size(kind, len(weights), count, round(1.96 * spread * entries), mean, round(count * mean)))
    return sizes


def _slow(client: redis.Redis) -> list[Slow] | None:
    try:
        entries: Any = client.slowlog_get(_SLOW_ENTRIES)
    except redis.exceptions.NoPermissionError:
        return None
    return [
        Slow(entry["start_time"], entry["duration"], entry["command"].split(b" ", 1)[0].decode(errors="replace"))
        for entry in entries
    ]


def _show(options: argparse.Namespace) -> int:
    earlier = read_earlier(options.since) if options.since else None
    try:
        report = _report(_connection(options), sample=options.sample, now=int(time.time()))
    except redis.exceptions.AuthenticationError as error:
        hint = " Whose AWS keys are these? They need the policy operator_policy_arn." if options.outputs else ""
        raise common.ScriptError(f"the cache refused the sign-in: {str(error).rstrip('.')}.{hint}") from None
    except redis.exceptions.RedisError as error:
        hint = " Nodes of a stack are reached from inside its VPC alone." if options.outputs else ""
        raise common.ScriptError(f"the cache could not be asked: {str(error).rstrip('.')}.{hint}") from None
    growth = grown(report, earlier) if earlier else None
    if options.json:
        print(json.dumps(asdict(report) | {"growth": growth}, indent=2))
    else:
        _print(report, growth)
    return 0


def _report(connection: dict[str, Any], *, sample: int, now: int) -> Report:
    """Of the server at this connection, or of all shards if it is one of a cluster's."""
    with _open(connection) as client:
        if not client.info("cluster")["cluster_enabled"]:
            return take(client, sample=sample, now=now)
        readers = _readers(client, connection.get("host", "localhost"))
    reports = []
    for host, port in readers:
        with _open(connection | {"host": host, "port": port, "redis_connect_func": _ask_to_read}) as reader:
            reports.append(take(reader, sample=-(-sample // len(readers)), now=now))
    return summed(reports)


def _readers(client: Any, asked: str) -> list[tuple[str, int]]:
    """Of each shard the first replica that it has, else its primary."""
    by_primary = {}
    for _first, _last, primary, *replicas in client.execute_command("CLUSTER", "SLOTS"):
        host, port = (replicas or [primary])[0][:2]
        # No name means the one by which it was asked.
        by_primary[primary[2]] = (host.decode() if host else asked, port)
    return list(by_primary.values())


def _ask_to_read(connection: Any) -> None:
    """In a cluster a replica sends everybody to its primary who has not said that he only reads."""
    connection.on_connect()
    connection.send_command("READONLY")
    connection.read_response()


def _open(connection: dict[str, Any]) -> Any:
    return redis.Redis.from_pool(redis.ConnectionPool(**connection))


def _connection(options: argparse.Namespace) -> dict[str, Any]:
    """What a connection is made of."""
    limits = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
    if not options.outputs:
        url = options.url or os.environ.get("CACHE_URL")
        if not url:
            raise common.UsageError("give --outputs, --url, or set CACHE_URL.")
        parsed = redis.connection.parse_url(common.cache_url("the URL of the cache", url))  # type: ignore[no-untyped-call]
        connection = {**limits, **parsed, "decode_responses": False}
        try:
            redis.ConnectionPool(**connection).make_connection()
        except (TypeError, redis.exceptions.RedisError) as error:
            raise common.UsageError(f"the URL of the cache has an option that redis-py refuses: {error}.") from None
        return connection
    needed = ("operator_user_name", "replication_group_id", "region", "cache_endpoint", "port")
    outputs = common.stack_outputs(options.outputs, *needed)
    # On one machine the nodes have one address, each a port, and an authority of their own; the first is a primary.
    local = outputs.get("local", {})
    return {
        "connection_class": redis.SSLConnection,
        "host": outputs.get("reader_endpoint") or outputs["cache_endpoint"],
        "port": local["ports"][-1] if local.get("ports") else outputs["port"],
        "ssl_ca_certs": local.get("ca_file"),
        "credential_provider": IamCredentials(
            outputs["operator_user_name"], outputs["replication_group_id"], outputs["region"]
        ),
        **limits,
    }


def _print(report: Report, growth: dict[str, float] | None) -> None:
    console = terminal.console()
    full = f" of {report.maxmemory_bytes / 1e6:,.0f} MB" if report.maxmemory_bytes else ""
    where = f"A {report.role}" if report.shards == 1 else f"{report.shards} shards, each by a {report.role}"
    counted = "a primary counts what was evicted and expired (Evictions on the dashboard)"
    if report.evicted is not None:
        counted = f"{report.evicted:,} evicted and {report.expired:,} expired in {report.uptime_s / 3600:,.1f} h"
    console.print(f"{where}: {report.entries:,} keys, {report.used_bytes / 1e6:,.1f} MB{full}; {counted}")
    table = terminal.table(
        *("kind", "keys:", "± 95 %:", "bytes each:", "MB:", "of values planned, MB:", "growth a day, MB:")
    )
    for size in report.sizes:
        planned = ""
        if size.kind in CATALOG.names():
            planned = f"{CATALOG[size.kind].item_count * CATALOG[size.kind].item_size_bytes / 1e6:,.0f}"
        change = "–" if growth is None else f"{growth[size.kind] / 1e6:+,.2f}"
        table.add_row(
            size.kind,
            f"{size.entries:,}",
            f"{size.margin:,}",
            f"{size.mean_bytes:,.0f}",
            f"{size.total_bytes / 1e6:,.1f}",
            planned,
            change,
        )
    console.print(table)
    if report.slow is None:
        console.print("Slow log: this user may not read it; see the log group …/slow-log.")
    elif not report.slow:
        console.print("Slow log: empty.")
    for entry in report.slow or []:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.at))
        console.print(f"Slow: {when} UTC  {entry.microseconds / 1000:,.1f} ms  {entry.command}")


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("cache_report", __doc__, _EXIT_CODES)
    add = parser.add_argument
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--outputs", type=Path, metavar="FILE", help="what `pulumi stack output --json` printed")
    server.add_argument(
        "--url",
        help="instead: redis:// or rediss:// of a replica, or of a cluster's node (default: the variable CACHE_URL)",
    )
    add("--sample", type=common.from_number(100, 100_000), default=2_000, help="keys to look at (default: 2000)")
    add("--since", type=Path, metavar="FILE", help="an earlier report of --json, to tell the growth")
    add("--json", action="store_true", help="print JSON instead of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
