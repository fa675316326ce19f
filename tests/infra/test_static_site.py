"""The static files: private in the bucket, a week at the edge and in the browser, and hardened on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.static_site import ASSET_CACHE_CONTROL
from tests.infra import stack
from tests.infra.stack import statements

if TYPE_CHECKING:
    from tests.infra.stack import Declared


def test_buckets_are_private(declared: Declared) -> None:
    for type_ in ("BucketVersioning", "BucketServerSideEncryptionConfiguration", "BucketLifecycleConfiguration"):
        assert len(declared.of(type_)) == len(declared.of("Bucket")) == 2
    for block in declared.of("BucketPublicAccessBlock"):
        flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        assert all(block.inputs[flag] for flag in flags)
    for policy in declared.of("BucketPolicy"):
        denied = [s for s in statements(policy) if s["Effect"] == "Deny"]
        assert denied[0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        # Two changes of a bucket's access at a time are refused.
        assert any("bucketPublicAccessBlock" in dependency for dependency in policy.dependencies)
        for statement in statements(policy):
            if statement["Effect"] == "Allow":
                assert "Service" in statement["Principal"], policy.urn
                assert "Condition" in statement, policy.urn
    logging = declared.one("BucketLogging")
    assert any(dependency.endswith("BucketPolicy::static-logs") for dependency in logging.dependencies)
    assert logging.inputs["targetBucket"] == declared.outputs["static_bucket"].replace("static", "static-logs")


def test_cloudfront_keeps_assets_for_a_week(declared: Declared) -> None:
    week = 604_800
    distribution = declared.one("Distribution").inputs

    (assets,) = distribution["orderedCacheBehaviors"]
    assert assets["pathPattern"] == "/assets/*"
    policy = declared.one("CachePolicy", "static-assets").inputs
    assert (policy["minTtl"], policy["defaultTtl"], policy["maxTtl"]) == (0, week, week)
    # Each file is stored with its Cache-Control; said here, an error would be kept for a week too.
    assert f"public, max-age={week}, immutable" == ASSET_CACHE_CONTROL
    assert "customHeadersConfig" not in declared.one("ResponseHeadersPolicy", "static-assets").inputs
    pages = declared.one("ResponseHeadersPolicy", "static-pages").inputs["customHeadersConfig"]["items"]
    assert pages[0]["value"] == "public, max-age=60"


def test_cloudfront_is_hardened(declared: Declared) -> None:
    distribution = declared.one("Distribution").inputs

    assert distribution["httpVersion"] == "http2and3"
    for behaviour in (distribution["defaultCacheBehavior"], *distribution["orderedCacheBehaviors"]):
        assert behaviour["viewerProtocolPolicy"] == "redirect-to-https"
        assert behaviour["compress"] is True
    (origin,) = distribution["origins"]
    assert "s3OriginConfig" not in origin
    assert origin["originAccessControlId"]
    for policy in declared.of("ResponseHeadersPolicy"):
        assert policy.inputs["securityHeadersConfig"]["strictTransportSecurity"]["accessControlMaxAgeSec"] >= 31_536_000
    assert declared.one("MonitoringSubscription")
    assert declared.one("LogDelivery").inputs["region"] == "us-east-1"


def test_own_domain_brings_its_certificate_and_tls() -> None:
    arn = f"arn:aws:acm:us-east-1:{stack.ACCOUNT}:certificate/1"
    web_acl = f"arn:aws:wafv2:us-east-1:{stack.ACCOUNT}:global/webacl/a/b"
    changes = {"domainNames": ["static.roleferry.com"], "certificateArn": arn, "webAclArn": web_acl}
    declared = stack.declare("prod", changes)

    distribution = declared.one("Distribution").inputs
    assert distribution["viewerCertificate"] == {
        "acmCertificateArn": arn,
        "minimumProtocolVersion": "TLSv1.2_2021",
        "sslSupportMethod": "sni-only",
    }
    assert distribution["aliases"] == ["static.roleferry.com"]
    assert distribution["webAclId"] == web_acl
    assert declared.outputs["static_site_url"] == "https://static.roleferry.com"
    assert declared.outputs["static_site_domain"] == "d111111abcdef8.cloudfront.net", "what the name has to lead to"


def test_buckets_have_no_access_lists_and_are_encrypted(declared: Declared) -> None:
    for controls in declared.of("BucketOwnershipControls"):
        assert controls.inputs["rule"] == {"objectOwnership": "BucketOwnerEnforced"}, controls.urn
    for encryption in declared.of("BucketServerSideEncryptionConfiguration"):
        (rule,) = encryption.inputs["rules"]
        assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "AES256"}, encryption.urn
    for versioning in declared.of("BucketVersioning"):
        assert versioning.inputs["versioningConfiguration"] == {"status": "Enabled"}, versioning.urn


def test_old_files_and_logs_go(declared: Declared) -> None:
    lifecycles = {bucket.name: bucket.inputs["rules"][0] for bucket in declared.of("BucketLifecycleConfiguration")}

    for rule in lifecycles.values():
        assert rule["status"] == "Enabled"
        assert rule["noncurrentVersionExpiration"] == {"noncurrentDays": 30}
        assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}
    assert lifecycles["static-logs"]["expiration"] == {"days": 365}
    assert "expiration" not in lifecycles["static-files"]


def test_only_this_distribution_reads_the_bucket(declared: Declared) -> None:
    (policy,) = [policy for policy in declared.of("BucketPolicy") if policy.name == "static-files"]

    (allowed,) = [statement for statement in statements(policy) if statement["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    # Without the second a missing file would look like a closed bucket.
    assert allowed["Action"] == ["s3:GetObject", "s3:ListBucket"]
    bucket = f"arn:aws:s3:::{declared.outputs['static_bucket']}"
    assert allowed["Resource"] == [f"{bucket}/*", bucket]
    assert allowed["Condition"] == {"StringEquals": {"AWS:SourceArn": "arn:aws:distribution:::static"}}
    # Without a root object `/` would be the list of the bucket.
    assert declared.one("aws:cloudfront/distribution:Distribution").inputs["defaultRootObject"] == "index.html"
    control = declared.one("OriginAccessControl").inputs
    assert (control["signingBehavior"], control["signingProtocol"]) == ("always", "sigv4")


def test_logs_are_delivered_by_the_statement_that_aws_would_add(declared: Declared) -> None:
    (policy,) = [policy for policy in declared.of("BucketPolicy") if policy.name == "static-logs"]

    (delivery,) = [found for found in statements(policy) if found["Sid"] == "AWSLogDeliveryWrite"]
    assert delivery["Principal"] == {"Service": "delivery.logs.amazonaws.com"}
    assert delivery["Action"] == "s3:PutObject"
    assert delivery["Resource"].endswith(f"/AWSLogs/{stack.ACCOUNT}/*")
    assert delivery["Condition"] == {
        "StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control", "aws:SourceAccount": stack.ACCOUNT},
        "ArnLike": {"aws:SourceArn": f"arn:aws:logs:us-east-1:{stack.ACCOUNT}:delivery-source:*"},
    }


def test_answers_carry_security_headers(declared: Declared) -> None:
    for policy in declared.of("ResponseHeadersPolicy"):
        headers = policy.inputs["securityHeadersConfig"]
        assert headers["contentTypeOptions"] == {"override": True}
        assert headers["frameOptions"] == {"frameOption": "DENY", "override": True}
        assert headers["referrerPolicy"] == {"referrerPolicy": "strict-origin-when-cross-origin", "override": True}


@pytest.mark.parametrize(
    ("scope", "subdomains", "preload"), [("host", False, False), ("subdomains", True, False), ("preload", True, True)]
)
def test_only_a_setting_binds_other_hosts_to_https(scope: str, subdomains: bool, preload: bool) -> None:
    changes = {
        "domainNames": ["static.roleferry.com"],
        "certificateArn": f"arn:aws:acm:us-east-1:{stack.ACCOUNT}:certificate/1",
    }
    declared = stack.declare("prod", changes if scope == "host" else {**changes, "hstsScope": scope})

    for policy in declared.of("ResponseHeadersPolicy"):
        strict = policy.inputs["securityHeadersConfig"]["strictTransportSecurity"]
        assert (strict["includeSubdomains"], strict["preload"]) == (subdomains, preload)
        assert strict["accessControlMaxAgeSec"] == 31_536_000


def test_only_the_listed_origins_read_assets(prod: Declared) -> None:
    """A font or a module that a page of another origin loads is refused by the browser without the header."""
    assert not [policy for policy in prod.of("ResponseHeadersPolicy") if "corsConfig" in policy.inputs]

    declared = stack.declare("prod", {"assetOrigins": ["https://app.roleferry.com"]})
    cors = declared.one("ResponseHeadersPolicy", "static-assets").inputs["corsConfig"]
    assert cors["accessControlAllowOrigins"] == {"items": ["https://app.roleferry.com"]}
    assert cors["accessControlAllowMethods"] == {"items": ["GET", "HEAD"]}
    assert cors["accessControlAllowCredentials"] is False
    assert "corsConfig" not in declared.one("ResponseHeadersPolicy", "static-pages").inputs


def test_cloudfront_publishes_its_hit_rate(declared: Declared) -> None:
    subscription = declared.one("MonitoringSubscription").inputs["monitoringSubscription"]

    assert subscription == {"realtimeMetricsSubscriptionConfig": {"realtimeMetricsSubscriptionStatus": "Enabled"}}


def test_nothing_of_a_request_but_its_path_splits_the_cache(declared: Declared) -> None:
    for policy in declared.of("CachePolicy"):
        key = policy.inputs["parametersInCacheKeyAndForwardedToOrigin"]
        assert key["cookiesConfig"] == {"cookieBehavior": "none"}
        assert key["headersConfig"] == {"headerBehavior": "none"}
        assert key["queryStringsConfig"] == {"queryStringBehavior": "none"}
        assert key["enableAcceptEncodingBrotli"]
        assert key["enableAcceptEncodingGzip"]
