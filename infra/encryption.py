"""KMS keys and the services that may use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import kms

if TYPE_CHECKING:
    from infra.naming import Names


@dataclass(frozen=True)
class KeyArgs:
    """One key. `part` ends its alias; `statements` let services use it beside the account's own administrators."""

    names: Names
    part: str
    purpose: str
    region: str
    account_id: pulumi.Input[str]
    protect: bool
    statements: tuple[dict[str, Any], ...] = ()


class Key(pulumi.ComponentResource):
    """A key that rotates yearly, with its alias. `arn` exists once the alias does too."""

    arn: pulumi.Output[str]

    def __init__(self, name: str, args: KeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("roleferry:security:Key", name, None, opts)
        administrators = {
            "Sid": "Administrators",
            "Effect": "Allow",
            "Principal": {"AWS": pulumi.Output.format("arn:aws:iam::{0}:root", args.account_id)},
            "Action": "kms:*",
            "Resource": "*",
        }
        key = kms.Key(
            name,
            description=f"{args.purpose} ({args.names.stack})",
            enable_key_rotation=True,
            # The longest that KMS offers, to undo a deletion.
            deletion_window_in_days=30,
            policy=pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": [administrators, *args.statements]}),
            region=args.region,
            tags=args.names.tags(args.part),
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        kms.Alias(
            name,
            name=f"alias/{args.names.of(args.part)}",
            target_key_id=key.key_id,
            region=args.region,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.arn = key.arn
        self.register_outputs({"arn": self.arn})


def used_by_logs(region: str, account_id: pulumi.Input[str]) -> dict[str, Any]:
    """Lets CloudWatch Logs use a key for the account's log groups."""
    return {
        "Sid": "LogGroups",
        "Effect": "Allow",
        "Principal": {"Service": f"logs.{region}.amazonaws.com"},
        "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
        "Resource": "*",
        "Condition": {
            "ArnLike": {
                "kms:EncryptionContext:aws:logs:arn": pulumi.Output.format("arn:aws:logs:{0}:{1}:*", region, account_id)
            }
        },
    }


def used_by_alarms(account_id: pulumi.Input[str]) -> dict[str, Any]:
    """Lets the account's alarms use a key to tell an encrypted topic."""
    return {
        "Sid": "Alarms",
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
    }
