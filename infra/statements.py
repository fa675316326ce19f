"""Pieces of IAM policies that several components use. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pulumi


def assumed_by(service: str, *, account_id: pulumi.Input[str] | None = None) -> dict[str, object]:
    """The trust policy of a role that one AWS service takes; with `account_id` only for resources of this account.

    Not every service says for whose resource it acts; where one does, nobody else's can use the role through it.
    """
    statement: dict[str, object] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if account_id is not None:
        statement["Condition"] = {"StringEquals": {"aws:SourceAccount": account_id}}
    return {"Version": "2012-10-17", "Statement": [statement]}


def publish_metrics(namespace: str) -> dict[str, object]:
    """The statement that lets one publish metrics in `namespace` and no other."""
    return {
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": namespace}},
    }
