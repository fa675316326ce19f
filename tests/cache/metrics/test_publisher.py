"""Reports: what was added since the last one, from a thread that neither blocks nor breaks anything."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from cache.metrics import Publisher, Report, Sink
from cache.stats import Stats

if TYPE_CHECKING:
    import redis

    from cache import CacheService


ENDPOINT = "/jobs/{job_id}"


class Source:
    """What a publisher needs of a service."""

    def __init__(self) -> None:
        self.stats = Stats()
        self.pending_invalidations = 0


class Kept(Sink):
    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.has_report = threading.Event()
        self.is_closed = False

    def send(self, report: Report) -> None:
        self.reports.append(report)
        self.has_report.set()

    def close(self) -> None:
        self.is_closed = True


class Broken(Sink):
    def send(self, report: Report) -> None:
        raise OSError("no agent")


def test_a_report_holds_what_was_added_since_the_last_one(cache: CacheService) -> None:
    kept = Kept()
    publisher = Publisher(cache, [kept])
    cache.match_scores(1234, [1, 2], lambda jobs: {job: {"score": 1} for job in jobs})
    publisher.requests.add("miss", ENDPOINT)
    publisher.report()
    cache.get_match_scores(1234, [1, 2, 3])

    publisher.report()

    first, second = kept.reports
    assert (first.types["match"].computes, first.types["match"].misses["absent"]) == (2, 2)
    assert first.types["match"].compute_s > 0
    assert first.requests == {("miss", ENDPOINT): 1}
    assert (second.types["match"].hits, second.types["match"].misses["absent"]) == (2, 1)
    assert (second.types["match"].computes, second.requests) == (0, {})
    assert first.ended_at == second.began_at
    assert set(second.types) == {"match", "company", "ijp", "session"}


def test_the_server_s_memory_and_items_are_reported(cache: CacheService, client: redis.Redis) -> None:
    kept = Kept()
    cache.start_session(1234, {"name": "Ada"})

    Publisher(cache, [kept], server=client).report()

    server = kept.reports[0].server
    assert server is not None
    assert (server.items, server.evicted_items) == (1, 0)
    assert server.memory_bytes > 100_000


def test_a_sink_that_raises_is_said_once_and_does_not_keep_reports_from_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Kept()
    publisher = Publisher(Source(), [Broken(), kept])

    with caplog.at_level(logging.WARNING, "cache"):
        publisher.report()
        publisher.report()

    assert len(kept.reports) == 2
    assert [record.getMessage() for record in caplog.records] == ["cache.metrics_failed: Broken: OSError('no agent')"]


def test_the_thread_reports_by_itself_and_once_more_at_the_end() -> None:
    source, kept = Source(), Kept()
    with Publisher(source, [kept], interval_s=0.01):
        assert kept.has_report.wait(30)
        source.stats.lookup("match", hits=5)

    assert sum(report.types["match"].hits for report in kept.reports) == 5
    assert kept.is_closed


def test_a_publisher_that_was_closed_may_be_started_again() -> None:
    """As by the lifespan of an application that tests start several times."""
    source, kept = Source(), Kept()
    publisher = Publisher(source, [kept], interval_s=0.01)
    publisher.start()
    publisher.close()
    kept.has_report.clear()

    with publisher:
        source.stats.lookup("match", hits=5)
        for _ in range(3):  # not the farewell alone
            assert kept.has_report.wait(30)
            kept.has_report.clear()

    assert sum(report.types["match"].hits for report in kept.reports) == 5


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="interval_s is 0"):
        Publisher(Source(), [], interval_s=0)


FORKING = """
import json, os, sys, time
from cache.metrics import Publisher, Sink
from cache.stats import Stats

class Source:
    stats = Stats()
    pending_invalidations = 0

class Lines(Sink):
    def send(self, report):
        if report.types["match"].lookups or report.requests:
            row = [os.getpid(), report.types["match"].hits, sum(report.requests.values())]
            os.write(1, (json.dumps(row) + "\\n").encode())

publisher = Publisher(Source, [Lines()], interval_s=3600).start()
Source.stats.lookup("match", hits=100)
publisher.requests.add("hit", "/")
if not os.fork():
    Source.stats.lookup("match", hits=7)
    sys.exit()  # as a server's worker ends: through atexit
os.wait()
"""


def test_a_forked_child_reports_its_own_counts_and_the_parent_its_own() -> None:
    """Both at their end, which is what ends the thread."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING], capture_output=True, text=True, check=True, timeout=60
    )

    reported = [tuple(json.loads(line)[1:]) for line in run.stdout.splitlines()]
    assert reported == [(7, 0), (100, 1)]
