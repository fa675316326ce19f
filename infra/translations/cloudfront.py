"""The static site's distribution and its policies. CloudFront's API wraps every list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infra.translations.base import Call, Translation, UntranslatedError, pascal, tag_list

if TYPE_CHECKING:
    from infra.translations.base import Inputs


def items(values: list[Any]) -> dict[str, Any]:
    """CloudFront's lists: how many, and which."""
    return {"Quantity": len(values), "Items": values} if values else {"Quantity": 0}


def _behaviour(declared: dict[str, Any]) -> dict[str, Any]:
    made = {
        "TargetOriginId": declared["targetOriginId"],
        "ViewerProtocolPolicy": declared["viewerProtocolPolicy"],
        "AllowedMethods": {
            **items(declared["allowedMethods"]),
            "CachedMethods": items(declared["cachedMethods"]),
        },
        "Compress": declared["compress"],
        "CachePolicyId": declared["cachePolicyId"],
        "ResponseHeadersPolicyId": declared["responseHeadersPolicyId"],
    }
    if "pathPattern" in declared:
        made["PathPattern"] = declared["pathPattern"]
    return made


def _certificate(declared: dict[str, Any]) -> dict[str, Any]:
    if declared.get("cloudfrontDefaultCertificate"):
        return {"CloudFrontDefaultCertificate": True}
    return {
        "CloudFrontDefaultCertificate": False,
        "ACMCertificateArn": declared["acmCertificateArn"],
        "MinimumProtocolVersion": declared["minimumProtocolVersion"],
        "SSLSupportMethod": declared["sslSupportMethod"],
    }


_DISTRIBUTION: Final = frozenset(
    {
        "aliases", "comment", "defaultCacheBehavior", "defaultRootObject", "enabled", "httpVersion", "isIpv6Enabled",
        "orderedCacheBehaviors", "origins", "restrictions", "tags", "viewerCertificate", "webAclId",
    }
)  # fmt: skip


def _distribution(inputs: Inputs) -> list[Call]:
    if unknown := inputs.keys() - _DISTRIBUTION:
        raise UntranslatedError(f"properties {sorted(unknown)} have no translation.")
    origins = [
        {
            "Id": origin["originId"],
            "DomainName": origin["domainName"],
            "OriginAccessControlId": origin["originAccessControlId"],
            # The API wants it beside an access control, empty.
            "S3OriginConfig": {"OriginAccessIdentity": ""},
        }
        for origin in inputs["origins"]
    ]
    geography = inputs["restrictions"]["geoRestriction"]
    config = {
        # Makes a repeated call harmless; the comment is unique among the stacks.
        "CallerReference": inputs["comment"],
        "Comment": inputs["comment"],
        "Enabled": inputs["enabled"],
        "HttpVersion": inputs["httpVersion"],
        "IsIPV6Enabled": inputs["isIpv6Enabled"],
        "DefaultRootObject": inputs["defaultRootObject"],
        "Aliases": items(inputs.get("aliases", [])),
        "Origins": items(origins),
        "DefaultCacheBehavior": _behaviour(inputs["defaultCacheBehavior"]),
        "CacheBehaviors": items([_behaviour(declared) for declared in inputs["orderedCacheBehaviors"]]),
        "Restrictions": {"GeoRestriction": {"RestrictionType": geography["restrictionType"], "Quantity": 0}},
        "ViewerCertificate": _certificate(inputs["viewerCertificate"]),
        "WebACLId": inputs.get("webAclId", ""),
    }
    parameters = {"DistributionConfig": config, "Tags": {"Items": tag_list(inputs["tags"])}}
    return [Call("cloudfront", "CreateDistributionWithTags", {"DistributionConfigWithTags": parameters})]


def _cache_policy(inputs: Inputs) -> list[Call]:
    key = inputs["parametersInCacheKeyAndForwardedToOrigin"]
    config = {
        "Name": inputs["name"],
        "Comment": inputs["comment"],
        "MinTTL": inputs["minTtl"],
        "DefaultTTL": inputs["defaultTtl"],
        "MaxTTL": inputs["maxTtl"],
        "ParametersInCacheKeyAndForwardedToOrigin": pascal(key),
    }
    return [Call("cloudfront", "CreateCachePolicy", {"CachePolicyConfig": config})]


def _headers_policy(inputs: Inputs) -> list[Call]:
    security = pascal(inputs["securityHeadersConfig"])
    config = {
        "Name": inputs["name"],
        "CustomHeadersConfig": items(pascal(inputs.get("customHeadersConfig", {}).get("items", []))),
        "SecurityHeadersConfig": security,
    }
    if "corsConfig" in inputs:
        cors = pascal(inputs["corsConfig"])
        config["CorsConfig"] = {
            key: items(value["Items"]) if isinstance(value, dict) else value for key, value in cors.items()
        }
    return [Call("cloudfront", "CreateResponseHeadersPolicy", {"ResponseHeadersPolicyConfig": config})]


def _access_control(inputs: Inputs) -> list[Call]:
    return [Call("cloudfront", "CreateOriginAccessControl", {"OriginAccessControlConfig": pascal(dict(inputs))})]


def _subscription(inputs: Inputs) -> list[Call]:
    return [Call("cloudfront", "CreateMonitoringSubscription", pascal(dict(inputs)))]


TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:cloudfront/cachePolicy:CachePolicy": Translation(_cache_policy, frozenset(), "UpdateCachePolicy"),
    "aws:cloudfront/distribution:Distribution": Translation(_distribution, frozenset(), "UpdateDistribution"),
    "aws:cloudfront/monitoringSubscription:MonitoringSubscription": Translation(
        _subscription, frozenset({"distributionId"}), None
    ),
    "aws:cloudfront/originAccessControl:OriginAccessControl": Translation(
        _access_control, frozenset(), "UpdateOriginAccessControl"
    ),
    "aws:cloudfront/responseHeadersPolicy:ResponseHeadersPolicy": Translation(
        _headers_policy, frozenset(), "UpdateResponseHeadersPolicy"
    ),
}
