from __future__ import annotations

import json
from typing import Any

import pytest

from infra import settings
from infra.settings import SettingsError
from tests.infra import stack


def problems(stack_name: str = "prod", /, **changes: Any) -> str:
    """The error's text after `changes` to the stack's own configuration."""
    config = stack.configuration(stack_name)
    for key, value in changes.items():
        config[f"{settings.PROJECT}:{key}"] = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(SettingsError) as caught:
        settings.read(stack_name, config)
    return str(caught.value)


VPC = "vpc-0123456789abcdef0"
SUBNETS = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
OWN_VPC = {"vpcId": VPC, "subnetIds": SUBNETS}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cacheNodeType": "cache.t4g.medum"}, "known are cache.t4g.medium, cache.m6g.large"),
        ({"engineVersion": "6.2"}, "known are 7.2"),
        ({"cacheNodes": "1"}, "automaticFailover true needs a node to fail over to: at least 2"),
        ({"automaticFailover": "false"}, "multiAz is True; it needs automaticFailover true"),
        ({"cacheNodes": "many"}, "cacheNodes is 'many'"),
        ({"shards": "2"}, "shards is 2; it needs clusterMode true"),
        ({"clusterMode": "true"}, "burstable"),
        ({"clusterMode": "true"}, "set shards and replicasPerShard instead"),
        ({"maintenanceWindow": "sun:03:30-sun:04:30"}, "must not overlap snapshotWindow"),
        ({"maintenanceWindow": "sun:05:00-sun:05:30"}, "lasts 30 minutes"),
        ({"snapshotWindow": "3-4"}, "must look like 03:00-04:00"),
        ({"vpcId": VPC}, "must list at least two private subnets"),
        ({"vpcId": VPC, "subnetIds": SUBNETS[:1] * 2}, "must list at least two private subnets"),
        ({"subnetIds": SUBNETS}, "they need vpcId"),
        ({"subnetIds": ["subnet-x"], "vpcId": VPC}, "subnetIds.0 is 'subnet-x': it must be an id such as subnet-"),
        (OWN_VPC | {"vpcCidr": "10.1.0.0/16"}, "remove one of the two"),
        ({"vpcCidr": "8.8.0.0/16"}, "must be a private IPv4 range"),
        ({"vpcCidr": "10.1.0.5/16"}, "has host bits set"),
        ({"parameterOverrides": {"maxmemory": "1gb"}}, "'maxmemory' cannot be set: the node type decides it"),
        ({"parameterOverrides": {"appendonly": "yes"}}, "'appendonly' cannot be set"),
        ({"parameterOverrides": {"maxmemory-policy": "lru"}}, "must be one of volatile-lru"),
        ({"parameterOverrides": {"hash-max-listpack-entries": 128}}, "needs at least 501"),
        ({"parameterOverrides": {"hash-max-listpack-value": 64}}, "needs at least 113"),
        ({"loadTestUser": "true"}, "FLUSHALL would empty the cache of prod"),
        ({"extraKeyPatterns": ["*"]}, "a pattern starts with an entity and a colon"),
        (
            {"hitRateFloors": {"jobs": 70}},
            "hitRateFloors.jobs is 70.0; the cache types are match, company, ijp",
        ),
        ({"hitRateFloors": {"match": 101}}, "over 0 and under the target, 80"),
        ({"memoryAlarmPercent": "120"}, "memoryAlarmPercent is '120'"),
        ({"certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/x"}, "come together"),
        ({"stack": "scale-up", "loadTestUser": "true"}, "stack is no setting"),
        ({"stack": "scale-up", "loadTestUser": "true"}, "FLUSHALL would empty the cache of prod"),
        ({"cacheNodetype": "cache.m6g.large"}, "cacheNodetype is no setting. Known: alarmActions,"),
        ({"alarmSubscriptions": [{"protocol": "sms", "endpoint": "+1"}]}, "alarmSubscriptions.0.protocol is 'sms'"),
    ],
)
def test_bad_value_is_told_with_key_value_and_what_is_allowed(changes: dict[str, Any], told: str) -> None:
    text = problems(**changes)

    assert told in text
    assert "pulumi config" in text


def test_every_problem_is_told_at_once() -> None:
    text = problems(
        cacheNodeType="cache.nope",
        maintenanceWindow="sun:03:30-sun:04:30",
        vpcId=VPC,
        subnetIds=SUBNETS[:1],
        hitRateFloors={"jobs": 70, "match": 101},
        memoryAlarmPercent="120",
    )

    assert text.startswith("6 problem(s) in the settings of stack prod:")
    assert len(text.splitlines()) == 7


@pytest.mark.parametrize("key", ["aws:region", "roleferry-cache:cacheNodeType"])
def test_required_setting_is_missed(key: str) -> None:
    config = stack.configuration("prod")
    del config[key]

    with pytest.raises(SettingsError, match=f"{key.removeprefix('roleferry-cache:')} is not set"):
        settings.read("prod", config)


def test_nothing_is_declared_with_wrong_settings() -> None:
    with pytest.raises(SettingsError):
        stack.declare("prod", {"cacheNodeType": "cache.nope"})


@pytest.mark.parametrize("name", ["Prod", "a-stack-name-of-21-char", "x--y", "x-", "1x", "x_y", ""])
def test_stack_name_that_no_physical_name_can_hold_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="1 to 20 small letters"):
        settings.read(name, stack.configuration("prod"))


def test_longest_stack_name_keeps_every_name_within_its_limit() -> None:
    names = settings.read("a" * 20, stack.configuration("prod")).names

    assert len(names.replication_group) <= 40
    assert len(f"{names.of('static-logs')}-{stack.ACCOUNT}") <= 63
    assert len(names.of("operator")) <= 40


def test_command_line_and_pulumi_read_the_same_settings() -> None:
    for name in stack.STACKS:
        from_file = settings.from_file(stack.ROOT / f"Pulumi.{name}.yaml")

        assert from_file == settings.read(name, stack.configuration(name))
        assert from_file.stack == name


def test_growing_prod_takes_one_setting() -> None:
    grown = settings.read("prod", stack.configuration("prod") | {"roleferry-cache:cacheNodeType": "cache.m6g.large"})

    assert grown.node.name == "cache.m6g.large"
    assert grown.apply_immediately


def test_pulumi_hands_its_configuration_over_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(stack.configuration("scale-out")))
    stack.declare("scale-out")

    assert settings.from_pulumi() == settings.read("scale-out", stack.configuration("scale-out"))
