from __future__ import annotations

import contextvars
import json
import re
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from pydantic import ValidationError

from infra import settings
from infra.fields import STACK_KEY
from infra.rules import RULES
from infra.settings import SettingsError
from infra.stack_file import PLACEHOLDER
from tests.infra import stack

if TYPE_CHECKING:
    from pathlib import Path

    from infra.rules import Rule


def problems(stack_name: str = "prod", /, **changes: Any) -> str:
    """The error's text after `changes` to the stack's own configuration."""
    config = stack.configuration(stack_name)
    for key, value in changes.items():
        config[key if ":" in key else f"{settings.PROJECT}:{key}"] = (
            value if isinstance(value, str) else json.dumps(value)
        )
    with pytest.raises(SettingsError) as caught:
        settings.read(stack_name, config)
    return str(caught.value)


def subscribed(protocol: str, endpoint: str) -> dict[str, dict[str, str]]:
    return {"ops": {"protocol": protocol, "endpoint": endpoint}}


GROUP = "sg-0123456789abcdef0"
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
        ({"cacheNodes": "many"}, "Set it with: pulumi config set --stack prod cacheNodes <value>"),
        ({"shards": "2"}, "shards is 2; it needs clusterMode true"),
        ({"clusterMode": "true"}, "burstable"),
        ({"clusterMode": "true"}, "set shards and replicasPerShard instead"),
        (
            {"clusterMode": "true", "automaticFailover": "false"},
            "automaticFailover is False; ElastiCache demands true with clusterMode",
        ),
        ({"maintenanceWindow": "sun:03:30-sun:04:30"}, "must not overlap snapshotWindow"),
        ({"maintenanceWindow": "sun:05:00-sun:05:30"}, "lasts 30 minutes"),
        ({"snapshotWindow": "3-4"}, "must look like 03:00-04:00"),
        ({"vpcId": VPC}, "subnetIds[0] is not set; with vpcId there must be at least two private subnets"),
        ({"vpcId": VPC, "subnetIds": SUBNETS[:1] * 2}, "--path 'subnetIds[1]' <value>"),
        ({"subnetIds": SUBNETS}, "vpcId is not set; subnetIds need the VPC"),
        ({"subnetIds": ["subnet-x"], "vpcId": VPC}, "subnetIds[0] is 'subnet-x': it must look like subnet-"),
        (OWN_VPC | {"vpcCidr": "10.1.0.0/16"}, "vpcCidr is '10.1.0.0/16'; the existing VPC of vpcId has its own"),
        ({"vpcCidr": "8.8.0.0/16"}, "must be a private IPv4 range"),
        ({"vpcCidr": "169.254.0.0/16"}, "must be a private IPv4 range"),  # private to a link; EC2 refuses it
        ({"vpcCidr": "10.1.0.5/16"}, "has host bits set"),
        ({"vpcCidr": "10.1.0.0/255.255.0.0"}, "write it as 10.1.0.0/16"),
        (
            {"parameterOverrides": {"maxmemory": "1gb"}},
            "parameterOverrides.maxmemory is '1gb'; it cannot be set: the node type decides it",
        ),
        (
            {"parameterOverrides": {"appendonly": "yes"}},
            "pulumi config rm --stack prod --path parameterOverrides.appendonly",
        ),
        ({"parameterOverrides": {"maxmemory-policy": "lru"}}, "must be one of volatile-lru"),
        ({"parameterOverrides": {"reserved-memory-percent": 100}}, "must be a whole number from 0 to 99"),
        ({"parameterOverrides": {"hash-max-listpack-entries": 128}}, "needs at least 502"),
        ({"parameterOverrides": {"hash-max-listpack-value": 64}}, "needs at least 113"),
        ({"parameterOverrides": {"timeout": "--5"}}, "timeout is '--5'; it must be a whole number from 0"),
        ({"parameterOverrides": {"timeout": "9" * 5_000}}, "it must be a whole number from 0"),
        ({"parameterOverrides": {"timeout": "\u0665"}}, "it must be a whole number from 0"),
        ({"parameterOverrides": {"a.b": 1}}, """pulumi config rm --stack prod --path 'parameterOverrides["a.b"]'"""),
        ({"parameterOverrides": "timeout=5"}, "it must be a mapping of names to values"),
        ({"loadTestUser": "true"}, "FLUSHALL would empty the cache of prod"),
        ({"extraKeyPatterns": ["*"]}, "a pattern starts with an entity and a colon"),
        (
            {"hitRateFloors": {"jobs": 70}},
            "hitRateFloors.jobs is 70.0; the cache types are match, company, ijp",
        ),
        ({"hitRateFloors": {"match": 101}}, "over 0 and under the target, 80"),
        ({"hitRateFloors": {"match": 0}}, "over 0 and under the target, 80"),
        ({"hitRateFloors": {"match": 78}}, "hitRateFloors.match is 78.0; at most 76.2: an hour by day has too few"),
        ({"memoryAlarmPercent": "120"}, "memoryAlarmPercent is '120'"),
        ({"memoryAlarmPercent": "0"}, "Input should be greater than 0"),
        ({"memoryAlarmPercent": "100"}, "Input should be less than 100"),
        ({"logRetentionDays": "366"}, "logRetentionDays is '366': it is unknown; known are 30, 60, 90, 180, 365"),
        ({"certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/x"}, "come together"),
        ({"stack": "scale-up", "loadTestUser": "true"}, "stack is no setting"),
        ({"stack": "scale-up", "loadTestUser": "true"}, "FLUSHALL would empty the cache of prod"),
        ({"cacheNodetype": "cache.m6g.large"}, "cacheNodetype is no setting. Known: alarmActions,"),
        ({"alarmSubscriptions": subscribed("sms", "+1")}, "alarmSubscriptions.ops.protocol is 'sms'"),
        ({"hitRateFloors": {"match": 101}}, "pulumi config set --stack prod --path hitRateFloors.match <value>"),
        ({"hitRateFloors": {"jobs": 70}}, "pulumi config rm --stack prod --path hitRateFloors.jobs"),
        (
            {"applicationSecurityGroupIds": "sg-1"},
            "a list. Set it with: pulumi config set --stack prod --path 'applicationSecurityGroupIds[0]' <value>",
        ),
        ({"applicationSecurityGroupIds": [GROUP, GROUP]}, f"it lists {GROUP} twice"),
        ({"owner": "Dev & Ops"}, "a tag has letters, digits, spaces and _ . : / = + - @, but not &"),
        ({"domainNames": ["https://static.roleferry.com"]}, "domainNames[0] is 'https://static.roleferry.com'"),
        (
            {"assetOrigins": ["app.roleferry.com"]},
            "assetOrigins[0] is 'app.roleferry.com': it must look like https://app",
        ),
        ({"assetOrigins": ["http://app.roleferry.com"]}, "it must look like https://app.example.com"),
        ({"assetOrigins": ["https://app.roleferry.com/"]}, "it must look like https://app.example.com"),
        (
            {"assetOrigins": ["*", "https://app.roleferry.com"]},
            "assetOrigins is ['*', 'https://app.roleferry.com']; * lets every origin in; list it alone",
        ),
        ({"hstsScope": "preload"}, "hstsScope is 'preload'; it needs domainNames: CloudFront's own is not yours."),
        (
            {"aws:region": "us-east-9"},
            "aws:region is 'us-east-9': botocore knows no ElastiCache there. Known: af-south-1,",
        ),
        ({"aws:region": "cn-north-1"}, "it is in the partition aws-cn; this stack is for regions of aws"),
        ({"aws:region": "us-gov-west-1"}, "it is in the partition aws-us-gov"),
        (
            {"certificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/x"},
            "it must look like arn:aws:acm:us-east-1:123456789012:certificate/",
        ),
        (
            {"webAclArn": "arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/a/b"},
            "it must look like arn:aws:wafv2:us-east-1:123456789012:global/webacl/",
        ),
        ({"alarmSubscriptions": subscribed("email", "ops")}, "with protocol email it must look like ops@example.com"),
        ({"alarmSubscriptions": subscribed("https", "http://a.example/x")}, "it must look like https://example.com"),
        ({"alarmSubscriptions": subscribed("sqs", "alarms")}, "it must look like arn:aws:sqs:"),
        ({"alarmSubscriptions": subscribed("lambda", "alarms")}, "it must look like arn:aws:lambda:"),
        (
            {"alarmSubscriptions": {"ops": {"protocol": "email", "endpoint": "a@b.c", "name": "x"}}},
            "Known: endpoint, protocol.",
        ),
        (
            {"alarmSubscriptions": [{"protocol": "email", "endpoint": "ops@example.com"}]},
            "it must be a mapping of names to values. Set it with: pulumi config set --stack prod --path",
        ),
        (
            {
                "alarmSubscriptions": subscribed("email", "a@b.c")
                | {"again": {"protocol": "email", "endpoint": "a@b.c"}}
            },
            "ops and again are the same protocol and endpoint",
        ),
    ],
)
def test_bad_value_is_told_with_key_value_and_what_is_allowed(changes: dict[str, Any], told: str) -> None:
    text = problems(**changes)

    assert told in text
    assert "pulumi config" in text


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [
        ("cacheNodes", 1, 6),
        ("shards", 1, 90),
        ("replicasPerShard", 0, 5),
        ("snapshotRetentionDays", 1, 35),
        ("connectionsAlarm", 1, 64_999),
    ],
)
def test_numbers_have_limits(key: str, least: int, most: int) -> None:
    usual = settings.read("prod", stack.configuration("prod")).model_dump(by_alias=True)

    for value in (least, most):
        settings.Settings.model_validate(usual | {key: value})
    for value in (least - 1, most + 1):
        with pytest.raises(ValidationError, match=f"(?s){key}.*Input should be (greater|less) than"):
            settings.Settings.model_validate(usual | {key: value})


def test_an_endpoint_is_not_shown() -> None:
    for endpoint in ("https://user:hunter2 @x", ["hunter2"]):
        text = problems(alarmSubscriptions={"ops": {"protocol": "https", "endpoint": endpoint}})

        assert "alarmSubscriptions.ops.endpoint is wrong" in text
        assert "hunter2" not in text
    assert "hunter2" not in problems(alarmSubscriptions='{"ops": {"endpoint": "hunter2"')
    good = settings.read(
        "prod",
        stack.configuration("prod")
        | {f"{settings.PROJECT}:alarmSubscriptions": json.dumps(subscribed("https", "https://user:hunter2@x.example"))},
    )
    assert "hunter2" not in repr(good)


def test_a_cluster_has_no_more_nodes_than_elasticache_allows() -> None:
    text = problems("scale-out", shards="31", replicasPerShard="2")

    assert "shards is 31; a cluster has at most 90 nodes: with replicasPerShard 2 at most 30 shards" in text
    most = stack.configuration("scale-out") | {"roleferry-cache:shards": "30", "roleferry-cache:replicasPerShard": "2"}
    assert len(settings.read("scale-out", most).node_ids) == 90


def test_a_single_node_does_without_failover() -> None:
    single = {"cacheNodes": "1", "automaticFailover": "false", "multiAz": "false"}
    config = stack.configuration("prod") | {f"{settings.PROJECT}:{key}": value for key, value in single.items()}

    assert settings.read("prod", config).node_ids == ("roleferry-prod-cache-001",)


@pytest.mark.parametrize(("needed", "rule"), RULES)
def test_a_rule_names_what_it_reads(needed: tuple[str, ...], rule: Rule) -> None:
    """It is skipped while one of these is wrong; of another it would judge a stand-in."""
    asked = set()

    class Watched(settings.Settings):
        def __getattribute__(self, name: str) -> Any:
            if name in settings.Settings.model_fields:
                asked.add(settings.Settings.model_fields[name].alias)
            return super().__getattribute__(name)

    for stack_name, changes in (("prod", stack.EVERY_OPTION), ("prod", OWN_VPC), ("scale-out", {})):
        told = settings.read(stack_name, stack.configuration(stack_name)).model_dump(by_alias=True) | changes
        list(rule(Watched.model_validate(told), told.keys()))

    assert asked - {STACK_KEY} == set(needed)


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


def test_a_file_is_read_as_pulumi_reads_it(tmp_path: Path) -> None:
    """A name without a namespace is the project's own: pulumi/pulumi, sdk/go/common/workspace/loaders.go."""
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("config:\n  aws:region: us-east-1\n  cacheNodeType: cache.m6g.large\n  cacheNodetype: x\n")

    with pytest.raises(SettingsError, match=r"^1 problem.*\n  cacheNodetype is no setting"):
        settings.from_file(file)


@pytest.mark.parametrize("text", ["2026-01-01", "yes", "010", "1e3", "!team ops"])
def test_a_value_is_its_text(text: str, tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(f"config:\n  aws:region: us-east-1\n  cacheNodeType: cache.m6g.large\n  owner: {text}\n")

    assert settings.from_file(file).owner == text.removeprefix("!team ")


@pytest.mark.parametrize("text", ["", "config:\n", "config: {}\n"])
def test_an_empty_file_misses_what_is_required(text: str, tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(text)

    with pytest.raises(SettingsError, match="aws:region is not set"):
        settings.from_file(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("config:\n  a: [b\n", r"Pulumi.dev.yaml is no YAML: .*line 3, column 1"),
        ("hello\n", "Pulumi.dev.yaml must be a mapping with the names and values of settings under config"),
        ("config: [1]\n", "must be a mapping"),
        ("config: {[5]: 6}\n", "Pulumi.dev.yaml is no YAML: .*unhashable key"),
        ("config: {a: \xff}\n", "Pulumi.dev.yaml is no YAML: .*invalid"),
    ],
)
def test_a_file_of_another_shape_is_told_in_a_sentence(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_bytes(text.encode("latin-1"))

    with pytest.raises(SettingsError, match=told) as caught:
        settings.from_file(file)
    assert "\n" not in str(caught.value)


ENCRYPTED = """
secretsprovider: awskms://alias/x
encryptedkey: abc
config:
  aws:region: us-east-1
  roleferry-cache:cacheNodeType: cache.m6g.large
  roleferry-cache:alarmSubscriptions:
    page: {protocol: https, endpoint: {secure: "v1:cipher"}}
    call: {protocol: https, endpoint: {secure: "v1:cipher"}}
"""


def test_an_encrypted_endpoint_is_a_placeholder_without_pulumi(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(ENCRYPTED)

    subscriptions = settings.from_file(file).alarm_subscriptions
    assert {name: told.endpoint for name, told in subscriptions.items()} == {
        "page": PLACEHOLDER,
        "call": PLACEHOLDER,
    }


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("cacheNodes: {secure: v1:cipher}", "cacheNodes"),
        ("extraKeyPatterns: [{secure: v1:cipher}]", "extraKeyPatterns[0]"),
        ("owner: {secure: v1:cipher}", "owner"),
    ],
)
def test_what_decides_about_resources_may_not_be_encrypted(tmp_path: Path, written: str, named: str) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(f"{ENCRYPTED}  {written}\n")

    told = re.escape(f"{named} is encrypted, which only an alarm's endpoint may be")
    with pytest.raises(SettingsError, match=told):
        settings.from_file(file)


def test_a_secret_that_is_no_setting_is_told_as_that_alone(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(ENCRYPTED + "  alarmSubscription: {secure: v1:cipher}\n")

    with pytest.raises(SettingsError) as caught:
        settings.from_file(file)
    (_, problem) = str(caught.value).splitlines()
    assert problem.startswith("  alarmSubscription is no setting. Known: ")


@pytest.mark.parametrize("name", stack.STACKS)
def test_every_setting_can_be_set(name: str) -> None:
    """Pulumi hands all of them over as strings. What a stack has anyway, written down, changes nothing."""
    config = stack.configuration(name)
    usual = settings.read(name, config)
    others = {"cacheNodes"} if usual.cluster_mode else {"shards", "replicasPerShard"}
    for key, value in json.loads(usual.model_dump_json(by_alias=True, exclude_none=True)).items():
        if key not in {STACK_KEY, "aws:region", *others}:
            written = value if isinstance(value, str) else json.dumps(value)

            assert settings.read(name, config | {f"{settings.PROJECT}:{key}": written}) == usual, key


def test_growing_prod_takes_one_setting() -> None:
    grown = settings.read("prod", stack.configuration("prod") | {"roleferry-cache:cacheNodeType": "cache.m6g.large"})

    assert grown.node.name == "cache.m6g.large"
    assert grown.apply_immediately


def test_pulumi_hands_its_configuration_over_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(stack.configuration("scale-out")))
    stack.declare("scale-out")

    assert settings.from_pulumi() == settings.read("scale-out", stack.configuration("scale-out"))


def test_a_secret_would_stand_in_the_open_and_is_refused() -> None:
    stack.declare("prod")

    def run() -> None:
        config = stack.configuration("prod") | {
            "roleferry-cache:owner": "team",
            "roleferry-cache:alarmSubscriptions": '{"page": {"protocol": "https", "endpoint": "https://a.example"}}',
        }
        pulumi.runtime.config.set_all_config(config, ["roleferry-cache:owner", "roleferry-cache:alarmSubscriptions"])
        settings.from_pulumi()

    with pytest.raises(SettingsError) as caught:
        contextvars.copy_context().run(run)
    assert str(caught.value).splitlines() == [
        "1 problem(s) in the settings of stack prod:",
        "  owner is encrypted, which only an alarm's endpoint may be. "
        "Set it with: pulumi config set --stack prod owner <value>",
    ]
