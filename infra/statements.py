"""Pieces of IAM policies that several components use. Pure."""

from __future__ import annotations


def assumed_by(service: str) -> dict[str, object]:
    """The trust policy of a role that one AWS service takes."""
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    }


def publish_metrics(namespace: str) -> dict[str, object]:
    """The statement that lets one publish metrics in `namespace` and no other."""
    return {
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": namespace}},
    }
