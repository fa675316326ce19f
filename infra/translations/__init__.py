"""What Pulumi declares and what AWS's API is sent for it, by resource type. Pure.

Each translation takes the declared inputs, property by property: one that it does not know is an error, so that no
setting gets lost on the way. `replaces` are the properties whose change makes a new resource.

They are what the provider marks ForceNew or RequiresReplace (hashicorp/terraform-provider-aws, which pulumi-aws 7 is
generated from), read in 2026-11 below internal/service/ in
cloudfront/{cache_policy,monitoring_subscription,origin_access_control,response_headers_policy}.go,
cloudwatch/dashboard.go, ec2/{vpc_default_security_group,vpc_flow_log,vpc_security_group_ingress_rule}.go,
elasticache/{engine_version,parameter_group,replication_group,subnet_group,user,user_group}.go, events/rule.go,
iam/policy.go, kms/alias.go, lambda/permission.go, logs/{delivery,delivery_destination,delivery_source}.go,
s3/bucket_logging.go and sns/{topic_policy,topic_subscription}.go.
Of the other types they are what the API's own update call, named in `update`, does not take, the identity among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.translations import (
    cloudfront,
    cloudwatch,
    ec2,
    elasticache,
    events,
    iam,
    kms,
    lambda_,
    logs,
    s3,
    sns,
)

if TYPE_CHECKING:
    from infra.translations.base import Translation

TRANSLATIONS: Final[dict[str, Translation]] = {
    type_: translation
    for service in (cloudfront, cloudwatch, ec2, elasticache, events, iam, kms, lambda_, logs, s3, sns)
    for type_, translation in service.TRANSLATIONS.items()
}
