"""What Pulumi declares and what AWS's API is sent for it, by resource type. Pure.

Each translation takes the declared inputs, property by property: one that it does not know is an error, so that no
setting gets lost on the way. `replaces` are the properties whose change makes a new resource.

Those of the cache, its users and the delivery of logs are what the provider marks ForceNew or RequiresReplace
(hashicorp/terraform-provider-aws, which pulumi-aws 7 is generated from): internal/service/elasticache/
replication_group.go at 001b636, engine_version.go, user.go and user_group.go; internal/service/logs/delivery.go,
delivery_source.go and delivery_destination.go. Those of the others are what the API's own update call, named in
`update`, does not take, the identity among them.
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
