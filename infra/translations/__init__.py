"""What Pulumi declares and what AWS's API is sent for it, by resource type. Pure.

Each translation takes the declared inputs, property by property: one that it does not know is an error, so that no
setting gets lost on the way. `replaces` are the properties whose change makes a new resource.

They are what the provider marks ForceNew or RequiresReplace (hashicorp/terraform-provider-aws, which pulumi-aws 7 is
generated from), read in 2026-11 below internal/service/ in
cloudfront/{cache_policy,distribution,monitoring_subscription,origin_access_control,response_headers_policy}.go,
cloudwatch/{composite_alarm,dashboard,metric_alarm}.go,
ec2/{vpc_,vpc_default_security_group,vpc_flow_log,vpc_security_group,vpc_security_group_ingress_rule,vpc_subnet}.go,
elasticache/{engine_version,parameter_group,replication_group,subnet_group,user,user_group}.go, events/{rule,target}.go,
iam/{policy,role,role_policy}.go, kms/{alias,key}.go, lambda/{function,permission}.go,
logs/{delivery,delivery_destination,delivery_source,group}.go, s3/bucket.go and those of a bucket's settings beside it,
and sns/{topic,topic_policy,topic_subscription}.go.
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
