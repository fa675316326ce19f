"""What takes more than filling in a request: reading first, or taking an object's version along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infra.translations import TRANSLATIONS
from infra.translations.base import Call
from local.aws.cloud import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from local.aws.cloud import Cloud

    Inputs = Mapping[str, Any]

# Of a bucket to which somebody writes all the time.
_EMPTYINGS: Final = 100
REPLICATION_GROUP: Final = "aws:elasticache/replicationGroup:ReplicationGroup"


def creation(cloud: Cloud, type_: str, inputs: Inputs, region: str) -> Iterator[Call]:
    """The requests that make a resource; the later ones come when the earlier ones are answered."""
    if type_ == "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup":
        yield from _empty_default_group(cloud, inputs, region)
    if type_ == "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule":
        cloud.adopt_security_group(inputs["referencedSecurityGroupId"], beside=inputs["securityGroupId"], region=region)
    yield from TRANSLATIONS[type_].calls(inputs)


def _empty_default_group(cloud: Cloud, inputs: Inputs, region: str) -> Iterator[Call]:
    described = Call(
        "ec2",
        "DescribeSecurityGroups",
        {
            "Filters": [
                {"Name": "vpc-id", "Values": [inputs["vpcId"]]},
                {"Name": "group-name", "Values": ["default"]},
            ]
        },
    )
    yield described
    for group in cloud.send(described, region)["SecurityGroups"]:
        for way, rules in (("Ingress", "IpPermissions"), ("Egress", "IpPermissionsEgress")):
            if group[rules]:
                yield Call(
                    "ec2", f"RevokeSecurityGroup{way}", {"GroupId": group["GroupId"], "IpPermissions": group[rules]}
                )


def _update_distribution(cloud: Cloud, id_: str, inputs: Inputs, region: str) -> None:
    (made,) = TRANSLATIONS["aws:cloudfront/distribution:Distribution"].calls(inputs)
    _configure_distribution(cloud, id_, made.parameters["DistributionConfigWithTags"]["DistributionConfig"], region)


def _configure_distribution(cloud: Cloud, id_: str, config: dict[str, Any], region: str) -> str:
    """The new version's ETag. AWS keeps the caller's reference, and takes a change of the current version only."""
    now = cloud.send(Call("cloudfront", "GetDistributionConfig", {"Id": id_}), region)
    config = config | {"CallerReference": now["DistributionConfig"]["CallerReference"]}
    answer = cloud.send(
        Call("cloudfront", "UpdateDistribution", {"Id": id_, "IfMatch": now["ETag"], "DistributionConfig": config}),
        region,
    )
    return str(answer["ETag"])


def _delete_distribution(cloud: Cloud, id_: str, inputs: Inputs, region: str) -> None:
    """AWS deletes only what is disabled."""
    (made,) = TRANSLATIONS["aws:cloudfront/distribution:Distribution"].calls({**inputs, "enabled": False})
    config = made.parameters["DistributionConfigWithTags"]["DistributionConfig"]
    version = _configure_distribution(cloud, id_, config, region)
    cloud.send(Call("cloudfront", "DeleteDistribution", {"Id": id_, "IfMatch": version}), region)


def _update_access_control(cloud: Cloud, id_: str, inputs: Inputs, region: str) -> None:
    (made,) = TRANSLATIONS["aws:cloudfront/originAccessControl:OriginAccessControl"].calls(inputs)
    now = cloud.send(Call("cloudfront", "GetOriginAccessControl", {"Id": id_}), region)
    cloud.send(
        Call("cloudfront", "UpdateOriginAccessControl", {"Id": id_, "IfMatch": now["ETag"], **made.parameters}), region
    )


def _update_policy(cloud: Cloud, id_: str, inputs: Inputs, region: str) -> None:
    """AWS keeps five versions of a policy; we keep the one in force."""
    old = _policy_versions(cloud, id_, region)
    document = {"PolicyArn": id_, "PolicyDocument": inputs["policy"], "SetAsDefault": True}
    cloud.send(Call("iam", "CreatePolicyVersion", document), region)
    for version in old:
        cloud.send(Call("iam", "DeletePolicyVersion", {"PolicyArn": id_, "VersionId": version["VersionId"]}), region)


def _delete_policy(cloud: Cloud, id_: str, inputs: Inputs, region: str) -> None:
    del inputs
    for version in _policy_versions(cloud, id_, region):
        if not version["IsDefaultVersion"]:
            request = {"PolicyArn": id_, "VersionId": version["VersionId"]}
            cloud.send(Call("iam", "DeletePolicyVersion", request), region)
    cloud.send(Call("iam", "DeletePolicy", {"PolicyArn": id_}), region)


def _policy_versions(cloud: Cloud, id_: str, region: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.send(Call("iam", "ListPolicyVersions", {"PolicyArn": id_}), region)["Versions"]
    return found


def _update_key(cloud: Cloud, id_: str, inputs: Inputs, region: str) -> None:
    """Each of its properties has a request of its own; repeating the others changes nothing."""
    cloud.send(
        Call("kms", "UpdateKeyDescription", {"KeyId": id_, "Description": inputs.get("description", "")}), region
    )
    if "policy" in inputs:
        policy = {"KeyId": id_, "PolicyName": "default", "Policy": inputs["policy"]}
        cloud.send(Call("kms", "PutKeyPolicy", policy), region)
    rotation = "EnableKeyRotation" if inputs.get("enableKeyRotation") else "DisableKeyRotation"
    cloud.send(Call("kms", rotation, {"KeyId": id_}), region)


def _update_function(cloud: Cloud, id_: str, inputs: Inputs, region: str) -> None:
    (made,) = TRANSLATIONS["aws:lambda/function:Function"].calls(inputs)
    code = {"FunctionName": id_, **made.parameters["Code"], "Architectures": inputs.get("architectures", ["x86_64"])}
    cloud.send(Call("lambda", "UpdateFunctionCode", code), region)
    kept = ("Description", "Runtime", "Handler", "Role", "Timeout", "MemorySize", "Environment")
    settings = {key: made.parameters[key] for key in kept if key in made.parameters}
    cloud.send(Call("lambda", "UpdateFunctionConfiguration", {"FunctionName": id_, **settings}), region)


def _update_rule(cloud: Cloud, id_: str, inputs: Inputs, region: str) -> None:
    (made,) = TRANSLATIONS["aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"].calls(inputs)
    permission = made.parameters["IpPermissions"][0]
    rule = {
        "IpProtocol": permission["IpProtocol"],
        "FromPort": permission["FromPort"],
        "ToPort": permission["ToPort"],
        "ReferencedGroupId": permission["UserIdGroupPairs"][0]["GroupId"],
        "Description": inputs["description"],
    }
    rules = [{"SecurityGroupRuleId": id_, "SecurityGroupRule": rule}]
    request = {"GroupId": inputs["securityGroupId"], "SecurityGroupRules": rules}
    cloud.send(Call("ec2", "ModifySecurityGroupRules", request), region)


def _update_group(cloud: Cloud, id_: str, inputs: Inputs, region: str) -> None:
    """Moto changes six of the properties and ignores the others; it is told of the whole group again."""
    cloud.send(Call("elasticache", "DeleteReplicationGroup", {"ReplicationGroupId": id_}), region)
    for call in TRANSLATIONS[REPLICATION_GROUP].calls(inputs):
        cloud.send(call, region)


def _delete_bucket(cloud: Cloud, id_: str, inputs: Inputs, region: str) -> None:
    for attempt in range(_EMPTYINGS):
        if inputs.get("forceDestroy"):
            _empty_bucket(cloud, id_, region)
        try:
            cloud.send(Call("s3", "DeleteBucket", {"Bucket": id_}), region)
        except RefusedError as error:
            if "BucketNotEmpty" not in str(error) or attempt + 1 == _EMPTYINGS:
                raise
            if not inputs.get("forceDestroy"):
                raise RefusedError(f"{error} Empty bucket {id_}, or set protectData false and run up first.") from None
            # Logs were written to it meanwhile, or there were over a thousand: again, as the real provider does.
        else:
            return


def _empty_bucket(cloud: Cloud, id_: str, region: str) -> None:
    listed = cloud.send(Call("s3", "ListObjectVersions", {"Bucket": id_}), region)
    for entry in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())):
        version = {"Bucket": id_, "Key": entry["Key"], "VersionId": entry["VersionId"]}
        cloud.send(Call("s3", "DeleteObject", version), region)


_UPDATES: Final[dict[str, Callable[[Cloud, str, Inputs, str], None]]] = {
    "aws:cloudfront/distribution:Distribution": _update_distribution,
    "aws:cloudfront/originAccessControl:OriginAccessControl": _update_access_control,
    "aws:iam/policy:Policy": _update_policy,
    "aws:kms/key:Key": _update_key,
    "aws:lambda/function:Function": _update_function,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _update_rule,
    REPLICATION_GROUP: _update_group,
}
_DELETES: Final[dict[str, Callable[[Cloud, str, Inputs, str], None]]] = {
    "aws:cloudfront/distribution:Distribution": _delete_distribution,
    "aws:iam/policy:Policy": _delete_policy,
    "aws:s3/bucket:Bucket": _delete_bucket,
}


def updates(type_: str) -> bool:
    """Whether an update of this type is done here."""
    return type_ in _UPDATES


def update(cloud: Cloud, type_: str, id_: str, inputs: Inputs, region: str, changed: Collection[str]) -> None:
    """Changes a resource of one of the types that need it; tags alone are no reason."""
    if type_ in _UPDATES and set(changed) - {"tags"}:
        _UPDATES[type_](cloud, id_, inputs, region)


def delete(cloud: Cloud, type_: str, id_: str, inputs: Inputs, region: str) -> None:
    """Deletes a resource of one of the types that need it."""
    if type_ in _DELETES:
        _DELETES[type_](cloud, id_, inputs, region)
