"""Run the example on this machine: a seeded database, a cache, an enrichment stand-in and the application.

Everything listens on 127.0.0.1 alone, and ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
import threading

from cache import CacheService
from cache.testing import off
from examples.servers import application, servers
from local.errors import LocalError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples", description=__doc__)
    for what, number in (("users", 10_000), ("jobs", 10_000), ("companies", 5_000)):
        parser.add_argument(f"--{what}", type=int, default=number, help="in the database (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="of the application (default: %(default)s)")
    parser.add_argument("--no-cache", action="store_true", help="without a cache, to compare")
    options = parser.parse_args(argv)
    if min(options.users, options.jobs, options.companies) < 1 or not 1 <= options.port <= 65_535:
        print("--users, --jobs and --companies must be at least 1, --port from 1 to 65535.", file=sys.stderr)
        return 2
    print("Starting a database, a cache and an enrichment stand-in …")
    try:
        with servers(users=options.users, jobs=options.jobs, companies=options.companies) as running:
            cache = off() if options.no_cache else CacheService.from_url(running.cache_url)
            with application(running, cache, port=options.port) as url:
                print(f"The application is at {url}/docs. For example:")
                print(f"  curl -c cookies -X POST {url}/login/1234 && curl -b cookies -i {url}/jobs")
                print(f"  python -m examples.load {url}")
                print(f"  export DATABASE_URL='{running.database_url}' CACHE_URL={running.cache_url}")
                print("  python -m scripts.warm_popular_jobs examples.scores:score")
                print("Ctrl-C ends it.", flush=True)
                threading.Event().wait()
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
