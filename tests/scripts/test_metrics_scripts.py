"""hit_rates and publish_baseline on moto, which keeps what is published."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ProfileNotFound
from moto import mock_aws

from scripts import common, hit_rates, publish_baseline
from tests.aws import with_keys, without_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMESPACE = "RoleFerry/Cache/prod"


@pytest.fixture
def cloudwatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with_keys(monkeypatch)
    with mock_aws():
        yield boto3.client("cloudwatch", region_name="us-east-1")


def publish(cloudwatch: Any, name: str, cache_type: str, value: float, at: datetime) -> None:
    cloudwatch.put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[
            {
                "MetricName": name,
                "Dimensions": [{"Name": "CacheType", "Value": cache_type}],
                "Timestamp": at,
                "Value": value,
            }
        ],
    )


def count(cloudwatch: Any, cache_type: str, hits: int, misses: int, *, hours_ago: int) -> None:
    at = datetime.now(UTC).replace(minute=30, second=0, microsecond=0) - timedelta(hours=hours_ago)
    publish(cloudwatch, "CacheHits", cache_type, hits, at)
    publish(cloudwatch, "CacheMisses", cache_type, misses, at)


def test_rates_are_shown_against_targets_and_baselines(cloudwatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for hours_ago in (2, 3):
        count(cloudwatch, "match", 450, 50, hours_ago=hours_ago)
        count(cloudwatch, "company", 80, 20, hours_ago=hours_ago)
    count(cloudwatch, "match", 0, 9_999, hours_ago=30)
    publish(cloudwatch, "HitRateBaseline", "match", 87.0, datetime.now(UTC) - timedelta(hours=5))
    publish(cloudwatch, "HitRateBaseline", "match", 88.5, datetime.now(UTC) - timedelta(hours=1))

    code = hit_rates.main(["--stack", "prod", "--hours", "24", "--json"])

    rows = {row["cache_type"]: row for row in json.loads(capsys.readouterr().out)}
    assert code == 3
    assert rows["match"] == {
        "cache_type": "match", "target": 80.0, "current": 90.0, "baseline": 88.5, "lookups": 1_000, "verdict": "met",
    }  # fmt: skip
    assert (rows["company"]["current"], rows["company"]["verdict"]) == (80.0, "missed")
    assert (rows["session"]["current"], rows["session"]["verdict"]) == (None, "no lookups")


def test_last_minutes_are_seen_before_their_hour_is_full(cloudwatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """While an alarm rings, full hours still show how it was before."""
    now = datetime.now(UTC)
    for minutes_ago, hits, misses in ((5, 20, 80), (40, 900, 100)):
        publish(cloudwatch, "CacheHits", "match", hits, now - timedelta(minutes=minutes_ago))
        publish(cloudwatch, "CacheMisses", "match", misses, now - timedelta(minutes=minutes_ago))

    assert hit_rates.main(["--stack", "prod", "--minutes", "15"]) == 3

    printed = capsys.readouterr().out
    assert "the last 15 full minutes" in printed
    assert re.search(r"match +80 % +20\.00 % +– +100 +missed", printed)


def test_without_lookups_nothing_is_met(cloudwatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert hit_rates.main(["--stack", "prod"]) == 5

    printed = capsys.readouterr().out
    assert "no lookups" in printed
    assert "RoleFerry/Cache/prod, the last 168 full hours" in printed


def published(cloudwatch: Any) -> list[float]:
    found = cloudwatch.get_metric_statistics(
        Namespace=NAMESPACE,
        MetricName="HitRateBaseline",
        Dimensions=[{"Name": "CacheType", "Value": "ijp"}],
        StartTime=datetime.now(UTC) - timedelta(days=2),
        EndTime=datetime.now(UTC) + timedelta(minutes=1),
        Period=60,
        Statistics=["Average"],
    )
    return [point["Average"] for point in found["Datapoints"]]


def test_dry_run_publishes_nothing(cloudwatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    count(cloudwatch, "ijp", 95, 5, hours_ago=5)

    assert publish_baseline.main(["--stack", "prod", "--dry-run"]) == 0

    assert "ijp 95.00 %" in (printed := capsys.readouterr().out)
    assert "would publish 1 value(s) in RoleFerry/Cache/prod" in printed
    assert published(cloudwatch) == []


def test_back_fill_publishes_each_hour_with_its_own_week(cloudwatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    count(cloudwatch, "ijp", 95, 5, hours_ago=3)

    assert publish_baseline.main(["--stack", "prod", "--back-fill", "4", "--json"]) == 0

    baselines = list(json.loads(capsys.readouterr().out)["baselines"].values())
    # The week of each ends an hour before its last full hour: the oldest does not see the counts.
    assert (baselines[0], baselines[-1]) == ({}, {"ijp": 95.0})
    assert len(published(cloudwatch)) == sum(map(len, baselines))


@pytest.mark.parametrize("module", [hit_rates, publish_baseline], ids=["hit_rates", "publish_baseline"])
def test_unknown_stack_and_missing_credentials_are_told(
    module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.main(["--stack", "nope"]) == 2
    assert "Known: prod, scale-out, scale-up" in capsys.readouterr().err

    without_keys(monkeypatch)
    assert module.main(["--stack", "prod"]) == 2
    assert "no AWS credentials" in capsys.readouterr().err


def test_refusals_of_aws_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> int:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetMetricData")

    def unreachable() -> int:
        raise EndpointConnectionError(endpoint_url="https://x")

    assert common.guarded("x", refused) == 1
    assert "x: AWS refused GetMetricData: AccessDenied: no" in capsys.readouterr().err
    assert common.guarded("x", unreachable) == 1
    assert "AWS could not be asked" in capsys.readouterr().err


def test_half_an_answer_is_no_rate(cloudwatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """CloudWatch may answer 200 and leave out what it could not read in time."""
    boto3.setup_default_session()
    assert boto3.DEFAULT_SESSION is not None

    def lose(parsed: dict[str, Any], **_kwargs: Any) -> None:
        parsed["MetricDataResults"][0] |= {"StatusCode": "InternalError", "Values": [], "Timestamps": []}

    boto3.DEFAULT_SESSION.events.register("after-call.cloudwatch.GetMetricData", lose)
    count(cloudwatch, "match", 450, 50, hours_ago=2)
    try:
        assert hit_rates.main(["--stack", "prod", "--json"]) == 1
    finally:
        boto3.setup_default_session()

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "hit_rates: CloudWatch did not give all of CacheHits: InternalError; ask again.\n"


def test_credentials_that_are_over_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    def expired() -> int:
        raise ClientError({"Error": {"Code": "ExpiredToken", "Message": "The token is expired"}}, "GetCallerIdentity")

    def unknown() -> int:
        raise ProfileNotFound(profile="prd")

    assert common.guarded("x", expired) == 2
    assert "does not take these credentials: ExpiredToken: The token is expired; sign in" in capsys.readouterr().err
    assert common.guarded("x", unknown) == 2
    assert "The config profile (prd) could not be found" in capsys.readouterr().err


def test_address_of_aws_that_is_none_is_told(
    cloudwatch: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost")

    assert hit_rates.main(["--stack", "prod"]) == 2

    assert capsys.readouterr().err == "hit_rates: AWS cannot be asked: Invalid endpoint: localhost.\n"


def test_what_was_published_before_an_error_is_told(cloudwatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    count(cloudwatch, "ijp", 95, 5, hours_ago=30)
    calls = 0

    def refuse(**_kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ClientError({"Error": {"Code": "Throttling", "Message": "Rate exceeded"}}, "PutMetricData")

    boto3.setup_default_session()
    assert boto3.DEFAULT_SESSION is not None
    boto3.DEFAULT_SESSION.events.register("before-call.cloudwatch.PutMetricData", refuse)
    try:
        assert publish_baseline.main(["--stack", "prod", "--back-fill", "4"]) == 1
    finally:
        boto3.setup_default_session()

    assert "PutMetricData: Throttling: Rate exceeded. Of 5 hour(s) 2 were published." in capsys.readouterr().err


def test_reader_that_has_seen_enough_is_no_error_to_tell() -> None:
    """`python -m scripts.… | head` ends early, and quietly."""
    script = "import sys; from scripts import common; sys.exit(common.guarded('x', lambda: print('y') or 0))"
    reader, writer = os.pipe()
    os.close(reader)

    run = subprocess.run(
        [sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=common.ROOT, check=False
    )
    os.close(writer)

    assert (run.returncode, run.stderr) == (1, "")


def test_file_that_cannot_be_used_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert common.guarded("x", lambda: len((tmp_path / "none").read_text())) == 1

    assert capsys.readouterr().err == f"x: {tmp_path}/none: No such file or directory.\n"


def test_hours_are_limited(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        hit_rates.main(["--stack", "prod", "--hours", "0"])

    assert ended.value.code == 2
    assert "'0' is no whole number from 1 to 10920" in capsys.readouterr().err
