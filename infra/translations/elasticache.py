"""The cache, its parameters, subnets and users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from infra.translations.base import TAGS, Call, Translation, pascal, renaming

if TYPE_CHECKING:
    from infra.translations.base import Inputs


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


TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:elasticache/parameterGroup:ParameterGroup": renaming(
        "elasticache",
        "CreateCacheParameterGroup",
        {
            "name": "CacheParameterGroupName",
            "family": "CacheParameterGroupFamily",
            "description": "Description",
            **TAGS,
        },
        replaces="name family description",
        update="ModifyCacheParameterGroup",
        then=_set_parameters,
        elsewhere="parameters",
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": renaming(
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
            **TAGS,
        },
        replaces="replicationGroupId atRestEncryptionEnabled kmsKeyId port subnetGroupName",
        # internal/service/elasticache/engine_version.go, customizeDiffEngineVersionForceNewOnDowngrade
        replaces_if_lower="engineVersion",
        update="ModifyReplicationGroup",
    ),
    "aws:elasticache/subnetGroup:SubnetGroup": renaming(
        "elasticache",
        "CreateCacheSubnetGroup",
        {
            "name": "CacheSubnetGroupName",
            "description": "CacheSubnetGroupDescription",
            "subnetIds": "SubnetIds",
            **TAGS,
        },
        replaces="name",
        update="ModifyCacheSubnetGroup",
    ),
    "aws:elasticache/user:User": renaming(
        "elasticache",
        "CreateUser",
        {
            "userId": "UserId",
            "userName": "UserName",
            "engine": "Engine",
            "accessString": "AccessString",
            "authenticationMode": ("AuthenticationMode", pascal),
            **TAGS,
        },
        replaces="userId userName",
        update="ModifyUser",
    ),
    "aws:elasticache/userGroup:UserGroup": renaming(
        "elasticache",
        "CreateUserGroup",
        {"userGroupId": "UserGroupId", "engine": "Engine", "userIds": "UserIds", **TAGS},
        replaces="userGroupId",
        update="ModifyUserGroup",
    ),
}
