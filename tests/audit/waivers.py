"""Which failures are accepted, and why. `make audit` fails for one that is not here, and for one that is not needed."""

from __future__ import annotations

from typing import Final

from tests.audit.findings import Waiver

_ACCOUNT: Final = "watches the account, not this stack: the account's owner sets it once"
_STATIC: Final = "public files of a release, made again by the next one"
_OWN_DOMAIN: Final = "of stacks without a domain of their own: CloudFront's certificate brings its TLS versions"
_QUIET: Final = "stacks that prove something tell nobody (alarmActions false)"
_FUNCTION: Final = "the hourly baseline function"

WAIVERS: Final = (
    Waiver(
        "checkov",
        "CKV_AWS_86",
        "access logs are delivered by CloudWatch's log service: the older kind needs a bucket with ACLs",
    ),
    Waiver("checkov", "CKV_AWS_174", _OWN_DOMAIN, "^(prod|scale-)"),
    Waiver("checkov", "CKV2_AWS_42", _OWN_DOMAIN, "^(prod|scale-)"),
    Waiver(
        "checkov",
        "CKV_AWS_259",
        "bound to HTTPS for a year, without hosts that are not this stack's: hstsScope adds them",
        "^(prod|scale-)",
    ),
    Waiver("checkov", "CKV_AWS_68", "set webAclArn: a WAF costs more than the cache, for files that are public"),
    Waiver("checkov", "CKV2_AWS_47", "the web ACL is the account's own: its rules are not in this stack"),
    Waiver("checkov", "CKV_AWS_319", _QUIET, "^scale-"),
    Waiver("checkov", "CKV_AWS_374", "users are everywhere"),
    Waiver("checkov", "CKV_AWS_310", f"one bucket: {_STATIC}"),
    Waiver("checkov", "CKV_AWS_144", f"no second region: {_STATIC}"),
    Waiver("checkov", "CKV_AWS_145", f"encrypted with S3's key: {_STATIC}"),
    Waiver("checkov", "CKV2_AWS_62", "nothing in this stack acts on a new object"),
    Waiver("checkov", "CKV_AWS_116", f"{_FUNCTION} is run again in an hour, and alarms when it fails"),
    Waiver("checkov", "CKV_AWS_117", f"{_FUNCTION} talks to CloudWatch alone; a VPC would need an endpoint for that"),
    Waiver("checkov", "CKV_AWS_115", f"{_FUNCTION} has one caller; reserving takes from an account's 10 at first"),
    Waiver("checkov", "CKV_AWS_272", f"{_FUNCTION} is uploaded by Pulumi from this repository"),
    Waiver("checkov", "CKV_AWS_173", f"{_FUNCTION}'s environment names a namespace: no secret"),
    Waiver("checkov", "CKV_AWS_50", f"{_FUNCTION} makes two requests: its log tells what a trace would"),
    Waiver("prowler", "cloudfront_distributions_custom_ssl_certificate", _OWN_DOMAIN),
    Waiver("prowler", "cloudfront_distributions_pqc_tls_enabled", _OWN_DOMAIN),
    Waiver("prowler", "cloudfront_distributions_field_level_encryption_enabled", "only GET: no fields are sent"),
    Waiver("prowler", "cloudfront_distributions_geo_restrictions_enabled", "users are everywhere"),
    Waiver("prowler", "cloudfront_distributions_using_waf", "set webAclArn, as for Checkov's CKV_AWS_68"),
    Waiver(
        "prowler",
        "cloudwatch_alarm_actions_alarm_state_configured",
        "floor and drop page by the composite of their cache type, once",
        "-(floor|drop)$",
    ),
    Waiver("prowler", "cloudwatch_alarm_actions_enabled", _QUIET, ":roleferry-scale-"),
    Waiver("prowler", r"cloudwatch_changes_to_\w+", _ACCOUNT),
    Waiver("prowler", r"cloudwatch_log_metric_filter_\w+", _ACCOUNT),
    Waiver(
        "prowler",
        "elasticache_redis_replication_group_auth_enabled",
        "for engines before 6 (moto returns no version); users sign in by IAM, which Checkov's CKV_AWS_31 sees",
    ),
    Waiver("prowler", "s3_bucket_cross_region_replication", f"no second region: {_STATIC}"),
    Waiver("prowler", "s3_bucket_event_notifications_enabled", "nothing in this stack acts on a new object"),
    Waiver("prowler", "s3_bucket_kms_encryption", f"encrypted with S3's key: {_STATIC}"),
    Waiver("prowler", "s3_bucket_no_mfa_delete", "only the account's root user can set it"),
    Waiver("prowler", "s3_bucket_object_lock", f"old versions are kept for 30 days: {_STATIC}"),
    Waiver("prowler", "s3_bucket_server_access_logging_enabled", "the bucket of the logs themselves", "-static-logs-"),
    Waiver("prowler", "vpc_different_regions", "one region: the cache is made again from the database"),
)
