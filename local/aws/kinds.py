"""What becomes of a resource of each type after it is made: its id, its outputs, how it is read, changed and deleted.

How it is made, and which properties force a new one, says `infra.translations`. In requests, ids and outputs `{name}`
stands for a property, `{id}`, `{region}` and `{account}` for themselves; a text that is nothing but `{name}` becomes
the value itself. An id that starts with @ is looked up in AWS's answer, as JMESPath.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from infra.translations.base import Call

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Kind:
    """One resource type.

    `read` asks AWS for it, `found` is where in the answer it must be; without `read` moto has no such thing, and the
    record is all there is. Drift is told of the properties that show in what was found: of those in `as_sent`, under
    the translation's names for them, and of those in `seen`, at the paths there. Properties that moto does not give
    back faithfully are left out. `changes` are the requests for single properties; what is not in it goes by the
    update call of the translation. `name` is the property that gets a name if it has none; None where one must give it.
    """

    id: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    read: Call | None = None
    found: str = "@"
    as_sent: tuple[str, ...] = ()
    seen: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Call] = field(default_factory=dict)
    delete: tuple[Call, ...] = ()
    tag: Call | None = None
    name: str | None = "name"


@dataclass(frozen=True)
class Record:
    """A resource that exists: its inputs in plain form, and what was computed for it."""

    type: str
    id: str
    urn: str
    region: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]


def _elasticache(kind: str, name: str) -> dict[str, str]:
    return {"arn": f"arn:aws:elasticache:{{region}}:{{account}}:{kind}:{{{name}}}"}


def _list_tags(service: str, parameter: str, operation: str = "TagResource") -> Call:
    return Call(service, operation, {parameter: "{arn}", "Tags": "{tag_list}"})


_ELASTICACHE_TAGS: Final = _list_tags("elasticache", "ResourceName", operation="AddTagsToResource")
_EC2_TAGS: Final = Call("ec2", "CreateTags", {"Resources": ["{id}"], "Tags": "{tag_list}"})
_LOG_TAGS: Final = Call("logs", "TagResource", {"resourceArn": "{arn}", "tags": "{tags}"})
_CLOUDWATCH_TAGS: Final = _list_tags("cloudwatch", "ResourceARN")


def _bucket_setting(get: str, delete: str | None, **seen: str) -> Kind:
    """A setting of a bucket is known by the bucket's name, and one that cannot be deleted goes with the bucket."""
    return Kind(
        id="{bucket}",
        read=Call("s3", get, {"Bucket": "{bucket}"}),
        seen=seen,
        delete=(Call("s3", delete, {"Bucket": "{bucket}"}),) if delete else (),
        name=None,
    )


KINDS: Final[dict[str, Kind]] = {
    "aws:cloudfront/cachePolicy:CachePolicy": Kind(id="@uuid"),
    "aws:cloudfront/distribution:Distribution": Kind(
        id="@Distribution.Id",
        outputs={
            "arn": "arn:aws:cloudfront::{account}:distribution/{id}",
            "domainName": "@Distribution.DomainName",
            "hostedZoneId": "Z2FDTNDATAQYW2",
            "status": "Deployed",
        },
        read=Call("cloudfront", "GetDistribution", {"Id": "{id}"}),
        found="Distribution.DistributionConfig",
        seen={"enabled": "Enabled", "comment": "Comment", "defaultRootObject": "DefaultRootObject"},
        tag=Call("cloudfront", "TagResource", {"Resource": "{arn}", "Tags": {"Items": "{tag_list}"}}),
        name=None,
    ),
    "aws:cloudfront/monitoringSubscription:MonitoringSubscription": Kind(id="{distributionId}", name=None),
    "aws:cloudfront/originAccessControl:OriginAccessControl": Kind(
        id="@OriginAccessControl.Id",
        read=Call("cloudfront", "GetOriginAccessControl", {"Id": "{id}"}),
        found="OriginAccessControl.OriginAccessControlConfig",
        seen={"name": "Name", "description": "Description", "signingBehavior": "SigningBehavior"},
        delete=(Call("cloudfront", "DeleteOriginAccessControl", {"Id": "{id}"}),),
    ),
    "aws:cloudfront/responseHeadersPolicy:ResponseHeadersPolicy": Kind(id="@uuid"),
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": Kind(
        id="{alarmName}", outputs={"arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{alarmName}"}, name=None
    ),
    "aws:cloudwatch/dashboard:Dashboard": Kind(
        id="{dashboardName}",
        outputs={"dashboardArn": "arn:aws:cloudwatch::{account}:dashboard/{dashboardName}"},
        read=Call("cloudwatch", "GetDashboard", {"DashboardName": "{id}"}),
        as_sent=("dashboardBody",),
        delete=(Call("cloudwatch", "DeleteDashboards", {"DashboardNames": ["{id}"]}),),
        name=None,
    ),
    "aws:cloudwatch/eventRule:EventRule": Kind(
        id="{name}",
        outputs={"arn": "arn:aws:events:{region}:{account}:rule/{name}"},
        read=Call("events", "DescribeRule", {"Name": "{id}"}),
        as_sent=("description", "scheduleExpression"),
        delete=(Call("events", "DeleteRule", {"Name": "{id}"}),),
        tag=_list_tags("events", "ResourceARN"),
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Kind(
        id="{rule}-{targetId}",
        read=Call("events", "ListTargetsByRule", {"Rule": "{rule}"}),
        found="Targets[?Id=='{targetId}'] | [0]",
        seen={"arn": "Arn"},
        delete=(Call("events", "RemoveTargets", {"Rule": "{rule}", "Ids": ["{targetId}"]}),),
        name=None,
    ),
    "aws:cloudwatch/logDelivery:LogDelivery": Kind(
        id="@delivery.id",
        outputs={"arn": "@delivery.arn"},
        read=Call("logs", "GetDelivery", {"id": "{id}"}),
        found="delivery",
        as_sent=("deliverySourceName", "deliveryDestinationArn"),
        delete=(Call("logs", "DeleteDelivery", {"id": "{id}"}),),
        tag=_LOG_TAGS,
        name=None,
    ),
    "aws:cloudwatch/logDeliveryDestination:LogDeliveryDestination": Kind(
        id="{name}",
        outputs={"arn": "@deliveryDestination.arn"},
        read=Call("logs", "GetDeliveryDestination", {"name": "{id}"}),
        found="deliveryDestination",
        as_sent=("outputFormat",),
        delete=(Call("logs", "DeleteDeliveryDestination", {"name": "{id}"}),),
        tag=_LOG_TAGS,
    ),
    "aws:cloudwatch/logDeliverySource:LogDeliverySource": Kind(
        id="{name}",
        outputs={"arn": "@deliverySource.arn"},
        read=Call("logs", "GetDeliverySource", {"name": "{id}"}),
        found="deliverySource",
        as_sent=("logType",),
        delete=(Call("logs", "DeleteDeliverySource", {"name": "{id}"}),),
        tag=_LOG_TAGS,
    ),
    "aws:cloudwatch/logGroup:LogGroup": Kind(
        id="{name}",
        outputs={"arn": "arn:aws:logs:{region}:{account}:log-group:{name}"},
        read=Call("logs", "DescribeLogGroups", {"logGroupNamePrefix": "{id}"}),
        found="logGroups[?logGroupName=='{id}'] | [0]",
        as_sent=("kmsKeyId",),
        seen={"retentionInDays": "retentionInDays"},
        changes={
            "retentionInDays": Call(
                "logs", "PutRetentionPolicy", {"logGroupName": "{id}", "retentionInDays": "{retentionInDays}"}
            ),
            "kmsKeyId": Call("logs", "AssociateKmsKey", {"logGroupName": "{id}", "kmsKeyId": "{kmsKeyId}"}),
        },
        delete=(Call("logs", "DeleteLogGroup", {"logGroupName": "{id}"}),),
        tag=_LOG_TAGS,
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Kind(
        id="{name}",
        outputs={"arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{name}"},
        read=Call("cloudwatch", "DescribeAlarms", {"AlarmNames": ["{id}"]}),
        found="MetricAlarms[0]",
        as_sent=(
            *("alarmDescription", "comparisonOperator", "threshold", "datapointsToAlarm", "evaluationPeriods"),
            *("treatMissingData", "actionsEnabled", "alarmActions", "okActions"),
        ),
        delete=(Call("cloudwatch", "DeleteAlarms", {"AlarmNames": ["{id}"]}),),
        tag=_CLOUDWATCH_TAGS,
    ),
    # AWS makes it with the VPC and deletes it with the VPC.
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Kind(
        id="@SecurityGroups[0].GroupId",
        outputs={"arn": "arn:aws:ec2:{region}:{account}:security-group/{id}"},
        read=Call("ec2", "DescribeSecurityGroups", {"GroupIds": ["{id}"]}),
        found="SecurityGroups[0]",
        seen={"ingress": "IpPermissions", "egress": "IpPermissionsEgress"},
        tag=_EC2_TAGS,
        name=None,
    ),
    "aws:ec2/flowLog:FlowLog": Kind(
        id="@FlowLogIds[0]",
        outputs={"arn": "arn:aws:ec2:{region}:{account}:vpc-flow-log/{id}"},
        read=Call("ec2", "DescribeFlowLogs", {"FlowLogIds": ["{id}"]}),
        found="FlowLogs[0]",
        as_sent=("trafficType", "logDestination"),
        delete=(Call("ec2", "DeleteFlowLogs", {"FlowLogIds": ["{id}"]}),),
        tag=_EC2_TAGS,
        name=None,
    ),
    "aws:ec2/securityGroup:SecurityGroup": Kind(
        id="@GroupId",
        outputs={"arn": "arn:aws:ec2:{region}:{account}:security-group/{id}"},
        read=Call("ec2", "DescribeSecurityGroups", {"GroupIds": ["{id}"]}),
        found="SecurityGroups[0]",
        as_sent=("description",),
        delete=(Call("ec2", "DeleteSecurityGroup", {"GroupId": "{id}"}),),
        tag=_EC2_TAGS,
    ),
    "aws:ec2/subnet:Subnet": Kind(
        id="@Subnet.SubnetId",
        outputs={"arn": "arn:aws:ec2:{region}:{account}:subnet/{id}"},
        read=Call("ec2", "DescribeSubnets", {"SubnetIds": ["{id}"]}),
        found="Subnets[0]",
        as_sent=("cidrBlock", "availabilityZone"),
        seen={"mapPublicIpOnLaunch": "MapPublicIpOnLaunch"},
        changes={
            "mapPublicIpOnLaunch": Call(
                "ec2",
                "ModifySubnetAttribute",
                {"SubnetId": "{id}", "MapPublicIpOnLaunch": {"Value": "{mapPublicIpOnLaunch}"}},
            )
        },
        delete=(Call("ec2", "DeleteSubnet", {"SubnetId": "{id}"}),),
        tag=_EC2_TAGS,
        name=None,
    ),
    "aws:ec2/vpc:Vpc": Kind(
        id="@Vpc.VpcId",
        outputs={"arn": "arn:aws:ec2:{region}:{account}:vpc/{id}"},
        read=Call("ec2", "DescribeVpcs", {"VpcIds": ["{id}"]}),
        found="Vpcs[0]",
        as_sent=("cidrBlock",),
        changes={
            name: Call("ec2", "ModifyVpcAttribute", {"VpcId": "{id}", parameter: {"Value": f"{{{name}}}"}})
            for name, parameter in (
                ("enableDnsSupport", "EnableDnsSupport"),
                ("enableDnsHostnames", "EnableDnsHostnames"),
            )
        },
        delete=(Call("ec2", "DeleteVpc", {"VpcId": "{id}"}),),
        tag=_EC2_TAGS,
        name=None,
    ),
    "aws:elasticache/parameterGroup:ParameterGroup": Kind(id="{name}", outputs=_elasticache("parametergroup", "name")),
    "aws:elasticache/replicationGroup:ReplicationGroup": Kind(
        id="{replicationGroupId}",
        outputs=_elasticache("replicationgroup", "replicationGroupId"),
        read=Call("elasticache", "DescribeReplicationGroups", {"ReplicationGroupId": "{id}"}),
        found="ReplicationGroups[0]",
        as_sent=("nodeType", "snapshotRetentionLimit"),
        seen={"description": "Description"},
        delete=(Call("elasticache", "DeleteReplicationGroup", {"ReplicationGroupId": "{id}"}),),
        tag=_ELASTICACHE_TAGS,
        name="replicationGroupId",
    ),
    "aws:elasticache/subnetGroup:SubnetGroup": Kind(
        id="{name}",
        outputs=_elasticache("subnetgroup", "name"),
        read=Call("elasticache", "DescribeCacheSubnetGroups", {"CacheSubnetGroupName": "{id}"}),
        found="CacheSubnetGroups[0]",
        as_sent=("description",),
        seen={"subnetIds": "Subnets[].SubnetIdentifier"},
        delete=(Call("elasticache", "DeleteCacheSubnetGroup", {"CacheSubnetGroupName": "{id}"}),),
        tag=_ELASTICACHE_TAGS,
    ),
    "aws:elasticache/user:User": Kind(
        id="{userId}",
        outputs=_elasticache("user", "userId"),
        read=Call("elasticache", "DescribeUsers", {"UserId": "{id}"}),
        found="Users[0]",
        as_sent=("accessString",),
        delete=(Call("elasticache", "DeleteUser", {"UserId": "{id}"}),),
        tag=_ELASTICACHE_TAGS,
        name=None,
    ),
    "aws:elasticache/userGroup:UserGroup": Kind(
        id="{userGroupId}", outputs=_elasticache("usergroup", "userGroupId"), name=None
    ),
    "aws:iam/policy:Policy": Kind(
        id="@Policy.Arn",
        outputs={"arn": "{id}"},
        read=Call("iam", "GetPolicy", {"PolicyArn": "{id}"}),
        found="Policy",
        as_sent=("description",),
        tag=Call("iam", "TagPolicy", {"PolicyArn": "{id}", "Tags": "{tag_list}"}),
    ),
    "aws:iam/role:Role": Kind(
        id="{name}",
        outputs={"arn": "arn:aws:iam::{account}:role/{name}"},
        read=Call("iam", "GetRole", {"RoleName": "{id}"}),
        found="Role",
        as_sent=("assumeRolePolicy",),
        changes={
            "assumeRolePolicy": Call(
                "iam", "UpdateAssumeRolePolicy", {"RoleName": "{id}", "PolicyDocument": "{assumeRolePolicy}"}
            )
        },
        delete=(Call("iam", "DeleteRole", {"RoleName": "{id}"}),),
        tag=Call("iam", "TagRole", {"RoleName": "{id}", "Tags": "{tag_list}"}),
    ),
    "aws:iam/rolePolicy:RolePolicy": Kind(
        id="{role}:{name}",
        read=Call("iam", "GetRolePolicy", {"RoleName": "{role}", "PolicyName": "{name}"}),
        as_sent=("policy",),
        delete=(Call("iam", "DeleteRolePolicy", {"RoleName": "{role}", "PolicyName": "{name}"}),),
    ),
    "aws:kms/alias:Alias": Kind(
        id="{name}",
        outputs={"arn": "arn:aws:kms:{region}:{account}:{name}"},
        read=Call("kms", "ListAliases", {}),
        found="Aliases[?AliasName=='{id}'] | [0]",
        as_sent=("targetKeyId",),
        delete=(Call("kms", "DeleteAlias", {"AliasName": "{id}"}),),
    ),
    "aws:kms/key:Key": Kind(
        id="@KeyMetadata.KeyId",
        outputs={"arn": "arn:aws:kms:{region}:{account}:key/{id}", "keyId": "{id}"},
        read=Call("kms", "DescribeKey", {"KeyId": "{id}"}),
        # A deleted key is kept for its window; for us it is gone.
        found="[KeyMetadata][?KeyState!='PendingDeletion'] | [0]",
        as_sent=("description",),
        delete=(
            Call("kms", "ScheduleKeyDeletion", {"KeyId": "{id}", "PendingWindowInDays": "{deletionWindowInDays}"}),
        ),
        tag=Call("kms", "TagResource", {"KeyId": "{id}", "Tags": "{kms_tags}"}),
        name=None,
    ),
    "aws:lambda/function:Function": Kind(
        id="{name}",
        outputs={"arn": "arn:aws:lambda:{region}:{account}:function:{name}"},
        read=Call("lambda", "GetFunctionConfiguration", {"FunctionName": "{id}"}),
        as_sent=("description", "handler", "memorySize", "role", "runtime", "timeout"),
        delete=(Call("lambda", "DeleteFunction", {"FunctionName": "{id}"}),),
        tag=Call("lambda", "TagResource", {"Resource": "{arn}", "Tags": "{tags}"}),
    ),
    "aws:lambda/permission:Permission": Kind(
        id="pulumi",
        read=Call("lambda", "GetPolicy", {"FunctionName": "{function}"}),
        delete=(Call("lambda", "RemovePermission", {"FunctionName": "{function}", "StatementId": "{id}"}),),
        name=None,
    ),
    "aws:s3/bucket:Bucket": Kind(
        id="{bucket}",
        outputs={
            "arn": "arn:aws:s3:::{bucket}",
            "bucketDomainName": "{bucket}.s3.amazonaws.com",
            "bucketRegionalDomainName": "{bucket}.s3.{region}.amazonaws.com",
        },
        read=Call("s3", "HeadBucket", {"Bucket": "{id}"}),
        tag=Call("s3", "PutBucketTagging", {"Bucket": "{id}", "Tagging": {"TagSet": "{tag_list}"}}),
        name="bucket",
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _bucket_setting(
        "GetBucketLifecycleConfiguration", "DeleteBucketLifecycle"
    ),
    "aws:s3/bucketLogging:BucketLogging": _bucket_setting(
        "GetBucketLogging", None, targetBucket="LoggingEnabled.TargetBucket", targetPrefix="LoggingEnabled.TargetPrefix"
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _bucket_setting(
        "GetBucketOwnershipControls", "DeleteBucketOwnershipControls"
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _bucket_setting("GetBucketPolicy", "DeleteBucketPolicy", policy="Policy"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _bucket_setting(
        "GetPublicAccessBlock",
        "DeletePublicAccessBlock",
        **{
            name: f"PublicAccessBlockConfiguration.{name[0].upper()}{name[1:]}"
            for name in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        },
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _bucket_setting(
        "GetBucketEncryption", "DeleteBucketEncryption"
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _bucket_setting("GetBucketVersioning", None),
    "aws:sns/topic:Topic": Kind(
        id="@TopicArn",
        outputs={"arn": "{id}"},
        read=Call("sns", "GetTopicAttributes", {"TopicArn": "{id}"}),
        seen={"kmsMasterKeyId": "Attributes.KmsMasterKeyId"},
        changes={
            "kmsMasterKeyId": Call(
                "sns",
                "SetTopicAttributes",
                {"TopicArn": "{id}", "AttributeName": "KmsMasterKeyId", "AttributeValue": "{kmsMasterKeyId}"},
            )
        },
        delete=(Call("sns", "DeleteTopic", {"TopicArn": "{id}"}),),
        tag=_list_tags("sns", "ResourceArn"),
    ),
    # A topic always has a policy: AWS's own again, once ours is deleted. Here it goes with the topic.
    "aws:sns/topicPolicy:TopicPolicy": Kind(
        id="{arn}",
        read=Call("sns", "GetTopicAttributes", {"TopicArn": "{arn}"}),
        seen={"policy": "Attributes.Policy"},
        name=None,
    ),
    "aws:sns/topicSubscription:TopicSubscription": Kind(
        id="@SubscriptionArn",
        outputs={"arn": "{id}"},
        read=Call("sns", "GetSubscriptionAttributes", {"SubscriptionArn": "{id}"}),
        seen={"endpoint": "Attributes.Endpoint"},
        delete=(Call("sns", "Unsubscribe", {"SubscriptionArn": "{id}"}),),
        name=None,
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": Kind(
        id="@SecurityGroupRules[0].SecurityGroupRuleId",
        outputs={"arn": "arn:aws:ec2:{region}:{account}:security-group-rule/{id}", "securityGroupRuleId": "{id}"},
        read=Call("ec2", "DescribeSecurityGroupRules", {"SecurityGroupRuleIds": ["{id}"]}),
        found="SecurityGroupRules[0]",
        seen={"fromPort": "FromPort", "toPort": "ToPort", "ipProtocol": "IpProtocol"},
        delete=(
            Call(
                "ec2",
                "RevokeSecurityGroupIngress",
                {"GroupId": "{securityGroupId}", "SecurityGroupRuleIds": ["{id}"]},
            ),
        ),
        tag=_EC2_TAGS,
        name=None,
    ),
}
