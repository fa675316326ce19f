"""What `make audit` makes of the stacks and of what the tools say. The tools themselves run in `make audit` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.audit import __main__ as audit
from tests.audit import tools
from tests.audit.findings import Finding, Waiver, judge
from tests.audit.plan import terraform_plan
from tests.infra import stack

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = Finding("checkov", "CKV_1", "prod: aws_vpc.network", has_failed=False, text="")
BAD = Finding("prowler", "vpc_2", "arn:aws:ec2:::vpc", has_failed=True, text="It is open.")
WAIVER = Waiver("prowler", r"vpc_\d", "it has to be open")
EXPECTED = ("checkov:CKV_1", "prowler:vpc_2")


@pytest.fixture(scope="module")
def plan() -> dict[str, Any]:
    return terraform_plan(stack.declare("prod"))


def planned(plan: dict[str, Any], address: str) -> Any:
    resources = plan["planned_values"]["root_module"]["resources"]
    (values,) = [resource["values"] for resource in resources if resource["address"] == address]
    return values


def test_plan_has_the_provider_s_names(plan: dict[str, Any]) -> None:
    group = planned(plan, "aws_elasticache_replication_group.cache")
    distribution = planned(plan, "aws_cloudfront_distribution.static")

    assert group["at_rest_encryption_enabled"] is True
    assert [log["log_type"] for log in group["log_delivery_configuration"]] == ["slow-log", "engine-log"]
    assert distribution["default_cache_behavior"][0]["viewer_protocol_policy"] == "redirect-to-https"
    assert distribution["ordered_cache_behavior"][0]["allowed_methods"] == ["GET", "HEAD", "OPTIONS"]
    assert distribution["tags"]["Environment"] == "prod"
    headers = planned(plan, "aws_cloudfront_response_headers_policy.static_pages")
    assert headers["custom_headers_config"][0]["items"][0]["header"] == "Cache-Control"
    assert planned(plan, "aws_vpc.network")["enable_dns_support"] is True
    assert planned(plan, "aws_cloudwatch_metric_alarm.roleferry_prod_match_floor")["alarm_name"]


def test_plan_says_what_refers_to_what(plan: dict[str, Any]) -> None:
    configured = {resource["address"]: resource for resource in plan["configuration"]["root_module"]["resources"]}

    block = configured["aws_s3_bucket_public_access_block.static_files"]
    assert "aws_s3_bucket.static_files" in block["expressions"]["bucket"]["references"]


@pytest.mark.parametrize(
    ("findings", "waivers", "expected", "told"),
    [
        ([GOOD, BAD], [], EXPECTED, lambda verdict: verdict.failed == (BAD,)),
        ([GOOD, BAD], [WAIVER, Waiver("checkov", "CKV_9", "")], EXPECTED, lambda verdict: len(verdict.unused) == 1),
        ([GOOD, BAD], [Waiver("prowler", "vpc_2", "", "^other")], EXPECTED, lambda verdict: verdict.failed == (BAD,)),
        ([BAD], [WAIVER], EXPECTED, lambda verdict: verdict.silent == ("checkov:CKV_1",)),
        ([GOOD, BAD], [WAIVER], EXPECTED[1:], lambda verdict: verdict.new == ("checkov:CKV_1",)),
    ],
    ids=["no waiver", "unused waiver", "waiver of another resource", "a check is silent", "a check is new"],
)
def test_what_makes_the_audit_fail(
    findings: list[Finding], waivers: list[Waiver], expected: tuple[str, ...], told: Callable[[Any], bool]
) -> None:
    verdict = judge(findings, waivers, expected)

    assert not verdict.is_good
    assert told(verdict)


def test_all_waived_and_all_reported_is_good() -> None:
    assert judge([GOOD, BAD], [WAIVER], EXPECTED).is_good


def test_exit_code_follows_the_verdict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(audit, "EXPECTED", EXPECTED)
    monkeypatch.setattr(audit, "WAIVERS", [WAIVER])
    monkeypatch.setattr("tests.infra.stack.declare", lambda *_: None)
    monkeypatch.setattr(audit, "checkov", lambda *_: [GOOD])
    for finding, code in ((BAD, 0), (Finding("prowler", "other", "arn", has_failed=True, text=""), 1)):
        monkeypatch.setattr(audit, "prowler", lambda *_, finding=finding: [finding])

        assert audit.main([]) == code

    assert "it has to be open" in capsys.readouterr().out


def test_a_tool_that_does_not_run_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.infra.stack.declare", lambda *_: None)
    monkeypatch.setattr(audit, "checkov", lambda *_: tools.checkov("/nonexistent/uv", {}))

    assert audit.main([]) == 1
    assert "/nonexistent/uv" in capsys.readouterr().err
