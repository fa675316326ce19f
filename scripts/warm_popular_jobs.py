"""Compute the popular jobs' scores of active users before anybody asks. Meant for cron, once an hour.

Reads the most viewed jobs and the users of the last seven days from PostgreSQL, and computes only what is missing or
would expire before the next run. Safe to run twice: the second leaves the work to the first, and a run that was killed
is taken up where it was.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import sys
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cache import CacheService
from cache.elasticache import IamCredentials
from cache.metrics.dogstatsd import DogStatsD
from cache.warming.postgres import Jobs, PostgresSource, Users
from cache.warming.run import POPULAR_JOBS, SCORES_PER_S, AlreadyRunningError, Run, Summary, WarmingError
from scripts import common
from scripts.common import ScriptError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from cache.warming.run import Score

NAME = "warm_popular_jobs"
_EPILOG = """The environment has the addresses: CACHE_URL (redis://, rediss://) and DATABASE_URL (postgresql://).

exit codes: 0 warmed, also if the function failed for some users or another run is at it; 1 an error, or the function
failed for every user; 2 wrong usage"""


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = common.parser(NAME, __doc__, _EPILOG)
    parser.add_argument(
        "score", metavar="MODULE:FUNCTION", help="function(user_id, job_ids) that gives {job_id: score}"
    )
    parser.add_argument(
        "--jobs", type=common.from_number(1), default=POPULAR_JOBS, help="how many popular jobs (default: %(default)s)"
    )
    parser.add_argument(
        "--scores-per-second", type=float, default=SCORES_PER_S, help="at most; 0: no bound (default: %(default)g)"
    )
    parser.add_argument("--queries", type=Path, help="TOML with the names of tables and columns, or SQL of your own")
    parser.add_argument("--layout", default="hash", help="of the scores, as the application has it (default: hash)")
    parser.add_argument("--job-invalidation", default="exact", help="as the application has it (default: exact)")
    parser.add_argument("--cluster", action="store_true", help="CACHE_URL names a node of a cluster")
    parser.add_argument(
        "--outputs",
        type=Path,
        metavar="FILE",
        help="what `pulumi stack output --json` printed, instead of CACHE_URL: signs in by IAM as the application",
    )
    parser.add_argument("--statsd", metavar="HOST:PORT", help="send the summary there, as roleferry.cache.warming.…")
    parser.add_argument("--dry-run", action="store_true", help="say how much there is to do, and change nothing")
    parser.add_argument("--json", action="store_true", help="the summary as JSON, and no progress bar")
    return parser.parse_args(argv)


def load_function(name: str) -> Score:
    """The function called `module:function`. Raises UsageError."""
    module_name, _, function_name = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module_name), function_name, None) if module_name else None
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise UsageError(f"{name!r} cannot be imported: {told}. Give it as module:function.") from error
    if not callable(function):
        raise UsageError(f"{name!r} is no function. Give it as module:function.")
    return function  # type: ignore[no-any-return]


def read_queries(path: Path | None) -> dict[str, Any]:
    """Options of PostgresSource. Raises UsageError."""
    if path is None:
        return {}
    try:
        given = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}.") from error
    options: dict[str, Any] = {}
    for section, kind in (("jobs", Jobs), ("users", Users)):
        words = given.pop(section, {})
        known = {each.name for each in fields(kind)} | {"sql"}
        if not isinstance(words, dict) or not words.keys() <= known or set(map(type, words.values())) - {str}:
            raise UsageError(f"{path}: [{section}] takes {', '.join(sorted(known))}, each a text.")
        sql = words.pop("sql", None)
        if sql is not None and words:
            raise UsageError(f"{path}: [{section}] takes either sql or names.")
        options |= {f"{section}_sql": sql} if sql is not None else {section: kind(**words)}
    if given:
        raise UsageError(f"{path}: {', '.join(given)} is unknown. Known: [jobs], [users].")
    return options


def from_environment(name: str, example: str) -> str:
    if not os.environ.get(name):
        raise UsageError(f"{name} is not set. Set it to an address such as {example}.")
    return os.environ[name]


def cache_of(options: argparse.Namespace) -> CacheService:
    """The stack's cache with --outputs, else that of CACHE_URL."""
    scores: dict[str, Any] = {"layout": options.layout, "job_invalidation": options.job_invalidation}
    if options.outputs is None:
        url = common.cache_url("CACHE_URL", from_environment("CACHE_URL", "rediss://host:6379"))
        return CacheService.from_url(url, cluster=options.cluster, **scores)
    needed = ("cache_endpoint", "port", "cluster_mode", "app_user_name", "replication_group_id", "region")
    outputs = common.stack_outputs(options.outputs, *needed)
    credentials = IamCredentials(outputs["app_user_name"], outputs["replication_group_id"], outputs["region"])
    # Raises where there are no AWS keys: to the library that is a cache which does not answer.
    credentials.get_credentials()
    # `python -m local` has an authority of its own.
    authority = outputs.get("local", {}).get("ca_file")
    return CacheService.from_url(
        f"rediss://{outputs['cache_endpoint']}:{outputs['port']}"
        + (f"?ssl_ca_certs={quote(authority)}" if authority else ""),
        credential_provider=credentials,
        cluster=outputs["cluster_mode"],
        **scores,
    )


def address(given: str) -> tuple[str, int]:
    host, _, port = given.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UsageError(f"--statsd {given!r} must look like 127.0.0.1:8125.")
    return host, int(port)


@contextlib.contextmanager
def bar(*, is_quiet: bool) -> Iterator[Callable[[Summary], None]]:
    """Tells the summary's progress to a bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("warming"), BarColumn(), MofNCompleteColumn(), TextColumn("users"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=is_quiet or not console.is_terminal) as progress:
        task = progress.add_task("warming", total=None)
        yield lambda summary: progress.update(task, total=summary.total_users or None, completed=summary.counts.users)


def told(summary: Summary, *, dry_run: bool) -> str:
    """The last line of a run."""
    counts = summary.counts
    among = f"{counts.users:,} active users, {summary.jobs} popular jobs"
    if dry_run:
        return f"{counts.scores_due:,} scores to compute for {counts.users_due:,} users ({among}). Nothing was changed."
    rate = counts.computed / summary.took_s if summary.took_s else 0
    done = f"{counts.computed:,} scores for {counts.users_due:,} users in {summary.took_s:.1f} s"
    parts = [f"{done}, {rate:,.0f} a second ({among})"]
    if summary.resumed:
        parts.append("taken up where the run before was killed")
    if counts.refused:
        parts.append(f"{counts.refused:,} refused, invalidated in between")
    if counts.users_unanswered:
        parts.append(f"{counts.users_unanswered:,} users left to the next run, the cache did not answer")
    if summary.failed_users:
        parts.append(f"{summary.failed_users:,} users skipped, the function failed")
    return "; ".join(parts) + "."


def as_json(summary: Summary, *, left_to_another_run: bool) -> str:
    """For machines, which could not tell from the counts why there are none."""
    return json.dumps({"left_to_another_run": left_to_another_run, **asdict(summary)})


def report(summary: Summary, options: argparse.Namespace) -> None:
    if options.json:
        print(as_json(summary, left_to_another_run=False))
        return
    for user, reason in summary.failures.items():
        print(f"user {user} was skipped: {reason}", file=sys.stderr)
    print(told(summary, dry_run=options.dry_run))


def send(summary: Summary, sink: DogStatsD) -> None:
    numbers = {**asdict(summary.counts), "failed_users": summary.failed_users, "took_s": summary.took_s}
    sink.send_numbers({f"warming.{name}": float(value) for name, value in numbers.items()})
    sink.close()


def warm(options: argparse.Namespace) -> int:
    score = load_function(options.score)
    sink = None if options.statsd is None else DogStatsD(*address(options.statsd))
    try:
        if not 0 <= options.scores_per_second < math.inf:
            raise UsageError("--scores-per-second must be a number from 0.")
        source = PostgresSource(
            from_environment("DATABASE_URL", "postgresql://user@host/name"), **read_queries(options.queries)
        )
        service = cache_of(options)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with source, contextlib.closing(service), bar(is_quiet=options.json) as progress:
        run = Run(
            service,
            source,
            score,
            jobs=options.jobs,
            scores_per_s=options.scores_per_second or None,
            dry_run=options.dry_run,
            progress=progress,
        )
        try:
            run.run()
        except AlreadyRunningError as error:
            print(error, file=sys.stderr)
            if options.json:
                print(as_json(run.summary, left_to_another_run=True))
            return 0
        except WarmingError as error:
            raise ScriptError(str(error)) from error
        finally:
            if run.summary.counts.users and sink is not None and not options.dry_run:
                send(run.summary, sink)
    report(run.summary, options)
    return int(0 < run.summary.failed_users == run.summary.counts.users_due)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    return common.guarded(NAME, lambda: warm(options))


if __name__ == "__main__":
    # Whoever answers pages on the same machine goes first: a page waits for milliseconds, a run has an hour.
    os.nice(10)
    sys.exit(main())
