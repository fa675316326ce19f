from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from infra import baseline_function
from tests.aws import stubbed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.stub import Stubber

    from tests.infra.stack import Declared

NOW = datetime(2026, 11, 24, 10, 5, 30, tzinfo=UTC)
NAMESPACE = "RoleFerry/Cache/prod"


@pytest.fixture
def cloudwatch() -> Iterator[tuple[Any, Stubber]]:
    with stubbed("cloudwatch") as client_and_stubber:
        yield client_and_stubber


def answer(stubber: Stubber, *series: list[float], more_at: str | None = None, status: str = "Complete") -> None:
    results = [
        {
            "Id": f"m{index}",
            "Label": "",
            "Values": values,
            "Timestamps": [NOW] * len(values),
            "StatusCode": "Complete" if index else status,
        }
        for index, values in enumerate(series)
    ]
    stubber.add_response(
        "get_metric_data", {"MetricDataResults": results} | ({"NextToken": more_at} if more_at else {})
    )


def published(stubber: Stubber, values: dict[str, float]) -> None:
    stubber.add_response(
        "put_metric_data",
        {},
        {
            "Namespace": NAMESPACE,
            "MetricData": [
                {
                    "MetricName": "HitRateBaseline",
                    "Dimensions": [{"Name": "CacheType", "Value": name}],
                    "Timestamp": NOW,
                    "Unit": "Percent",
                    "Value": value,
                }
                for name, value in values.items()
            ],
        },
    )


def test_baseline_is_the_ratio_of_the_weeks_sums(cloudwatch: tuple[Any, Stubber]) -> None:
    client, stubber = cloudwatch
    answer(stubber, [90, 10], [0, 100], [300], [])
    published(stubber, {"match": 50.0, "session": 100.0})

    least = {"match": 200, "session": 1}
    assert baseline_function.publish(client, namespace=NAMESPACE, least_lookups=least, now=NOW) == {
        "match": 50.0,
        "session": 100.0,
    }


def test_too_little_traffic_gives_no_baseline(cloudwatch: tuple[Any, Stubber]) -> None:
    client, stubber = cloudwatch
    answer(stubber, [90], [9])

    assert baseline_function.publish(client, namespace=NAMESPACE, least_lookups={"match": 100}, now=NOW) == {}


def test_pages_are_added_up(cloudwatch: tuple[Any, Stubber]) -> None:
    client, stubber = cloudwatch
    answer(stubber, [60], [40], more_at="more", status="PartialData")
    answer(stubber, [100], [0])
    published(stubber, {"match": 80.0})

    assert baseline_function.publish(client, namespace=NAMESPACE, least_lookups={"match": 1}, now=NOW)


@pytest.mark.parametrize("status", ["InternalError", "Forbidden", "PartialData"])
def test_half_an_answer_is_no_baseline(status: str, cloudwatch: tuple[Any, Stubber]) -> None:
    """CloudWatch answers 200 with it: hits that are left out would make a lower rate."""
    client, stubber = cloudwatch
    answer(stubber, [60], [40], status=status)

    with pytest.raises(baseline_function.IncompleteError, match=f"did not give all of CacheHits: {status}"):
        baseline_function.publish(client, namespace=NAMESPACE, least_lookups={"match": 1}, now=NOW)


def test_it_asks_for_the_week_that_ends_an_hour_before_the_last_full_hour(cloudwatch: tuple[Any, Stubber]) -> None:
    client, stubber = cloudwatch
    end = datetime(2026, 11, 24, 9, tzinfo=UTC)
    metrics = [
        {"Namespace": NAMESPACE, "MetricName": name, "Dimensions": [{"Name": "CacheType", "Value": "match"}]}
        for name in ("CacheHits", "CacheMisses")
    ]
    asked = {
        "StartTime": end - timedelta(days=7),
        "EndTime": end,
        "ScanBy": "TimestampDescending",
        "MetricDataQueries": [
            {"Id": f"m{index}", "MetricStat": {"Metric": metric, "Period": 3_600, "Stat": "Sum"}}
            for index, metric in enumerate(metrics)
        ],
    }
    stubber.add_response("get_metric_data", {"MetricDataResults": []}, asked)

    assert baseline_function.publish(client, namespace=NAMESPACE, least_lookups={"match": 1}, now=NOW) == {}


def test_declared_function_is_this_file_with_what_it_reads(declared: Declared) -> None:
    function = declared.one("Function").inputs

    assert function["handler"] == "baseline_function.handler"
    variables = function["environment"]["variables"]
    assert variables["NAMESPACE"] == declared.settings.names.metric_namespace
    assert set(json.loads(variables["LEAST_LOOKUPS"])) == {"match", "company", "ijp", "session"}
    assert declared.one("EventRule").inputs["scheduleExpression"] == "cron(5 * * * ? *)"
    assert declared.one("EventTarget").inputs["rule"] == declared.one("EventRule").inputs["name"]


def test_function_may_do_no_more_than_it_needs(declared: Declared) -> None:
    statements = json.loads(declared.one("RolePolicy", "baseline").inputs["policy"])["Statement"]

    allowed = {
        action
        for statement in statements
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert allowed == {
        "cloudwatch:GetMetricData",
        "cloudwatch:PutMetricData",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    assert statements[1]["Condition"]["StringEquals"]["cloudwatch:namespace"] == variables_namespace(declared)
    assert statements[2]["Resource"].endswith(":*")


def variables_namespace(declared: Declared) -> str:
    return str(declared.one("Function").inputs["environment"]["variables"]["NAMESPACE"])
