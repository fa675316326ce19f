"""What AWS would refuse is told by property, value and reason before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from infra.translations import TRANSLATIONS, limits
from local.aws import judge
from local.aws.kinds import KINDS
from local.aws.resources import Resources
from local.aws.wire import UNKNOWN

if TYPE_CHECKING:
    from tests.infra.stack import Declared


def test_every_declared_resource_is_taken(stacks: dict[str, Declared]) -> None:
    """The recorded ARN of a role is made up, and not of AWS's form."""
    for declared in stacks.values():
        for resource in declared.resources:
            if not resource.is_component:
                failures = judge.failures(resource.type, resource.inputs)
                assert [failure for failure in failures if failure.property != "role"] == [], resource.urn


def test_every_type_of_the_table_is_known_and_no_other() -> None:
    assert KINDS.keys() == TRANSLATIONS.keys()


def query(id_: str, *, returned: bool = True) -> dict[str, Any]:
    return {"id": id_, "expression": "1", "returnData": returned}


@pytest.mark.parametrize(
    ("type_", "changes", "told"),
    [
        ("ReplicationGroup", {"nodeType": "cache.t4g.medum"}, "nodeType is 'cache.t4g.medum': known are cache.t4g.m"),
        ("ReplicationGroup", {"transitEncryptionMode": "requird"}, "transitEncryptionMode is 'requird': allowed are"),
        ("ReplicationGroup", {"numCacheClusters": 1}, "numCacheClusters is 1: automaticFailoverEnabled needs a node"),
        ("ReplicationGroup", {"numNodeGroups": 2}, "numCacheClusters is 2: with numNodeGroups set"),
        ("ReplicationGroup", {"numCacheClusters": 7}, "numCacheClusters is 7: 1 to 6 nodes are allowed"),
        ("ReplicationGroup", {"numNodeGroups": 501}, "numNodeGroups is 501: 1 to 500 shards are allowed"),
        ("ReplicationGroup", {"numNodeGroups": 0}, "numNodeGroups is 0: 1 to 500 shards are allowed"),
        ("ReplicationGroup", {"numNodeGroups": 2, "replicasPerNodeGroup": 6}, "0 to 5 replicas are allowed"),
        (
            "ReplicationGroup",
            {"numNodeGroups": 2, "automaticFailoverEnabled": False},
            "automaticFailoverEnabled is False: it must be true with numNodeGroups",
        ),
        ("ReplicationGroup", {"automaticFailoverEnabled": False}, "multiAzEnabled is True: it needs automaticFailover"),
        (
            "ReplicationGroup",
            {"transitEncryptionEnabled": False},
            "userGroupIds is ['roleferry-prod-users']: users need",
        ),
        ("ReplicationGroup", {"transitEncryptionEnabled": False}, "transitEncryptionMode is 'required': it needs"),
        ("ReplicationGroup", {"userGroupIds": ["a", "b"]}, "userGroupIds is ['a', 'b']: one user group is allowed"),
        ("ReplicationGroup", {"engine": "redis"}, "engine is 'redis': valkey is the engine that runs here"),
        ("ReplicationGroup", {"engineVersion": "6.2"}, "engineVersion is '6.2': ElastiCache has 7.2, 8.0"),
        ("ReplicationGroup", {"snapshotWindow": "5:30"}, "snapshotWindow is '5:30': it must look like 03:00-04:00"),
        ("ReplicationGroup", {"snapshotWindow": "05:30-06:30"}, "maintenanceWindow is 'sun:05:00-sun:06:00': it over"),
        ("ReplicationGroup", {"replicationGroupId": "x" * 41}, "up to 40 characters"),
        ("ReplicationGroup", {"durability": "on"}, "durability is 'on': property 'durability' has no translation"),
        ("ReplicationGroup", {"port": "redis"}, "port is 'redis': Invalid type for parameter Port"),
        (
            "ParameterGroup",
            {"parameters": [{"name": "maxmemory", "value": "1"}]},
            "'maxmemory' is '1'; it cannot be set",
        ),
        ("ParameterGroup", {"family": "redis7"}, "family is 'redis7': known are valkey7, valkey8, valkey9"),
        ("User", {"userName": "other"}, "userName is 'other': it must be the userId"),
        ("User", {"accessString": "~* +@all"}, "it must start with on or off"),
        ("User", {"authenticationMode": {"type": "ldap"}}, "type must be iam, password or no-password-required"),
        ("MetricAlarm", {"metricQueries": [query("A")]}, "id 'A' must start with a small letter"),
        ("MetricAlarm", {"metricQueries": [query("a"), query("b")]}, "exactly one has returnData true"),
        ("MetricAlarm", {"metricQueries": [query(f"q{n}", returned=n == 0) for n in range(21)]}, "at most 20 are"),
        ("MetricAlarm", {"comparisonOperator": "LessThan"}, "comparisonOperator is 'LessThan': allowed are"),
        ("MetricAlarm", {"datapointsToAlarm": 99}, "datapointsToAlarm is 99: at most evaluationPeriods"),
        ("aws:cloudwatch/dashboard:Dashboard", {"dashboardBody": "{"}, "it is no JSON"),
        ("aws:cloudwatch/dashboard:Dashboard", {"dashboardBody": "[]"}, "it must be a JSON object"),
        ("aws:iam/role:Role", {"assumeRolePolicy": "{"}, "assumeRolePolicy is '{': it is no JSON"),
        *(
            (type_, {"policy": "{"}, "policy is '{': it is no JSON")
            for type_ in ("aws:iam/policy:Policy", "RolePolicy", "aws:kms/key:Key", "BucketPolicy", "TopicPolicy")
        ),
        ("Bucket", {"bucket": "Upper"}, "3 to 63 small letters"),
        ("BucketPublicAccessBlock", {"blockPublicAcls": "maybe"}, "blockPublicAcls is 'maybe': Invalid type"),
        ("Function", {"runtime": "python4"}, "runtime is 'python4': allowed are"),
        ("Vpc", {"cidrBlock": "10.0.0.0/8"}, "cidrBlock is '10.0.0.0/8': a range from /16 to /28 is allowed"),
        ("aws:kms/alias:Alias", {"name": "data"}, "it must be alias/…"),
        ("EventRule", {"scheduleExpression": "hourly"}, "it must be cron(…) or rate(…)"),
    ],
)
def test_a_wrong_value_is_told(type_: str, changes: dict[str, Any], told: str, stacks: dict[str, Declared]) -> None:
    resource = stacks["prod"].of(type_)[0]

    reasons = [failure.reason for failure in judge.failures(resource.type, resource.inputs | changes)]

    assert any(told in reason for reason in reasons), reasons


def test_ports_must_be_in_order_and_there() -> None:
    type_ = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
    rule = {
        "securityGroupId": "sg-0123456789abcdef0",
        "referencedSecurityGroupId": "sg-0123456789abcdef1",
        "ipProtocol": "tcp",
        "description": "The application",
        "tags": {"Owner": "devops"},
    }

    for low, high, told in (
        (0, 65_535, []),
        (6_379, 6_379, []),
        (6_380, 6_379, ["toPort is 6379: 0 <= fromPort, 6380, <= toPort <= 65535 must hold."]),
        (0, 65_536, ["toPort is 65536: 0 <= fromPort, 0, <= toPort <= 65535 must hold."]),
    ):
        assert [f.reason for f in judge.failures(type_, rule | {"fromPort": low, "toPort": high})] == told


def test_what_is_not_known_yet_is_not_judged(stacks: dict[str, Declared]) -> None:
    for resource in stacks["prod"].resources:
        if not resource.is_component:
            unknown = dict.fromkeys(resource.inputs, UNKNOWN)
            assert judge.failures(resource.type, unknown) == [], resource.urn


@pytest.mark.parametrize(("type_", "missing"), [("RolePolicy", "policy"), ("BucketLogging", "targetBucket")])
def test_a_missing_property_is_told(type_: str, missing: str, stacks: dict[str, Declared]) -> None:
    resource = stacks["prod"].of(type_)[0]
    inputs = {key: value for key, value in resource.inputs.items() if key != missing}

    assert [f.reason for f in judge.failures(resource.type, inputs)] == [f"{missing} is not set: it is required."]


def test_every_property_that_changes_in_place_has_a_request(stacks: dict[str, Declared]) -> None:
    for resource in stacks["prod"].resources:
        if resource.is_component:
            continue
        in_place = sorted(resource.inputs.keys() - TRANSLATIONS[resource.type].replaces)
        outputs = dict.fromkeys(KINDS[resource.type].outputs, "arn:aws:iam::123456789012:policy/made-up")
        facts = {**resource.inputs, **outputs, "id": "arn:aws:iam::123456789012:policy/made-up"}

        for key in in_place:
            for call in Resources.changes(resource.type, [key], facts, resource.inputs):
                wrong = [str(problem) for problem in limits.problems(call) if "arn:aws:" not in str(problem)]
                assert not wrong, f"{resource.urn} {key}: {wrong}"
