"""The browser's static files: a private bucket behind CloudFront, one week in the browser and at the edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pulumi
from pulumi_aws import cloudfront, cloudwatch, s3

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.settings import Settings

# The caching strategy's week, for files whose name changes with their content.
ASSET_TTL_S: Final = 7 * 24 * 60 * 60
ASSET_PATH: Final = "/assets/*"
# Pages keep their names, so that a release shows within a minute.
PAGE_TTL_S: Final = 60
# What each object is stored with; on pages CloudFront says it as well.
ASSET_CACHE_CONTROL: Final = f"public, max-age={ASSET_TTL_S}, immutable"
PAGE_CACHE_CONTROL: Final = f"public, max-age={PAGE_TTL_S}"
HSTS_S: Final = 365 * 24 * 60 * 60
# CloudFront, its metrics and its log delivery are in this region only.
GLOBAL_REGION: Final = "us-east-1"
OLD_VERSION_DAYS: Final = 30
_ORIGIN: Final = "bucket"


@dataclass(frozen=True)
class StaticSiteArgs:
    settings: Settings
    account_id: pulumi.Input[str]


class StaticSite(pulumi.ComponentResource):
    """`url`, `bucket_name` and `distribution_id`. Files below `assets/` must have names with a fingerprint.

    `domain` is CloudFront's own name for it, which records of the stack's own names have to lead to.
    """

    url: pulumi.Output[str]
    domain: pulumi.Output[str]
    bucket_name: pulumi.Output[str]
    distribution_id: pulumi.Output[str]

    def __init__(self, name: str, args: StaticSiteArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("roleferry:cdn:StaticSite", name, None, opts)
        settings = args.settings
        logs = _Bucket(f"{name}-logs", args, "static-logs", expire_days=settings.log_retention_days, parent=self)
        site = _Bucket(f"{name}-files", args, "static", expire_days=None, parent=self)
        child = pulumi.ResourceOptions(parent=self)
        distribution = self._distribution(name, settings, site, child)
        site.allow(
            {
                "Sid": "CloudFront",
                "Effect": "Allow",
                "Principal": {"Service": "cloudfront.amazonaws.com"},
                # Who may list is told of a missing file (404), and else refused as if the bucket were closed (403):
                # https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html. No request here makes a list.
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": [pulumi.Output.format("{0}/*", site.arn), site.arn],
                "Condition": {"StringEquals": {"AWS:SourceArn": distribution.arn}},
            }
        )
        logs.allow(
            {
                "Sid": "S3AccessLogs",
                "Effect": "Allow",
                "Principal": {"Service": "logging.s3.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": pulumi.Output.format("{0}/s3/*", logs.arn),
                "Condition": {"StringEquals": {"aws:SourceAccount": args.account_id}},
            },
            # Word for word as AWS has it, which adds this statement where it is missing: every refresh would differ.
            # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/AWS-logs-infrastructure-V2-S3.html
            {
                "Sid": "AWSLogDeliveryWrite",
                "Effect": "Allow",
                "Principal": {"Service": "delivery.logs.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": pulumi.Output.format("{0}/AWSLogs/{1}/*", logs.arn, args.account_id),
                "Condition": {
                    "StringEquals": {
                        "s3:x-amz-acl": "bucket-owner-full-control",
                        "aws:SourceAccount": args.account_id,
                    },
                    "ArnLike": {
                        "aws:SourceArn": pulumi.Output.format(
                            "arn:aws:logs:{0}:{1}:delivery-source:*", GLOBAL_REGION, args.account_id
                        )
                    },
                },
            },
        )
        s3.BucketLogging(
            f"{name}-access",
            bucket=site.id,
            target_bucket=logs.id,
            target_prefix="s3/",
            # S3 refuses a target that it may not write to.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[logs.policy]),
        )
        self._deliver_logs(name, settings, distribution, logs, child)
        self.domain = distribution.domain_name
        self.url = pulumi.Output.format(
            "https://{0}", settings.domain_names[0] if settings.domain_names else self.domain
        )
        self.bucket_name, self.distribution_id = site.id, distribution.id
        self.register_outputs(
            {
                "url": self.url,
                "domain": self.domain,
                "bucket_name": self.bucket_name,
                "distribution_id": self.distribution_id,
            }
        )

    def _distribution(
        self, name: str, settings: Settings, site: _Bucket, child: pulumi.ResourceOptions
    ) -> cloudfront.Distribution:
        names = settings.names
        control = cloudfront.OriginAccessControl(
            name,
            name=names.of("static"),
            description=f"Static files of {names.stack}",
            origin_access_control_origin_type="s3",
            signing_behavior="always",
            signing_protocol="sigv4",
            opts=child,
        )
        common: dict[str, Any] = {
            "target_origin_id": _ORIGIN,
            "viewer_protocol_policy": "redirect-to-https",
            "allowed_methods": ["GET", "HEAD", "OPTIONS"],
            "cached_methods": ["GET", "HEAD"],
            "compress": True,
        }
        distribution = cloudfront.Distribution(
            name,
            enabled=True,
            comment=f"Static files of {names.stack}",
            http_version="http2and3",
            is_ipv6_enabled=True,
            default_root_object="index.html",
            aliases=list(settings.domain_names),
            web_acl_id=settings.web_acl_arn,
            # No s3_origin_config beside the access control: AWS does not give it back, and every refresh would differ.
            origins=[
                cloudfront.DistributionOriginArgs(
                    origin_id=_ORIGIN, domain_name=site.domain_name, origin_access_control_id=control.id
                )
            ],
            default_cache_behavior=cloudfront.DistributionDefaultCacheBehaviorArgs(
                cache_policy_id=_cache_policy(f"{name}-pages", names.of("pages"), PAGE_TTL_S, child).id,
                response_headers_policy_id=_headers_policy(
                    f"{name}-pages", names.of("pages"), settings, child, cache_control=PAGE_CACHE_CONTROL
                ).id,
                **common,
            ),
            ordered_cache_behaviors=[
                cloudfront.DistributionOrderedCacheBehaviorArgs(
                    path_pattern=ASSET_PATH,
                    cache_policy_id=_cache_policy(f"{name}-assets", names.of("assets"), ASSET_TTL_S, child).id,
                    # No Cache-Control of its own: a missing file would be missing in the browser for a week.
                    response_headers_policy_id=_headers_policy(
                        f"{name}-assets", names.of("assets"), settings, child, cors=_cors(settings.asset_origins)
                    ).id,
                    **common,
                )
            ],
            restrictions=cloudfront.DistributionRestrictionsArgs(
                geo_restriction=cloudfront.DistributionRestrictionsGeoRestrictionArgs(restriction_type="none")
            ),
            viewer_certificate=_certificate(settings),
            tags=names.tags("static"),
            opts=child,
        )
        cloudfront.MonitoringSubscription(
            name,
            distribution_id=distribution.id,
            # Without it CloudFront publishes neither CacheHitRate nor 403ErrorRate.
            monitoring_subscription=cloudfront.MonitoringSubscriptionMonitoringSubscriptionArgs(
                realtime_metrics_subscription_config=(
                    cloudfront.MonitoringSubscriptionMonitoringSubscriptionRealtimeMetricsSubscriptionConfigArgs(
                        realtime_metrics_subscription_status="Enabled"
                    )
                )
            ),
            opts=child,
        )
        return distribution

    def _deliver_logs(
        self,
        name: str,
        settings: Settings,
        distribution: cloudfront.Distribution,
        logs: _Bucket,
        child: pulumi.ResourceOptions,
    ) -> None:
        """Delivery by CloudWatch's log service: the older kind needs a bucket with access control lists."""
        names = settings.names
        source = cloudwatch.LogDeliverySource(
            name,
            name=names.of("static"),
            log_type="ACCESS_LOGS",
            resource_arn=distribution.arn,
            region=GLOBAL_REGION,
            tags=names.tags("static"),
            opts=child,
        )
        destination = cloudwatch.LogDeliveryDestination(
            name,
            name=names.of("static"),
            output_format="json",
            delivery_destination_configuration=cloudwatch.LogDeliveryDestinationDeliveryDestinationConfigurationArgs(
                destination_resource_arn=logs.arn
            ),
            region=GLOBAL_REGION,
            tags=names.tags("static"),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[logs.policy]),
        )
        cloudwatch.LogDelivery(
            name,
            delivery_source_name=source.name,
            delivery_destination_arn=destination.arn,
            region=GLOBAL_REGION,
            tags=names.tags("static"),
            opts=child,
        )


class _Bucket:
    """A private, versioned, encrypted bucket. Its policy is made by `allow`, once what it names exists."""

    policy: s3.BucketPolicy

    def __init__(
        self, name: str, args: StaticSiteArgs, part: str, *, expire_days: int | None, parent: pulumi.Resource
    ) -> None:
        names = args.settings.names
        self._name, self._child = name, pulumi.ResourceOptions(parent=parent)
        bucket = s3.Bucket(
            name,
            # Bucket names are shared by all of AWS; the account's number makes ours free.
            bucket=pulumi.Output.format("{0}-{1}", names.of(part), args.account_id),
            force_destroy=not args.settings.protect_data,
            tags=names.tags(part),
            opts=pulumi.ResourceOptions(parent=parent, protect=args.settings.protect_data),
        )
        self.id, self.arn, self.domain_name = bucket.id, bucket.arn, bucket.bucket_regional_domain_name
        s3.BucketVersioning(
            name,
            bucket=bucket.id,
            versioning_configuration=s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=self._child,
        )
        s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=bucket.id,
            rules=[
                s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    # S3's own keys: the files are public by design, and access logs can be written with no other.
                    apply_server_side_encryption_by_default=(
                        s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                            sse_algorithm="AES256"
                        )
                    )
                )
            ],
            opts=self._child,
        )
        self._block = s3.BucketPublicAccessBlock(
            name,
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self._child,
        )
        s3.BucketOwnershipControls(
            name,
            bucket=bucket.id,
            rule=s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=self._child,
        )
        s3.BucketLifecycleConfiguration(
            name,
            bucket=bucket.id,
            rules=[
                s3.BucketLifecycleConfigurationRuleArgs(
                    id="tidy",
                    status="Enabled",
                    filter=s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    abort_incomplete_multipart_upload=(
                        s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(days_after_initiation=7)
                    ),
                    noncurrent_version_expiration=(
                        s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                            noncurrent_days=OLD_VERSION_DAYS
                        )
                    ),
                    expiration=(
                        s3.BucketLifecycleConfigurationRuleExpirationArgs(days=expire_days) if expire_days else None
                    ),
                )
            ],
            opts=self._child,
        )

    def allow(self, *statements: dict[str, Any]) -> None:
        self.policy = s3.BucketPolicy(
            self._name,
            bucket=self.id,
            policy=pulumi.Output.json_dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        *statements,
                        {
                            "Sid": "TlsOnly",
                            "Effect": "Deny",
                            "Principal": {"AWS": "*"},
                            "Action": "s3:*",
                            "Resource": [self.arn, pulumi.Output.format("{0}/*", self.arn)],
                            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                        },
                    ],
                }
            ),
            # S3 refuses two changes of a bucket's access at a time.
            opts=pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=[self._block])),
        )


def _cache_policy(resource: str, name: str, ttl_s: int, opts: pulumi.ResourceOptions) -> cloudfront.CachePolicy:
    return cloudfront.CachePolicy(
        resource,
        name=name,
        comment=f"{ttl_s} s at the edge",
        # 0, so that `no-store` on an object is still obeyed.
        min_ttl=0,
        default_ttl=ttl_s,
        max_ttl=ttl_s,
        parameters_in_cache_key_and_forwarded_to_origin=cloudfront.CachePolicyParametersInCacheKeyAndForwardedToOriginArgs(
            cookies_config=cloudfront.CachePolicyParametersInCacheKeyAndForwardedToOriginCookiesConfigArgs(
                cookie_behavior="none"
            ),
            headers_config=cloudfront.CachePolicyParametersInCacheKeyAndForwardedToOriginHeadersConfigArgs(
                header_behavior="none"
            ),
            query_strings_config=cloudfront.CachePolicyParametersInCacheKeyAndForwardedToOriginQueryStringsConfigArgs(
                query_string_behavior="none"
            ),
            enable_accept_encoding_brotli=True,
            enable_accept_encoding_gzip=True,
        ),
        opts=opts,
    )


def _cors(origins: Sequence[str]) -> cloudfront.ResponseHeadersPolicyCorsConfigArgs | None:
    """Lets pages of `origins` read what they load, as browsers ask of fonts and modules. No credentials, no changes."""
    if not origins:
        return None
    return cloudfront.ResponseHeadersPolicyCorsConfigArgs(
        access_control_allow_credentials=False,
        access_control_allow_headers=cloudfront.ResponseHeadersPolicyCorsConfigAccessControlAllowHeadersArgs(
            items=["*"]
        ),
        access_control_allow_methods=cloudfront.ResponseHeadersPolicyCorsConfigAccessControlAllowMethodsArgs(
            items=["GET", "HEAD"]
        ),
        access_control_allow_origins=cloudfront.ResponseHeadersPolicyCorsConfigAccessControlAllowOriginsArgs(
            items=list(origins)
        ),
        origin_override=True,
    )


def _headers_policy(
    resource: str,
    name: str,
    settings: Settings,
    opts: pulumi.ResourceOptions,
    *,
    cache_control: str | None = None,
    cors: cloudfront.ResponseHeadersPolicyCorsConfigArgs | None = None,
) -> cloudfront.ResponseHeadersPolicy:
    """Security headers; and `cache_control` for the browser on every answer, errors too, whatever the object says."""
    return cloudfront.ResponseHeadersPolicy(
        resource,
        name=name,
        custom_headers_config=cloudfront.ResponseHeadersPolicyCustomHeadersConfigArgs(
            items=[
                cloudfront.ResponseHeadersPolicyCustomHeadersConfigItemArgs(
                    header="Cache-Control", value=cache_control, override=True
                )
            ]
        )
        if cache_control
        else None,
        cors_config=cors,
        security_headers_config=cloudfront.ResponseHeadersPolicySecurityHeadersConfigArgs(
            content_type_options=cloudfront.ResponseHeadersPolicySecurityHeadersConfigContentTypeOptionsArgs(
                override=True
            ),
            frame_options=cloudfront.ResponseHeadersPolicySecurityHeadersConfigFrameOptionsArgs(
                frame_option="DENY", override=True
            ),
            referrer_policy=cloudfront.ResponseHeadersPolicySecurityHeadersConfigReferrerPolicyArgs(
                referrer_policy="strict-origin-when-cross-origin", override=True
            ),
            strict_transport_security=cloudfront.ResponseHeadersPolicySecurityHeadersConfigStrictTransportSecurityArgs(
                access_control_max_age_sec=HSTS_S,
                include_subdomains=settings.hsts_scope != "host",
                preload=settings.hsts_scope == "preload",
                override=True,
            ),
        ),
        opts=opts,
    )


def _certificate(settings: Settings) -> cloudfront.DistributionViewerCertificateArgs:
    """CloudFront's own certificate comes with CloudFront's own choice of TLS versions; only a domain sets it."""
    if settings.certificate_arn is None:
        return cloudfront.DistributionViewerCertificateArgs(cloudfront_default_certificate=True)
    return cloudfront.DistributionViewerCertificateArgs(
        acm_certificate_arn=settings.certificate_arn,
        minimum_protocol_version="TLSv1.2_2021",
        ssl_support_method="sni-only",
    )
