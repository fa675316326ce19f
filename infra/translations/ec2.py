"""Networks and who reaches what in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.translations.base import Call, Translation, renaming, tag_list

if TYPE_CHECKING:
    from infra.translations.base import Convert, Inputs


def _ec2_tags(kind: str) -> tuple[str, Convert]:
    return "TagSpecifications", lambda tags: [{"ResourceType": kind, "Tags": tag_list(tags)}]


def _ingress(inputs: Inputs) -> list[Call]:
    permission = {
        "IpProtocol": inputs["ipProtocol"],
        "FromPort": inputs["fromPort"],
        "ToPort": inputs["toPort"],
        "UserIdGroupPairs": [
            {"GroupId": inputs["referencedSecurityGroupId"], "Description": inputs["description"]},
        ],
    }
    name, convert = _ec2_tags("security-group-rule")
    parameters = {"GroupId": inputs["securityGroupId"], "IpPermissions": [permission], name: convert(inputs["tags"])}
    return [Call("ec2", "AuthorizeSecurityGroupIngress", parameters)]


TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:ec2/securityGroup:SecurityGroup": renaming(
        "ec2",
        "CreateSecurityGroup",
        {"name": "GroupName", "description": "Description", "vpcId": "VpcId", "tags": _ec2_tags("security-group")},
        replaces="name description vpcId",
        update=None,
    ),
    "aws:ec2/subnet:Subnet": renaming(
        "ec2",
        "CreateSubnet",
        {
            "vpcId": "VpcId",
            "cidrBlock": "CidrBlock",
            "availabilityZone": "AvailabilityZone",
            "tags": _ec2_tags("subnet"),
        },
        replaces="vpcId cidrBlock availabilityZone",
        update="ModifySubnetAttribute",
        # False is what a new subnet has.
        elsewhere="mapPublicIpOnLaunch",
    ),
    "aws:ec2/vpc:Vpc": renaming(
        "ec2",
        "CreateVpc",
        {"cidrBlock": "CidrBlock", "tags": _ec2_tags("vpc")},
        replaces="cidrBlock",
        update="ModifyVpcAttribute",
        then=lambda inputs: [
            Call("ec2", "ModifyVpcAttribute", {"VpcId": "{VpcId}", name: {"Value": inputs[key]}})
            for key, name in (("enableDnsSupport", "EnableDnsSupport"), ("enableDnsHostnames", "EnableDnsHostnames"))
        ],
        elsewhere="enableDnsSupport enableDnsHostnames",
    ),
    # AWS makes it with the VPC. Emptying it takes reading its rules first, which is the sender's part.
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Translation(lambda _: [], frozenset({"vpcId"}), None),
    "aws:ec2/flowLog:FlowLog": renaming(
        "ec2",
        "CreateFlowLogs",
        {
            "vpcId": ("ResourceIds", lambda vpc: [vpc]),
            "trafficType": "TrafficType",
            "logDestinationType": "LogDestinationType",
            "logDestination": "LogDestination",
            "iamRoleArn": "DeliverLogsPermissionArn",
            "tags": _ec2_tags("vpc-flow-log"),
        },
        replaces="vpcId trafficType logDestinationType logDestination iamRoleArn",
        update=None,
        fixed={"ResourceType": "VPC"},
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Translation(
        _ingress, frozenset({"securityGroupId"}), "ModifySecurityGroupRules"
    ),
}
