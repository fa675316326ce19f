"""Where the cache lives: an existing VPC, or one made for it; and who reaches it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
from pulumi_aws import cloudwatch, ec2, get_availability_zones_output, iam, vpc

from infra.statements import assumed_by
from infra.valkey import PORT

if TYPE_CHECKING:
    from infra.settings import Settings

_ZONES = 2
# 123 usable addresses a subnet. The largest cluster has 90 nodes, of which up to 60 lie in one zone (three a shard);
# while their type changes, the new ones stand beside the old.
_SUBNET_PREFIX = 25
# It has neither node type (`aws ec2 describe-instance-type-offerings`, and ElastiCache's refusal in
# https://github.com/winglang/wing/issues/4126); which letter it has differs from account to account.
_ZONES_WITHOUT_NODES = ["use1-az3"]


@dataclass(frozen=True)
class NetworkArgs:
    settings: Settings
    account_id: pulumi.Input[str]
    log_key_arn: pulumi.Input[str]


class Network(pulumi.ComponentResource):
    """`vpc_id`, `subnet_ids` and the cache's own security group, open to the application's groups alone."""

    vpc_id: pulumi.Output[str]
    subnet_ids: list[pulumi.Output[str]]
    cache_security_group_id: pulumi.Output[str]

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("roleferry:network:Network", name, None, opts)
        settings, names = args.settings, args.settings.names
        child = pulumi.ResourceOptions(parent=self)
        if settings.vpc_id is None:
            self._make_vpc(name, args, child)
        else:
            self.vpc_id = pulumi.Output.from_input(settings.vpc_id)
            self.subnet_ids = [pulumi.Output.from_input(subnet) for subnet in settings.subnet_ids]
        group = ec2.SecurityGroup(
            f"{name}-cache",
            name=names.of("cache"),
            description=f"The cache of {names.stack}: in from the application, nothing out",
            vpc_id=self.vpc_id,
            # Connections that come in are answered without an egress rule.
            tags=names.tags("cache"),
            # In another VPC it is another group, and this one cannot go while the cache is in it.
            opts=pulumi.ResourceOptions(parent=self, protect=settings.protect_data),
        )
        for source in settings.application_security_group_ids:
            vpc.SecurityGroupIngressRule(
                f"{name}-from-{source}",
                security_group_id=group.id,
                referenced_security_group_id=source,
                ip_protocol="tcp",
                from_port=PORT,
                to_port=PORT,
                description="The application",
                tags=names.tags("cache"),
                opts=child,
            )
        self.cache_security_group_id = group.id
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "subnet_ids": self.subnet_ids,
                "cache_security_group_id": self.cache_security_group_id,
            }
        )

    def _make_vpc(self, name: str, args: NetworkArgs, child: pulumi.ResourceOptions) -> None:
        settings, names = args.settings, args.settings.names
        made = ec2.Vpc(
            name,
            cidr_block=settings.vpc_cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=names.tags("vpc"),
            # A VPC with another range is another VPC, and a cache cannot move: the update would fail half-way.
            opts=pulumi.ResourceOptions(parent=self, protect=settings.protect_data),
        )
        zones = get_availability_zones_output(
            state="available",
            exclude_zone_ids=_ZONES_WITHOUT_NODES,
            # Local zones, which have to be opted in to, have no ElastiCache nodes.
            filters=[{"name": "opt-in-status", "values": ["opt-in-not-required"]}],
        )
        ranges = ipaddress.ip_network(settings.vpc_cidr).subnets(new_prefix=_SUBNET_PREFIX)
        self.vpc_id = made.id
        self.subnet_ids = [
            ec2.Subnet(
                f"{name}-{index}",
                vpc_id=made.id,
                cidr_block=str(cidr),
                availability_zone=zones.names[index],
                map_public_ip_on_launch=False,
                tags=names.tags(f"private-{index}"),
                # A zone that is away or new moves the others up in the list, and no subnet with it.
                opts=pulumi.ResourceOptions(parent=self, ignore_changes=["availabilityZone"]),
            ).id
            for index, cidr in zip(range(_ZONES), ranges, strict=False)
        ]
        # Without rules of ours the default group lets everything in it talk to everything.
        ec2.DefaultSecurityGroup(
            f"{name}-default", vpc_id=made.id, tags=names.tags("default-unused"), ingress=[], egress=[], opts=child
        )
        self._log_flows(name, args, child)

    def _log_flows(self, name: str, args: NetworkArgs, child: pulumi.ResourceOptions) -> None:
        names = args.settings.names
        group = cloudwatch.LogGroup(
            f"{name}-flow",
            name=f"/aws/vpc/{names.of('flow')}",
            kms_key_id=args.log_key_arn,
            retention_in_days=args.settings.log_retention_days,
            tags=names.tags("flow"),
            opts=child,
        )
        role = iam.Role(
            f"{name}-flow",
            name=names.of("flow"),
            assume_role_policy=pulumi.Output.json_dumps(
                assumed_by("vpc-flow-logs.amazonaws.com", account_id=args.account_id)
            ),
            tags=names.tags("flow"),
            opts=child,
        )
        policy = iam.RolePolicy(
            f"{name}-flow",
            name=names.of("flow"),
            role=role.name,
            policy=pulumi.Output.json_dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Action": ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
                            "Resource": pulumi.Output.format("{0}:*", group.arn),
                        },
                        # The service lists groups, which cannot be limited to one.
                        # https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
                        {"Effect": "Allow", "Action": "logs:DescribeLogGroups", "Resource": "*"},
                    ],
                }
            ),
            opts=child,
        )
        ec2.FlowLog(
            f"{name}-flow",
            vpc_id=self.vpc_id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            tags=names.tags("flow"),
            # A log that starts without the permission has an error, and loses what flows until it tries again.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
