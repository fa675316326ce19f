"""The translations of every service but the static site's.

`{KeyId}` and `{VpcId}` in a call stand for what AWS answered to the one before: the sender puts it in.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pulumi

from infra.translations.base import Call, Translation, pascal, renamed, tag_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.translations.base import Convert, Inputs, Table

_TAGS: Final = {"tags": ("Tags", tag_list)}


def _simple(
    service: str,
    operation: str,
    table: Table,
    *,
    replaces: str,
    update: str | None,
    fixed: Inputs | None = None,
    then: Callable[[Inputs], list[Call]] | None = None,
    elsewhere: str = "",
    replaces_if_lower: str = "",
) -> Translation:
    """One call with renamed properties, `fixed` parameters beside them, and further calls for what is `elsewhere`."""

    def calls(inputs: Inputs) -> list[Call]:
        parameters = {**renamed(inputs, table, elsewhere=frozenset(elsewhere.split())), **(fixed or {})}
        return [Call(service, operation, parameters), *(then(inputs) if then else [])]

    names = {key: entry if isinstance(entry, str) else entry[0] for key, entry in table.items()}
    return Translation(calls, frozenset(replaces.split()), update, names, frozenset(replaces_if_lower.split()))


def _ec2_tags(kind: str) -> tuple[str, Convert]:
    return "TagSpecifications", lambda tags: [{"ResourceType": kind, "Tags": tag_list(tags)}]


def _set_parameters(inputs: Inputs) -> list[Call]:
    """ElastiCache takes at most 20 parameters a call."""
    values = [{"ParameterName": p["name"], "ParameterValue": p["value"]} for p in inputs.get("parameters", [])]
    return [
        Call(
            "elasticache",
            "ModifyCacheParameterGroup",
            {"CacheParameterGroupName": inputs["name"], "ParameterNameValues": values[start : start + 20]},
        )
        for start in range(0, len(values), 20)
    ]


def _log_deliveries(deliveries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "LogType": delivery["logType"],
            "LogFormat": delivery["logFormat"],
            "DestinationType": delivery["destinationType"],
            "DestinationDetails": {"CloudWatchLogsDetails": {"LogGroup": delivery["destination"]}},
        }
        for delivery in deliveries
    ]


def _metric_queries(queries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for query in queries:
        parameters = {"Id": query["id"], "ReturnData": query.get("returnData", False)}
        if "label" in query:
            parameters["Label"] = query["label"]
        if "expression" in query:
            parameters |= {"Expression": query["expression"]}
        else:
            metric = query["metric"]
            parameters["MetricStat"] = {
                "Metric": {
                    "Namespace": metric["namespace"],
                    "MetricName": metric["metricName"],
                    "Dimensions": [{"Name": k, "Value": v} for k, v in sorted(metric.get("dimensions", {}).items())],
                },
                "Period": metric["period"],
                "Stat": metric["stat"],
            }
        made.append(parameters)
    return made


def _retention(inputs: Inputs) -> list[Call]:
    if not inputs.get("retentionInDays"):
        return []  # kept for ever
    parameters = {"logGroupName": inputs["name"], "retentionInDays": inputs["retentionInDays"]}
    return [Call("logs", "PutRetentionPolicy", parameters)]


def _rotation(inputs: Inputs) -> list[Call]:
    return [Call("kms", "EnableKeyRotation", {"KeyId": "{KeyId}"})] if inputs.get("enableKeyRotation") else []


def _zipped(archive: pulumi.AssetArchive) -> dict[str, bytes]:
    """The archive's files as Lambda takes them, with a fixed date: the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, asset in sorted(archive.assets.items()):
            assert isinstance(asset, pulumi.FileAsset), "the program declares files"
            zipped.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), Path(asset.path).read_bytes())
    return {"ZipFile": buffer.getvalue()}


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
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": _simple(
        "cloudwatch",
        "PutCompositeAlarm",
        {
            "alarmName": "AlarmName",
            "alarmDescription": "AlarmDescription",
            "alarmRule": "AlarmRule",
            "actionsEnabled": "ActionsEnabled",
            "alarmActions": "AlarmActions",
            "okActions": "OKActions",
            **_TAGS,
        },
        replaces="alarmName",
        update="PutCompositeAlarm",
    ),
    "aws:cloudwatch/dashboard:Dashboard": _simple(
        "cloudwatch",
        "PutDashboard",
        {"dashboardName": "DashboardName", "dashboardBody": "DashboardBody"},
        replaces="dashboardName",
        update="PutDashboard",
    ),
    "aws:cloudwatch/eventRule:EventRule": _simple(
        "events",
        "PutRule",
        {"name": "Name", "description": "Description", "scheduleExpression": "ScheduleExpression", **_TAGS},
        replaces="name",
        update="PutRule",
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Translation(
        lambda inputs: [
            Call(
                "events",
                "PutTargets",
                {"Rule": inputs["rule"], "Targets": [{"Id": inputs["targetId"], "Arn": inputs["arn"]}]},
            )
        ],
        frozenset({"rule", "targetId"}),
        "PutTargets",
    ),
    "aws:cloudwatch/logDelivery:LogDelivery": _simple(
        "logs",
        "CreateDelivery",
        {
            "deliverySourceName": "deliverySourceName",
            "deliveryDestinationArn": "deliveryDestinationArn",
            "tags": "tags",
        },
        replaces="deliverySourceName deliveryDestinationArn",
        update="UpdateDeliveryConfiguration",
    ),
    "aws:cloudwatch/logDeliveryDestination:LogDeliveryDestination": _simple(
        "logs",
        "PutDeliveryDestination",
        {
            "name": "name",
            "outputFormat": "outputFormat",
            "deliveryDestinationConfiguration": "deliveryDestinationConfiguration",
            "tags": "tags",
        },
        replaces="name outputFormat",
        update="PutDeliveryDestination",
    ),
    "aws:cloudwatch/logDeliverySource:LogDeliverySource": _simple(
        "logs",
        "PutDeliverySource",
        {"name": "name", "logType": "logType", "resourceArn": "resourceArn", "tags": "tags"},
        replaces="name logType resourceArn",
        update="PutDeliverySource",
    ),
    "aws:cloudwatch/logGroup:LogGroup": _simple(
        "logs",
        "CreateLogGroup",
        {"name": "logGroupName", "kmsKeyId": "kmsKeyId", "tags": "tags"},
        replaces="name",
        update=None,
        then=_retention,
        elsewhere="retentionInDays skipDestroy",
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _simple(
        "cloudwatch",
        "PutMetricAlarm",
        {
            "name": "AlarmName",
            "alarmDescription": "AlarmDescription",
            "metricQueries": ("Metrics", _metric_queries),
            "comparisonOperator": "ComparisonOperator",
            "threshold": "Threshold",
            "datapointsToAlarm": "DatapointsToAlarm",
            "evaluationPeriods": "EvaluationPeriods",
            "treatMissingData": "TreatMissingData",
            "actionsEnabled": "ActionsEnabled",
            "alarmActions": "AlarmActions",
            "okActions": "OKActions",
            **_TAGS,
        },
        replaces="name",
        update="PutMetricAlarm",
    ),
    "aws:ec2/securityGroup:SecurityGroup": _simple(
        "ec2",
        "CreateSecurityGroup",
        {"name": "GroupName", "description": "Description", "vpcId": "VpcId", "tags": _ec2_tags("security-group")},
        replaces="name description vpcId",
        update=None,
    ),
    "aws:ec2/subnet:Subnet": _simple(
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
    "aws:ec2/vpc:Vpc": _simple(
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
    "aws:elasticache/parameterGroup:ParameterGroup": _simple(
        "elasticache",
        "CreateCacheParameterGroup",
        {
            "name": "CacheParameterGroupName",
            "family": "CacheParameterGroupFamily",
            "description": "Description",
            **_TAGS,
        },
        replaces="name family description",
        update="ModifyCacheParameterGroup",
        then=_set_parameters,
        elsewhere="parameters",
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": _simple(
        "elasticache",
        "CreateReplicationGroup",
        {
            "replicationGroupId": "ReplicationGroupId",
            "description": "ReplicationGroupDescription",
            "engine": "Engine",
            "engineVersion": "EngineVersion",
            "nodeType": "CacheNodeType",
            "port": "Port",
            "numCacheClusters": "NumCacheClusters",
            "numNodeGroups": "NumNodeGroups",
            "replicasPerNodeGroup": "ReplicasPerNodeGroup",
            "automaticFailoverEnabled": "AutomaticFailoverEnabled",
            "multiAzEnabled": "MultiAZEnabled",
            "autoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
            "atRestEncryptionEnabled": "AtRestEncryptionEnabled",
            "kmsKeyId": "KmsKeyId",
            "transitEncryptionEnabled": "TransitEncryptionEnabled",
            "transitEncryptionMode": "TransitEncryptionMode",
            "subnetGroupName": "CacheSubnetGroupName",
            "securityGroupIds": "SecurityGroupIds",
            "parameterGroupName": "CacheParameterGroupName",
            "userGroupIds": "UserGroupIds",
            "logDeliveryConfigurations": ("LogDeliveryConfigurations", _log_deliveries),
            "maintenanceWindow": "PreferredMaintenanceWindow",
            "snapshotWindow": "SnapshotWindow",
            "snapshotRetentionLimit": "SnapshotRetentionLimit",
            **_TAGS,
        },
        replaces="replicationGroupId atRestEncryptionEnabled kmsKeyId port subnetGroupName",
        # internal/service/elasticache/engine_version.go, customizeDiffEngineVersionForceNewOnDowngrade
        replaces_if_lower="engineVersion",
        update="ModifyReplicationGroup",
    ),
    "aws:elasticache/subnetGroup:SubnetGroup": _simple(
        "elasticache",
        "CreateCacheSubnetGroup",
        {
            "name": "CacheSubnetGroupName",
            "description": "CacheSubnetGroupDescription",
            "subnetIds": "SubnetIds",
            **_TAGS,
        },
        replaces="name",
        update="ModifyCacheSubnetGroup",
    ),
    "aws:elasticache/user:User": _simple(
        "elasticache",
        "CreateUser",
        {
            "userId": "UserId",
            "userName": "UserName",
            "engine": "Engine",
            "accessString": "AccessString",
            "authenticationMode": ("AuthenticationMode", pascal),
            **_TAGS,
        },
        replaces="userId userName",
        update="ModifyUser",
    ),
    "aws:elasticache/userGroup:UserGroup": _simple(
        "elasticache",
        "CreateUserGroup",
        {"userGroupId": "UserGroupId", "engine": "Engine", "userIds": "UserIds", **_TAGS},
        replaces="userGroupId",
        update="ModifyUserGroup",
    ),
    "aws:iam/policy:Policy": _simple(
        "iam",
        "CreatePolicy",
        {"name": "PolicyName", "description": "Description", "policy": "PolicyDocument", **_TAGS},
        replaces="name description",
        update="CreatePolicyVersion",
    ),
    "aws:iam/role:Role": _simple(
        "iam",
        "CreateRole",
        {"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument", **_TAGS},
        replaces="name",
        update="UpdateRole",
        elsewhere="forceDetachPolicies",
    ),
    "aws:iam/rolePolicy:RolePolicy": _simple(
        "iam",
        "PutRolePolicy",
        {"name": "PolicyName", "role": "RoleName", "policy": "PolicyDocument"},
        replaces="name role",
        update="PutRolePolicy",
    ),
    "aws:kms/alias:Alias": _simple(
        "kms",
        "CreateAlias",
        {"name": "AliasName", "targetKeyId": "TargetKeyId"},
        replaces="name",
        update="UpdateAlias",
    ),
    "aws:kms/key:Key": _simple(
        "kms",
        "CreateKey",
        {
            "description": "Description",
            "policy": "Policy",
            "tags": ("Tags", lambda tags: [{"TagKey": k, "TagValue": v} for k, v in sorted(tags.items())]),
        },
        replaces="",
        update="UpdateKeyDescription",
        then=_rotation,
        elsewhere="enableKeyRotation",
    ),
    "aws:sns/topic:Topic": _simple(
        "sns",
        "CreateTopic",
        {"name": "Name", "kmsMasterKeyId": ("Attributes", lambda key: {"KmsMasterKeyId": key}), **_TAGS},
        replaces="name",
        update="SetTopicAttributes",
    ),
    "aws:sns/topicPolicy:TopicPolicy": _simple(
        "sns",
        "SetTopicAttributes",
        {"arn": "TopicArn", "policy": "AttributeValue"},
        replaces="arn",
        update="SetTopicAttributes",
        fixed={"AttributeName": "Policy"},
    ),
    "aws:sns/topicSubscription:TopicSubscription": _simple(
        "sns",
        "Subscribe",
        {"topic": "TopicArn", "protocol": "Protocol", "endpoint": "Endpoint"},
        replaces="topic protocol endpoint",
        update=None,
    ),
    # AWS makes it with the VPC. Emptying it takes reading its rules first, which is the sender's part.
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Translation(lambda _: [], frozenset({"vpcId"}), None),
    "aws:ec2/flowLog:FlowLog": _simple(
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
    "aws:lambda/function:Function": _simple(
        "lambda",
        "CreateFunction",
        {
            "name": "FunctionName",
            "description": "Description",
            "runtime": "Runtime",
            "architectures": "Architectures",
            "handler": "Handler",
            "code": ("Code", _zipped),
            "role": "Role",
            "timeout": "Timeout",
            "memorySize": "MemorySize",
            "environment": ("Environment", lambda environment: {"Variables": environment["variables"]}),
            "tags": "Tags",
        },
        replaces="name",
        update="UpdateFunctionConfiguration",
        elsewhere="publish reservedConcurrentExecutions skipDestroy",
    ),
    "aws:lambda/permission:Permission": _simple(
        "lambda",
        "AddPermission",
        {"function": "FunctionName", "action": "Action", "principal": "Principal", "sourceArn": "SourceArn"},
        replaces="function action principal sourceArn",
        update=None,
        fixed={"StatementId": "pulumi"},
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Translation(
        _ingress, frozenset({"securityGroupId"}), "ModifySecurityGroupRules"
    ),
}
