"""IAM policies to attach: to the application's role, and to that of operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
from pulumi_aws import iam

from infra.statements import publish_metrics

if TYPE_CHECKING:
    from infra.settings import Settings
    from infra.valkey import Valkey


@dataclass(frozen=True)
class PoliciesArgs:
    settings: Settings
    cache: Valkey


class Policies(pulumi.ComponentResource):
    """`app_policy_arn` lets the application sign in to the cache as its user and publish its counts;
    `operator_policy_arn` lets people sign in as the other users."""

    app_policy_arn: pulumi.Output[str]
    operator_policy_arn: pulumi.Output[str]

    def __init__(self, name: str, args: PoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("roleferry:security:Policies", name, None, opts)
        names, cache = args.settings.names, args.cache
        child = pulumi.ResourceOptions(parent=self)

        def policy(part: str, description: str, *statements: object) -> pulumi.Output[str]:
            return iam.Policy(
                f"{name}-{part}",
                name=names.of(part),
                description=description,
                policy=pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": statements}),
                tags=names.tags(part),
                opts=child,
            ).arn

        def connect(*users: str) -> dict[str, object]:
            return {
                "Effect": "Allow",
                "Action": "elasticache:Connect",
                "Resource": [cache.replication_group_arn, *(cache.user_arns[user] for user in users)],
            }

        others = [user for user in cache.user_arns if user != cache.app_user_name]
        self.app_policy_arn = policy(
            "app",
            "RoleFerry's application on its cache",
            connect(cache.app_user_name),
            publish_metrics(names.metric_namespace),
        )
        self.operator_policy_arn = policy("operator", "Operators on RoleFerry's cache", connect(*others))
        self.register_outputs({"app_policy_arn": self.app_policy_arn, "operator_policy_arn": self.operator_policy_arn})
