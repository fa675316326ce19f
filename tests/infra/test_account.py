"""A whole stack, made in moto in the order of its dependencies, and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from tests.audit.account import REGION, Maker
from tests.infra import stack

if TYPE_CHECKING:
    from collections.abc import Iterator

APPLICATION = "sg-0123456789abcdef0"
ASKED = {
    "applicationSecurityGroupIds": [APPLICATION],
    "alarmSubscriptions": {"ops": {"protocol": "email", "endpoint": "ops@roleferry.com"}},
}


@pytest.fixture(scope="module")
def declared() -> stack.Declared:
    return stack.declare("prod", ASKED)


@pytest.fixture(scope="module")
def session(declared: stack.Declared) -> Iterator[boto3.Session]:
    """A session in an account that has the application's security group and the stack."""
    with mock_aws():
        made = boto3.Session("testing", "testing", region_name=REGION)
        group = made.client("ec2").create_security_group(GroupName="application", Description="The application")
        Maker(known={APPLICATION: group["GroupId"]}).make(declared)
        yield made


def test_only_the_application_reaches_the_cache(session: boto3.Session) -> None:
    ec2 = session.client("ec2")
    groups = {group["GroupName"]: group for group in ec2.describe_security_groups()["SecurityGroups"]}

    (rule,) = groups["roleferry-prod-cache"]["IpPermissions"]
    assert (rule["FromPort"], rule["ToPort"], rule["IpRanges"]) == (6379, 6379, [])
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [groups["application"]["GroupId"]]


def test_flows_of_the_vpc_are_logged(session: boto3.Session) -> None:
    ec2 = session.client("ec2")
    (log,) = ec2.describe_flow_logs()["FlowLogs"]
    made = [vpc for vpc in ec2.describe_vpcs()["Vpcs"] if vpc["CidrBlock"] == "10.40.0.0/16"]

    assert [vpc["VpcId"] for vpc in made] == [log["ResourceId"]]
    assert log["TrafficType"] == "ALL"
    assert log["LogDestination"].endswith(":log-group:/aws/vpc/roleferry-prod-flow")


def test_the_baseline_function_runs_every_hour(session: boto3.Session) -> None:
    name = "roleferry-prod-baseline"
    function = session.client("lambda").get_function(FunctionName=name)["Configuration"]
    policy: Any = session.client("lambda").get_policy(FunctionName=name)["Policy"]
    (target,) = session.client("events").list_targets_by_rule(Rule=name)["Targets"]

    assert function["Runtime"] == "python3.13"
    assert function["Environment"]["Variables"]["NAMESPACE"] == "RoleFerry/Cache/prod"
    assert function["Role"].endswith(f":role/{name}")
    assert target["Arn"] == function["FunctionArn"]
    assert "events.amazonaws.com" in policy


def test_cloudfront_s_logs_are_delivered(session: boto3.Session) -> None:
    logs = session.client("logs")
    (source,) = logs.describe_delivery_sources()["deliverySources"]
    (delivery,) = logs.describe_deliveries()["deliveries"]
    (distribution,) = session.client("cloudfront").list_distributions()["DistributionList"]["Items"]

    assert source["resourceArns"] == [distribution["ARN"]]
    assert delivery["deliverySourceName"] == source["name"]


def test_alarms_reach_the_subscribed(session: boto3.Session) -> None:
    (subscription,) = session.client("sns").list_subscriptions()["Subscriptions"]
    alarms = session.client("cloudwatch").describe_alarms(MaxRecords=100)["MetricAlarms"]

    assert subscription["Endpoint"] == "ops@roleferry.com"
    assert {action for alarm in alarms for action in alarm["AlarmActions"]} == {subscription["TopicArn"]}
