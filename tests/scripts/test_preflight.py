"""preflight against botocore's model of each service: every check passes once and fails once."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from infra import settings
from scripts import common, preflight
from scripts.preflight import Check, Status
from tests.aws import stubbed
from tests.infra import stack

if TYPE_CHECKING:
    from collections.abc import Mapping

VPC, SUBNETS = "vpc-0123456789abcdef0", ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
GROUP = "sg-0123456789abcdef0"
CERTIFICATE = f"arn:aws:acm:us-east-1:{stack.ACCOUNT}:certificate/1"
PRICE = {
    "terms": {"OnDemand": {"a": {"priceDimensions": {"b": {"unit": "Hrs", "pricePerUnit": {"USD": "0.0520000000"}}}}}}
}
# What an account answers that may have the stack, by service and operation, in the order of the checks.
FINE: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "sts": [
        (
            "get_caller_identity",
            {"Account": stack.ACCOUNT, "Arn": f"arn:aws:iam::{stack.ACCOUNT}:user/ada", "UserId": "AIDA"},
        )
    ],
    "ec2": [
        ("describe_regions", {"Regions": [{"RegionName": "us-east-1", "OptInStatus": "opt-in-not-required"}]}),
        (
            "describe_availability_zones",
            {"AvailabilityZones": [{"ZoneName": "us-east-1a"}, {"ZoneName": "us-east-1b"}]},
        ),
        ("describe_vpcs", {"Vpcs": [{"VpcId": VPC}]}),
    ],
    "elasticache": [
        (
            "describe_cache_engine_versions",
            {
                "CacheEngineVersions": [
                    {"EngineVersion": "8.2", "CacheParameterGroupFamily": "valkey8"},
                    {"EngineVersion": "9.1", "CacheParameterGroupFamily": "valkey9"},
                ]
            },
        ),
        ("describe_cache_clusters", {"CacheClusters": [{"CacheClusterId": "other-001"}]}),
    ],
    "pricing": [("get_products", {"PriceList": [json.dumps(PRICE)]})],
    "service-quotas": [
        ("list_service_quotas", {"Quotas": [{"QuotaName": "Nodes per Region", "Value": 300.0}]}),
        ("list_service_quotas", {"Quotas": [{"QuotaName": "VPCs per Region", "Value": 5.0}]}),
    ],
}


def checked(
    changes: Mapping[str, Any] | None = None, answers: Mapping[str, list[tuple[str, Any]]] | None = None
) -> dict[str, Check]:
    """The checks of prod with changed settings and answers; an answer that is a str is an error code."""
    config = stack.configuration("prod") | {
        f"{settings.PROJECT}:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in (changes or {}).items()
    }
    with ExitStack() as opened:
        clients = {}
        for service, expected in {**FINE, **(answers or {})}.items():
            clients[service], stubber = opened.enter_context(stubbed(service))
            for operation, answer in expected:
                if isinstance(answer, str):
                    stubber.add_client_error(operation, answer, "refused")
                else:
                    stubber.add_response(operation, answer)
        found = list(preflight.checks(settings.read("prod", config), lambda service, _region: clients[service]))
    return {check.name: check for check in found}


def test_account_that_may_have_the_stack_passes() -> None:
    found = checked()

    assert {check.status for check in found.values()} == {Status.OK}
    assert found["credentials"].detail == f"account {stack.ACCOUNT} as ada"
    assert "0.0520 USD an hour" in found["node type"].detail
    assert "1 nodes run, 2 would come, the quota is 300" in found["quota of nodes"].detail


def replaced(service: str, operation: str, answer: Any, number: int = 0) -> dict[str, list[tuple[str, Any]]]:
    answers: list[tuple[str, Any]] = list(FINE[service])
    at = [index for index, (name, _) in enumerate(answers) if name == operation][number]
    answers[at] = (operation, answer)
    return {service: answers}


def offered(version: str, family: str) -> dict[str, list[tuple[str, Any]]]:
    found = {"CacheEngineVersions": [{"EngineVersion": version, "CacheParameterGroupFamily": family}]}
    return replaced("elasticache", "describe_cache_engine_versions", found)


@pytest.mark.parametrize(
    ("check", "answers", "told"),
    [
        ("engine", offered("8.2", "valkey8"), "valkey 9.1 is not offered in us-east-1. Offered: 8.2"),
        ("engine", offered("9.10", "valkey9"), "valkey 9.1 is not offered in us-east-1. Offered: 9.10"),
        ("engine", offered("9.1.2", "valkey8"), "valkey 9.1 is of family valkey8, not valkey9"),
        ("node type", replaced("pricing", "get_products", {"PriceList": []}), "is not offered"),
        (
            "quota of nodes",
            replaced(
                "service-quotas", "list_service_quotas", {"Quotas": [{"QuotaName": "Nodes per Region", "Value": 2.0}]}
            ),
            "the quota is 2. Ask for more",
        ),
        (
            "quota of VPCs",
            replaced(
                "service-quotas", "list_service_quotas", {"Quotas": [{"QuotaName": "VPCs per Region", "Value": 1.0}]}, 1
            ),
            "the quota is 1. Ask for more",
        ),
        (
            "zones",
            replaced("ec2", "describe_availability_zones", {"AvailabilityZones": [{"ZoneName": "us-east-1a"}]}),
            "multiAz needs two zones",
        ),
    ],
)
def test_each_check_can_fail(check: str, answers: dict[str, list[tuple[str, Any]]], told: str) -> None:
    found = checked(answers=answers)

    assert found[check].status is Status.FAILED
    assert told in found[check].detail
    assert {other.status for name, other in found.items() if name != check} == {Status.OK}


def test_a_patch_of_the_engine_is_of_its_version() -> None:
    assert checked(answers=offered("9.1.2", "valkey9"))["engine"].status is Status.OK


@pytest.mark.parametrize(("usd", "reckoned"), [("0.0522", False), ("0.0600", True), ("0.0400", True)])
def test_a_price_that_is_not_the_planned_one_is_told_and_fails_nothing(usd: str, reckoned: bool) -> None:
    """Of what has no price by the hour, such as a reservation's first payment, none is taken for one."""
    prices = [("Hrs", usd), ("Hrs", "0.0000"), ("Quantity", "0.0100")]
    dimensions = {str(n): {"unit": unit, "pricePerUnit": {"USD": price}} for n, (unit, price) in enumerate(prices)}
    product = {"terms": {"OnDemand": {"a": {"priceDimensions": dimensions}}, "Reserved": {}}}

    wanted = {"instanceType": "cache.t4g.medium", "regionCode": "us-east-1", "cacheEngine": "Valkey"}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    with stubbed("pricing") as (client, answers):
        asked = {"ServiceCode": "AmazonElastiCache", "Filters": filters}
        answers.add_response("get_products", {"PriceList": [json.dumps(product)]}, asked)
        fine, detail = preflight._node_type(common.stack_settings("prod"), client)

    assert fine
    assert detail.startswith(f"cache.t4g.medium: {usd} USD an hour")
    assert detail.endswith(", reckoned with 0.0520 (cache/nodes.py)") is reckoned


def test_what_may_not_be_asked_is_unknown_and_an_error_fails() -> None:
    found = checked(answers=replaced("ec2", "describe_regions", "UnauthorizedOperation"))
    assert found["region"].status is Status.UNKNOWN

    found = checked(answers=replaced("ec2", "describe_availability_zones", "InternalError"))
    assert (found["zones"].status, "InternalError" in found["zones"].detail) == (Status.FAILED, True)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"Regions": [{"OptInStatus": "not-opted-in"}]}, "eu-south-2 is not enabled in this account"),
        ("InvalidParameterValue", "InvalidParameterValue"),
    ],
)
def test_region_that_is_not_enabled_is_told_by_another(answer: Any, told: str) -> None:
    """It takes no credentials itself, so that nothing is asked there."""
    config = stack.configuration("prod") | {"aws:region": "eu-south-2"}
    with stubbed("sts") as (sts, identity), stubbed("ec2") as (ec2, regions):
        identity.add_response(*FINE["sts"][0])
        if isinstance(answer, str):
            regions.add_client_error("describe_regions", answer, "refused")
        else:
            regions.add_response("describe_regions", answer)
        clients = {("sts", "us-east-1"): sts, ("ec2", "us-east-1"): ec2}

        found = list(preflight.checks(settings.read("prod", config), lambda *asked: clients[asked]))

    assert [(check.name, check.status) for check in found] == [
        ("credentials", Status.OK),
        ("region", Status.FAILED),
    ]
    assert told in found[1].detail


def test_nodes_of_memcached_count_by_their_number() -> None:
    several = {"CacheClusters": [{"CacheClusterId": "other", "NumCacheNodes": 20}]}

    found = checked(answers=replaced("elasticache", "describe_cache_clusters", several))

    assert "20 nodes run, 2 would come" in found["quota of nodes"].detail


@pytest.mark.parametrize(
    ("zones", "vpc", "group_vpc", "failing"),
    [
        (("a", "b"), VPC, VPC, set()),
        (("a", "a"), VPC, VPC, {"zones"}),
        (("a", "b"), "vpc-other", VPC, {"zones"}),
        (("a", "b"), VPC, "vpc-other", {"security groups"}),
    ],
)
def test_own_subnets_and_groups_must_belong_together(
    zones: tuple[str, str], vpc: str, group_vpc: str, failing: set[str]
) -> None:
    subnets = [
        {"SubnetId": subnet, "VpcId": vpc, "AvailabilityZone": f"us-east-1{zone}"}
        for subnet, zone in zip(SUBNETS, zones, strict=True)
    ]
    answers: list[tuple[str, Any]] = [
        FINE["ec2"][0],
        ("describe_subnets", {"Subnets": subnets}),
        ("describe_security_groups", {"SecurityGroups": [{"GroupId": GROUP, "VpcId": group_vpc}]}),
    ]

    found = checked(
        {"vpcId": VPC, "subnetIds": SUBNETS, "applicationSecurityGroupIds": [GROUP]},
        {"ec2": answers, "service-quotas": FINE["service-quotas"][:1]},
    )

    assert {name for name, check in found.items() if check.status is not Status.OK} == failing


@pytest.mark.parametrize(
    ("certificate", "told"),
    [
        ({}, None),
        ({"Status": "PENDING_VALIDATION"}, "PENDING_VALIDATION"),
        ({"DomainName": "other.example"}, "not for static.roleferry.example"),
        ({"DomainName": "*.roleferry.example"}, None),
        ({"DomainName": "*.example"}, "not for static.roleferry.example; it is for *.example"),
        ({"DomainName": "a.example", "SubjectAlternativeNames": ["static.roleferry.example"]}, None),
        ({"NotAfter": datetime.now(UTC) + timedelta(days=29)}, "renew it"),
        ({"NotAfter": datetime.now(UTC) + timedelta(days=31)}, None),
    ],
)
def test_certificate_must_be_issued_for_the_names(certificate: dict[str, Any], told: str | None) -> None:
    fine = {
        "Status": "ISSUED",
        "DomainName": "static.roleferry.example",
        "NotAfter": datetime.now(UTC) + timedelta(days=300),
    }

    found = checked(
        {"domainNames": ["static.roleferry.example"], "certificateArn": CERTIFICATE},
        {"acm": [("describe_certificate", {"Certificate": fine | certificate})]},
    )["certificate"]

    assert found.status is (Status.FAILED if told else Status.OK)
    assert (told or "") in found.detail


def test_a_failed_check_ends_with_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(preflight, "checks", lambda _settings, _clients: [Check("zones", Status.FAILED, "one zone")])

    assert preflight.main(["--stack", "prod"]) == 3
    assert "one zone" in capsys.readouterr().out
    assert preflight.main(["--stack", "prod", "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == [{"name": "zones", "status": "FAILED", "detail": "one zone"}]


def test_what_is_unknown_is_shown_and_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Check("zones", Status.UNKNOWN, "[AccessDenied]"), Check("engine", Status.OK, "valkey")]
    monkeypatch.setattr(preflight, "checks", lambda _settings, _clients: found)

    assert preflight.main(["--stack", "prod"]) == 0

    shown = capsys.readouterr().out
    assert "Stack prod" in shown
    assert [line.split() for line in shown.splitlines() if "zones" in line] == [["zones", "UNKNOWN", "[AccessDenied]"]]


def test_clients_retry_by_themselves() -> None:
    client = common.aws("sts", "us-east-1")

    assert client.meta.config.retries == {"mode": "standard", "total_max_attempts": 5}
