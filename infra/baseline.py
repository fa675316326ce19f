"""The scheduled function behind the drop alarms: code, role, schedule and log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pulumi
from pulumi_aws import cloudwatch, iam, lambda_

from infra import metric_math
from infra.statements import assumed_by, publish_metrics

if TYPE_CHECKING:
    from cache.catalog import Catalog
    from infra.settings import Settings

CODE: Final = Path(__file__).with_name("baseline_function.py")
# Five minutes past, when the counts of the last full hour have arrived.
SCHEDULE: Final = "cron(5 * * * ? *)"


@dataclass(frozen=True)
class BaselineArgs:
    settings: Settings
    catalog: Catalog
    log_key_arn: pulumi.Input[str]


def least_lookups(catalog: Catalog) -> dict[str, int]:
    """By cache type, how many lookups make a baseline: as many as the drop alarm wants in an hour."""
    return {
        cache_type.name: metric_math.guard_lookups(cache_type, catalog, points=metric_math.DROP_POINTS)
        for cache_type in catalog
    }


class Baseline(pulumi.ComponentResource):
    """Publishes the seven-day hit rate of each cache type every hour. May read metrics and publish in one namespace."""

    function_name: str

    def __init__(self, name: str, args: BaselineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("roleferry:monitoring:Baseline", name, None, opts)
        names, child = args.settings.names, pulumi.ResourceOptions(parent=self)
        self.function_name = names.of("baseline")
        log = cloudwatch.LogGroup(
            name,
            name=f"/aws/lambda/{self.function_name}",
            kms_key_id=args.log_key_arn,
            retention_in_days=args.settings.log_retention_days,
            tags=names.tags("baseline"),
            opts=child,
        )
        role = iam.Role(
            name,
            name=self.function_name,
            assume_role_policy=json.dumps(assumed_by("lambda.amazonaws.com")),
            tags=names.tags("baseline"),
            opts=child,
        )
        policy = iam.RolePolicy(
            name,
            name=self.function_name,
            role=role.name,
            policy=pulumi.Output.json_dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        # CloudWatch has no narrower resource for reading metrics.
                        {"Effect": "Allow", "Action": "cloudwatch:GetMetricData", "Resource": "*"},
                        publish_metrics(names.metric_namespace),
                        {
                            "Effect": "Allow",
                            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                            "Resource": pulumi.Output.format("{0}:*", log.arn),
                        },
                    ],
                }
            ),
            opts=child,
        )
        function = lambda_.Function(
            name,
            name=self.function_name,
            description=f"Hit rate of the last seven days by cache type, stack {names.stack}",
            runtime="python3.13",
            architectures=["arm64"],
            handler=f"{CODE.stem}.handler",
            code=pulumi.AssetArchive({CODE.name: pulumi.FileAsset(str(CODE))}),
            role=role.arn,
            timeout=60,
            memory_size=128,
            environment=lambda_.FunctionEnvironmentArgs(
                variables={
                    "NAMESPACE": names.metric_namespace,
                    "LEAST_LOOKUPS": json.dumps(least_lookups(args.catalog)),
                }
            ),
            tags=names.tags("baseline"),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy, log]),
        )
        rule = cloudwatch.EventRule(
            name,
            name=self.function_name,
            description="Every hour",
            schedule_expression=SCHEDULE,
            tags=names.tags("baseline"),
            opts=child,
        )
        permission = lambda_.Permission(
            name,
            action="lambda:InvokeFunction",
            function=function.name,
            principal="events.amazonaws.com",
            source_arn=rule.arn,
            opts=child,
        )
        cloudwatch.EventTarget(
            name,
            rule=rule.name,
            target_id="baseline",
            arn=function.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[permission]),
        )
        self.register_outputs({"function_name": self.function_name})
