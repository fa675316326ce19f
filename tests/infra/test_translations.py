"""What is declared, as AWS's API takes it: against botocore's model of each service, and against moto."""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import pytest
from moto import mock_aws

from infra.translations import TRANSLATIONS, limits
from infra.translations.base import UntranslatedError
from tests.aws import with_keys
from tests.infra import stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.translations.base import Call
    from tests.infra.stack import Declared

SESSION = botocore.session.get_session()


@pytest.fixture(scope="module")
def everything() -> Declared:
    """A stack with every optional part."""
    return stack.declare("prod", stack.EVERY_OPTION)


def calls(declared: Declared) -> Iterator[tuple[str, Call]]:
    for resource in declared.resources:
        if not resource.is_component:
            for call in TRANSLATIONS[resource.type].calls(resource.inputs):
                yield resource.urn, call


def all_problems(declared: Declared) -> list[str]:
    return [f"{urn}: {problem}" for urn, call in calls(declared) for problem in limits.problems(call)]


# The mocks' ARNs and ids are shorter than AWS's.
MADE_UP = re.compile(r"arn:aws:\w+:::|is '(network|static|static-\w+)'")


def test_every_declared_type_has_a_translation(declared: Declared, everything: Declared) -> None:
    for resource in (*declared.resources, *everything.resources):
        assert resource.is_component or resource.type in TRANSLATIONS, resource.urn


def test_table_has_nothing_that_no_stack_declares(stacks: dict[str, Declared], everything: Declared) -> None:
    types = {resource.type for found in (*stacks.values(), everything) for resource in found.resources}

    assert TRANSLATIONS.keys() <= types


def test_requests_fit_awss_model(declared: Declared, everything: Declared) -> None:
    found = [problem for one in (declared, everything) for problem in all_problems(one) if not MADE_UP.search(problem)]

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("type_", "key", "value", "told"),
    [
        ("ReplicationGroup", "transitEncryptionMode", "requird", "allowed are preferred, required"),
        ("ReplicationGroup", "numCacheClusters", "two", "Invalid type"),
        ("Distribution", "httpVersion", "http4", "allowed are"),
        ("MetricAlarm", "comparisonOperator", "LessThan", "allowed are"),
        ("MetricAlarm", "alarmDescription", "x" * 1025, "at most 1024"),
        ("Function", "runtime", "python4", "allowed are"),
        ("FlowLog", "trafficType", "all", "allowed are"),
    ],
)
def test_misspelt_value_is_found(type_: str, key: str, value: Any, told: str, prod: Declared) -> None:
    resource = prod.of(type_)[0]
    found = [
        str(problem)
        for call in TRANSLATIONS[resource.type].calls(resource.inputs | {key: value})
        for problem in limits.problems(call)
    ]

    assert any(told in problem for problem in found), found


def test_property_without_translation_is_refused(prod: Declared) -> None:
    group = prod.one("ReplicationGroup")

    with pytest.raises(UntranslatedError, match="'durability' has no translation"):
        TRANSLATIONS[group.type].calls({**group.inputs, "durability": "enabled"})


def test_growing_is_no_replacement(prod: Declared) -> None:
    replaces = TRANSLATIONS[prod.one("ReplicationGroup").type].replaces

    in_place = {"nodeType", "numCacheClusters", "parameterGroupName", "userGroupIds", "snapshotWindow"}
    assert not in_place & replaces
    assert replaces == {"replicationGroupId", "atRestEncryptionEnabled", "kmsKeyId", "port", "subnetGroupName"}


@pytest.mark.parametrize(
    ("before", "after", "replaced"), [("9.0", "9.1", False), ("9.1", "9.0", True), ("10.0", "9.1", True)]
)
def test_a_lower_engine_version_is_a_new_cache(before: str, after: str, replaced: bool, prod: Declared) -> None:
    """ElastiCache cannot go back, so that the provider deletes the group and makes another."""
    group = prod.one("ReplicationGroup")
    olds, news = ({**group.inputs, "engineVersion": version} for version in (before, after))

    assert ("engineVersion" in TRANSLATIONS[group.type].replacing(olds, news)) is replaced


@pytest.mark.parametrize(
    ("type_", "replaced"),
    [
        ("LogDeliverySource", {"name", "logType", "resourceArn"}),
        ("LogDeliveryDestination", {"name", "outputFormat"}),
        ("LogDelivery", {"deliverySourceName", "deliveryDestinationArn"}),
    ],
)
def test_a_changed_delivery_of_logs_is_a_new_one(type_: str, replaced: set[str], prod: Declared) -> None:
    """As RequiresReplace says in the provider's internal/service/logs/delivery*.go."""
    assert TRANSLATIONS[prod.one(type_).type].replaces == replaced


def test_replaced_properties_are_declared_or_known(everything: Declared) -> None:
    for resource in everything.resources:
        if not resource.is_component:
            unknown = TRANSLATIONS[resource.type].replaces - resource.inputs.keys()
            assert not unknown, f"{resource.urn}: {unknown}"


def test_update_operations_exist() -> None:
    for type_, translation in TRANSLATIONS.items():
        if translation.update:
            service = {"lambda": "lambda", "vpc": "ec2"}.get(type_.split(":")[1].split("/")[0])
            services = [service] if service else [type_.split(":")[1].split("/")[0], "logs", "events"]
            assert any(translation.update in SESSION.get_service_model(name).operation_names for name in services), (
                type_
            )


def test_function_is_sent_as_a_zip_of_its_file(prod: Declared) -> None:
    function = prod.one("Function")
    (call,) = TRANSLATIONS[function.type].calls(function.inputs)

    with zipfile.ZipFile(io.BytesIO(call.parameters["Code"]["ZipFile"])) as zipped:
        assert zipped.namelist() == ["baseline_function.py"]
        assert zipped.read("baseline_function.py") == (stack.ROOT / "infra" / "baseline_function.py").read_bytes()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with_keys(monkeypatch)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield


class Sender:
    """Sends the declared calls to moto, ids of the mocks replaced by those that moto gave."""

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self.ids: dict[str, str] = {}

    def make(self, type_: str) -> None:
        for resource in self.declared.of(type_):
            for call in TRANSLATIONS[resource.type].calls(resource.inputs):
                answer = self.send(call)
                for key, known in (("Vpc", "VpcId"), ("Subnet", "SubnetId"), ("KeyMetadata", "KeyId")):
                    if key in answer:
                        self.ids[resource.name] = self.ids[f"{{{known}}}"] = answer[key][known]

    def send(self, call: Call) -> Any:
        client = boto3.client(call.service)
        method = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", call.operation).lower()
        return getattr(client, method)(**self.replaced(call.parameters))

    def replaced(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.replaced(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.replaced(inner) for inner in value]
        return self.ids.get(value, value) if isinstance(value, str) else value


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("name", stack.STACKS)
def test_network_and_cache_are_created_and_read_back(name: str, stacks: dict[str, Declared]) -> None:
    declared = stacks[name]
    sender = Sender(declared)
    for type_ in ("Vpc", "Subnet", "SubnetGroup", "aws:elasticache/user:User", "ReplicationGroup"):
        sender.make(type_)

    elasticache = boto3.client("elasticache")
    (group,) = elasticache.describe_replication_groups()["ReplicationGroups"]
    assert group["ReplicationGroupId"] == declared.outputs["replication_group_id"]
    assert group["CacheNodeType"] == declared.settings.cache_node_type
    assert group["AtRestEncryptionEnabled"]
    assert group["TransitEncryptionEnabled"]
    assert group["AutomaticFailover"] == "enabled"
    assert len(elasticache.describe_cache_subnet_groups()["CacheSubnetGroups"][0]["Subnets"]) == 2
    users = {user["UserName"]: user["AccessString"] for user in elasticache.describe_users()["Users"]}
    assert "+getex" in users[declared.outputs["app_user_name"]]


@pytest.mark.usefixtures("aws")
def test_static_buckets_are_created_and_read_back(prod: Declared) -> None:
    sender = Sender(prod)
    for type_ in (
        "Bucket", "BucketVersioning", "BucketServerSideEncryptionConfiguration", "BucketPublicAccessBlock",
        "BucketOwnershipControls", "BucketLifecycleConfiguration", "BucketPolicy", "BucketLogging",
    ):  # fmt: skip
        sender.make(type_)

    s3, bucket = boto3.client("s3"), prod.outputs["static_bucket"]
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rules[0]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30
    target = s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"]["TargetBucket"]
    assert target == bucket.replace("static", "static-logs")


@pytest.mark.usefixtures("aws")
def test_alarms_topic_and_dashboard_are_created_and_read_back(prod: Declared) -> None:
    sender = Sender(prod)
    for type_ in (
        "aws:kms/key:Key",
        "Alias",
        "Topic",
        "TopicPolicy",
        "MetricAlarm",
        "aws:cloudwatch/dashboard:Dashboard",
    ):
        sender.make(type_)

    cloudwatch = boto3.client("cloudwatch")
    alarms = {alarm["AlarmName"]: alarm for alarm in cloudwatch.describe_alarms(MaxRecords=100)["MetricAlarms"]}
    assert alarms.keys() == {resource.inputs["name"] for resource in prod.of("MetricAlarm")}
    floor = alarms["roleferry-prod-match-floor"]
    assert floor["Threshold"] == pytest.approx(70)
    assert [query["Id"] for query in floor["Metrics"]] == ["h", "m", "value"]
    body = cloudwatch.get_dashboard(DashboardName=prod.outputs["dashboard_name"])["DashboardBody"]
    assert body == prod.one("aws:cloudwatch/dashboard:Dashboard").inputs["dashboardBody"]
    kms = boto3.client("kms")
    (data,) = [a for a in kms.list_aliases()["Aliases"] if a["AliasName"] == "alias/roleferry-prod-data"]
    assert kms.get_key_rotation_status(KeyId=data["TargetKeyId"])["KeyRotationEnabled"]


@pytest.mark.usefixtures("aws")
def test_roles_logs_and_schedule_are_created_and_read_back(prod: Declared) -> None:
    sender = Sender(prod)
    for type_ in ("LogGroup", "Role", "RolePolicy", "aws:iam/policy:Policy", "EventRule"):
        sender.make(type_)

    groups = {group["logGroupName"]: group for group in boto3.client("logs").describe_log_groups()["logGroups"]}
    assert len(groups) == 4
    assert all(group["retentionInDays"] == 365 for group in groups.values())
    iam = boto3.client("iam")
    granted = iam.get_role_policy(RoleName="roleferry-prod-baseline", PolicyName="roleferry-prod-baseline")
    assert granted["PolicyDocument"]["Statement"][0]["Action"] == "cloudwatch:GetMetricData"
    assert boto3.client("events").describe_rule(Name="roleferry-prod-baseline")["State"] == "ENABLED"


@pytest.mark.usefixtures("aws")
def test_distribution_is_created_and_read_back(prod: Declared) -> None:
    sender = Sender(prod)
    for type_ in ("OriginAccessControl", "Distribution"):
        sender.make(type_)

    cloudfront = boto3.client("cloudfront")
    (summary,) = cloudfront.list_distributions()["DistributionList"]["Items"]
    config = cloudfront.get_distribution_config(Id=summary["Id"])["DistributionConfig"]
    assert config["DefaultRootObject"] == "index.html"
    assert config["CacheBehaviors"]["Items"][0]["PathPattern"] == "/assets/*"
