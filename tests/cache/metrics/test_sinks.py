"""Each sink against what receives it: a UDP socket, the AWS API of moto, a registry."""

from __future__ import annotations

import socket
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import boto3
import moto
import pytest
from botocore.exceptions import ClientError
from prometheus_client import CollectorRegistry, generate_latest

from cache.catalog import CATALOG
from cache.metrics import Report, ServerState
from cache.metrics.cloudwatch import DIMENSION, HITS, KEPT_MINUTES, MISSES, NAMESPACE, CloudWatch, Minutes
from cache.metrics.dogstatsd import DogStatsD
from cache.metrics.prometheus import Prometheus
from cache.stats import Counts
from infra import alarms
from infra.naming import Names

if TYPE_CHECKING:
    from collections.abc import Iterator

MONDAY = 1_767_571_200  # a full minute
REPORT = Report(
    began_at=MONDAY + 3,
    ended_at=MONDAY + 13,
    types={
        "match": Counts(hits=90, misses={"absent": 9, "unavailable": 1}, computes=10, compute_s=0.25, dropped_writes=1),
        "session": Counts(hits=3),
    },
    requests={("hit", "/jobs/{job_id}"): 4},
    pending=2,
    server=ServerState(memory_bytes=1_000_000, items=50, evicted_items=7),
)


class SetClock:
    def __init__(self, now: float) -> None:
        self.value = now

    def now(self) -> float:
        return self.value


# -- DogStatsD --------------------------------------------------------------------------------------------------


def test_dogstatsd_gets_counts_and_gauges_with_tags() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        agent.settimeout(30)
        sink = DogStatsD("127.0.0.1", agent.getsockname()[1], tags=["env:test"])
        sink.send(REPORT)
        received = ""
        while "server_evicted_items" not in received:  # the last one; a report may take several packets
            received += agent.recv(65_535).decode()
        sink.close()

    assert {
        "roleferry.cache.requests:4|c|#status:hit,endpoint:/jobs/_job_id_,env:test",
        "roleferry.cache.hits:90|c|#cache_type:match,env:test",
        "roleferry.cache.misses:1|c|#cache_type:match,reason:unavailable,env:test",
        "roleferry.cache.compute_s:0.25|c|#cache_type:match,env:test",
        "roleferry.cache.pending_invalidations:2|g|#env:test",
        "roleferry.cache.server_evicted_items:7|g|#env:test",
    } <= {line.partition("|c:")[0] for line in received.splitlines()}  # behind it: the container, where there is one


def test_an_agent_that_does_not_listen_costs_packets_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    sink = DogStatsD("127.0.0.1", port)

    for _ in range(5):
        sink.send(REPORT)
    sink.close()

    assert "dropping the packet" in caplog.text


# -- CloudWatch -------------------------------------------------------------------------------------------------


@pytest.fixture
def cloudwatch() -> Iterator[Any]:
    with moto.mock_aws():
        yield boto3.client("cloudwatch", region_name="eu-central-1")


def sums(client: Any, metric: str, cache_type: str, namespace: str = NAMESPACE) -> dict[float, float]:
    answer = client.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": "CacheType", "Value": cache_type}],
        StartTime=MONDAY,
        EndTime=MONDAY + 86_400,
        Period=60,
        Statistics=["Sum"],
    )
    return {point["Timestamp"].timestamp(): point["Sum"] for point in answer["Datapoints"]}


def test_a_minute_s_counts_are_one_point_under_the_minute_s_time(cloudwatch: Any) -> None:
    clock = SetClock(MONDAY + 13)
    sink = CloudWatch(client=cloudwatch, clock=clock)
    sink.send(REPORT)
    sink.send(Report(MONDAY + 13, MONDAY + 23, {"match": Counts(hits=10)}))
    assert sums(cloudwatch, HITS, "match") == {}

    clock.value = MONDAY + 63
    sink.send(Report(MONDAY + 53, MONDAY + 63, {"match": Counts(hits=1)}))

    assert sums(cloudwatch, HITS, "match") == {MONDAY: 101}
    assert sums(cloudwatch, MISSES, "match") == {MONDAY: 10}
    assert sums(cloudwatch, MISSES, "session") == {MONDAY: 0}
    assert sink.minutes.all() == []


def test_the_end_sends_the_minute_that_is_not_over(cloudwatch: Any) -> None:
    sink = CloudWatch("RoleFerry/Cache/prod", client=cloudwatch, clock=SetClock(MONDAY + 13))
    sink.send(REPORT)

    sink.close()

    assert sums(cloudwatch, HITS, "match", "RoleFerry/Cache/prod") == {MONDAY: 90}


class Throttled:
    """A client that CloudWatch throttles until `is_open`."""

    def __init__(self) -> None:
        self.is_open = False
        self.calls: list[list[dict[str, Any]]] = []

    def put_metric_data(self, *, Namespace: str, MetricData: list[dict[str, Any]]) -> None:  # noqa: N803 - boto3's
        if not self.is_open:
            raise ClientError({"Error": {"Code": "Throttling", "Message": "Rate exceeded"}}, "PutMetricData")
        self.calls.append(MetricData)


def test_what_is_throttled_is_kept_and_sent_later_in_few_calls() -> None:
    client, clock = Throttled(), SetClock(MONDAY)
    sink = CloudWatch(client=client, clock=clock)
    for minute in range(KEPT_MINUTES + 5):
        clock.value = MONDAY + 60 * (minute + 1)
        types = {cache_type.name: Counts(hits=minute) for cache_type in CATALOG}
        with pytest.raises(ClientError):
            sink.send(Report(clock.value - 60, clock.value, types))

    client.is_open = True
    sink.close()

    assert [len(call) for call in client.calls] == [1000, KEPT_MINUTES * 8 - 1000]
    assert client.calls[0][0]["Timestamp"].timestamp() == MONDAY + 5 * 60
    assert sink.minutes.dropped == 5


def test_a_child_does_not_send_its_parent_s_minutes(cloudwatch: Any) -> None:
    sink = CloudWatch(client=cloudwatch, clock=SetClock(MONDAY + 13))
    sink.send(REPORT)

    sink.after_fork()
    sink.close()

    assert sums(cloudwatch, HITS, "match") == {}


def test_metric_names_are_those_that_the_stack_s_alarms_watch() -> None:
    minutes = Minutes()
    minutes.add(MONDAY, {"match": Counts(hits=1)})

    assert (HITS, MISSES) == (alarms.HITS, alarms.MISSES)
    assert [each["Name"] for data in minutes.data(MONDAY) for each in data["Dimensions"]] == [DIMENSION] * 2
    assert Names("prod").metric_namespace == f"{NAMESPACE}/prod"


# -- Prometheus -------------------------------------------------------------------------------------------------


def test_prometheus_counters_add_up_over_reports() -> None:
    registry = CollectorRegistry()
    sink = Prometheus(registry)

    sink.send(REPORT)
    sink.send(REPORT)

    page = generate_latest(registry).decode().splitlines()
    assert 'roleferry_cache_hits_total{cache_type="match"} 180.0' in page
    assert 'roleferry_cache_misses_total{cache_type="match",reason="absent"} 18.0' in page
    assert 'roleferry_cache_compute_seconds_total{cache_type="match"} 0.5' in page
    assert 'roleferry_cache_requests_total{endpoint="/jobs/{job_id}",status="hit"} 8.0' in page
    assert "roleferry_cache_server_items 50.0" in page


def test_prometheus_knows_every_count_that_the_library_makes() -> None:
    everything: dict[str, Any] = {each.name: 1 for each in fields(Counts) if each.name != "misses"}
    counts = Counts(misses={"absent": 1}, **everything)

    Prometheus(CollectorRegistry()).send(Report(0, 1, {"match": counts}))
