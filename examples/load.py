"""Visit the example's pages and print how long they take.

With a URL, the application that runs there. Without one, it starts everything twice, with the cache and without it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import httpx
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from cache import CacheService
from cache.testing import off
from examples.seed import SKILLS
from examples.servers import application, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAGES_PER_VISIT = 12


class Latencies:
    """Milliseconds by page, requests that failed, and those that were hits."""

    def __init__(self) -> None:
        self.by_page: dict[str, list[float]] = defaultdict(list)
        self.failed = 0
        self.hits: dict[str, int] = defaultdict(int)

    async def time(self, client: httpx.AsyncClient, page: str, method: str, path: str, **more: object) -> None:
        began = time.perf_counter()
        try:
            response = await client.request(method, path, **more)  # type: ignore[arg-type]
        except httpx.HTTPError:
            self.failed += 1
            return
        self.by_page[page].append((time.perf_counter() - began) * 1000)
        self.failed += response.is_error
        self.hits[page] += bool(response.headers.get("X-Cache-Hit"))


def preferences(rng: random.Random) -> dict[str, Any]:
    """What a visitor may wish for: skills are numbered from 1."""
    return {"skills": [rng.randint(1, SKILLS) for _ in range(8)], "salary": 60_000}


async def visit(url: str, user: int, jobs: int, rng: random.Random, latencies: Latencies) -> None:
    """A login, some pages, now and then changed preferences, a logout."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        await latencies.time(client, "login", "POST", f"/login/{user}")
        for _ in range(PAGES_PER_VISIT):
            kind = rng.random()
            if kind < 0.4:
                await latencies.time(client, "jobs list", "GET", "/jobs")
            elif kind < 0.9:
                await latencies.time(client, "job page", "GET", f"/jobs/{1 + int(rng.random() ** 5 * jobs)}")
            elif kind < 0.98:
                await latencies.time(client, "preferences", "GET", "/preferences")
            else:
                await latencies.time(client, "preferences changed", "PUT", "/preferences", json=preferences(rng))
        await latencies.time(client, "logout", "POST", "/logout")


async def drive(
    url: str, *, visits: int, at_once: int, users: int, jobs: int, seed: int, visited: Callable[[], None]
) -> Latencies:
    """Users who come again, five times on average, and never twice at a time: a user has one session."""
    latencies = Latencies()
    own_users = max(min(users, visits // 5) // at_once, 1)

    async def one_after_the_other(visitor: int) -> None:
        rng = random.Random(f"{seed} {visitor}")
        for _ in range(visits // at_once):
            await visit(url, 1 + visitor + at_once * rng.randrange(own_users), jobs, rng, latencies)
            visited()

    await asyncio.gather(*(one_after_the_other(visitor) for visitor in range(at_once)))
    return latencies


def table(results: Mapping[str, Latencies]) -> Table:
    shown = Table(box=None, pad_edge=False, title="Milliseconds a page takes", title_justify="left")
    for name in ("page", "", "requests", "hits", "p50", "p95", "p99"):
        shown.add_column(name, justify="left" if name in ("page", "") else "right", overflow="fold")
    for page in sorted({page for result in results.values() for page in result.by_page}):
        for name, result in results.items():
            times = result.by_page.get(page, [])
            if len(times) > 1:
                cuts = statistics.quantiles(times, n=100)
                share = f"{result.hits[page] / len(times):.0%}"
                shown.add_row(page, name, f"{len(times):,}", share, *(f"{cuts[at]:.1f}" for at in (49, 94, 98)))
    return shown


def _progress() -> Progress:
    error = Console(stderr=True)
    return Progress(console=error, disable=not error.is_terminal, transient=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.load", description=__doc__)
    parser.add_argument("url", nargs="?", help="of the running application, as http://127.0.0.1:8000")
    parser.add_argument("--visits", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=8, help="visitors at a time (default: %(default)s)")
    parser.add_argument("--users", type=int, default=10_000, help="users in the database (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    if min(options.at_once, options.jobs) < 1 or min(options.visits, options.users) < options.at_once:
        print("--at-once and --jobs must be at least 1, --visits and --users at least --at-once.", file=sys.stderr)
        return 2
    work = {name: getattr(options, name) for name in ("visits", "at_once", "users", "jobs", "seed")}
    with _progress() as bar:

        def driven(name: str, url: str) -> Latencies:
            task = bar.add_task(name, total=options.visits // options.at_once * options.at_once)
            return asyncio.run(drive(url, **work, visited=lambda: bar.advance(task)))

        if options.url:
            results = {"": driven("visits", options.url)}
        else:
            results = {}
            companies = max(options.jobs // 2, 1)
            starting = bar.add_task("starting", total=None)
            with servers(users=options.users, jobs=options.jobs, companies=companies) as running:
                bar.remove_task(starting)
                for name, cache in (("with the cache", CacheService.from_url(running.cache_url)), ("without", off())):
                    with application(running, cache) as url:
                        results[name] = driven(name, url)
    Console().print(table(results))
    failed = sum(result.failed for result in results.values())
    print(f"{failed} requests failed.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
