"""The cache itself: a Valkey replication group, its parameters, users and logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pulumi
from pulumi_aws import cloudwatch, elasticache

from cache.access import KEY_PATTERNS
from infra import access, parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.settings import Settings

ENGINE: Final = "valkey"
PORT: Final = 6379


@dataclass(frozen=True)
class ValkeyArgs:
    settings: Settings
    subnet_ids: Sequence[pulumi.Input[str]]
    security_group_id: pulumi.Input[str]
    data_key_arn: pulumi.Input[str]
    log_key_arn: pulumi.Input[str]


class Valkey(pulumi.ComponentResource):
    """A replication group with TLS and users that sign in by IAM.

    `primary_endpoint` is the configuration endpoint in cluster mode; `reader_endpoint` is then empty, as the client
    finds the nodes by itself. There is no user `default` in the group, which with the engine Valkey means that
    nobody gets in without a name.
    """

    primary_endpoint: pulumi.Output[str]
    reader_endpoint: pulumi.Output[str]
    port: pulumi.Output[int]
    replication_group_id: pulumi.Output[str]
    replication_group_arn: pulumi.Output[str]
    app_user_name: str
    operator_user_name: str
    load_test_user_name: str
    user_arns: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: ValkeyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("roleferry:cache:Valkey", name, None, opts)
        settings, names = args.settings, args.settings.names
        child = pulumi.ResourceOptions(parent=self)
        subnets = elasticache.SubnetGroup(
            name,
            name=names.of("cache"),
            description=f"Private subnets of the cache of {names.stack}",
            subnet_ids=args.subnet_ids,
            tags=names.tags("cache"),
            opts=child,
        )
        # The family is in the name: a group of another family is made beside the old one and then swapped in.
        suffix = f"{settings.parameter_family}{'-cluster' if settings.cluster_mode else ''}"
        group = elasticache.ParameterGroup(
            name,
            name=names.of(suffix),
            family=settings.parameter_family,
            description=f"The cache of {names.stack}",
            parameters=[
                elasticache.ParameterGroupParameterArgs(name=key, value=value)
                for key, value in parameters.parameters(
                    cluster_mode=settings.cluster_mode, overrides=settings.parameter_overrides
                ).items()
            ],
            tags=names.tags("cache"),
            # The provider would delete first what has a name of ours, and ElastiCache keeps a group that is in use.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=False),
        )
        users = self._users(name, settings, child)
        logs = [self._log(name, kind, args, child) for kind in ("slow-log", "engine-log")]
        size: dict[str, Any] = (
            {"num_node_groups": settings.shards, "replicas_per_node_group": settings.replicas_per_shard}
            if settings.cluster_mode
            else {"num_cache_clusters": settings.cache_nodes}
        )
        cache = elasticache.ReplicationGroup(
            name,
            replication_group_id=names.replication_group,
            description=f"RoleFerry's cache, stack {names.stack}",
            engine=ENGINE,
            engine_version=settings.engine_version,
            node_type=settings.cache_node_type,
            port=PORT,
            automatic_failover_enabled=settings.automatic_failover,
            multi_az_enabled=settings.multi_az,
            apply_immediately=settings.apply_immediately,
            auto_minor_version_upgrade=settings.auto_minor_version_upgrade,
            at_rest_encryption_enabled=True,
            kms_key_id=args.data_key_arn,
            transit_encryption_enabled=True,
            transit_encryption_mode="required",
            subnet_group_name=subnets.name,
            security_group_ids=[args.security_group_id],
            parameter_group_name=group.name,
            user_group_ids=[users.user_group_id],
            log_delivery_configurations=logs,
            maintenance_window=settings.maintenance_window,
            snapshot_window=settings.snapshot_window,
            snapshot_retention_limit=settings.snapshot_retention_days,
            tags=names.tags("cache"),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=settings.protect_data,
                # ElastiCache gives no group shards in one step. The new one has the same id, so the old one goes first.
                replacement_trigger=settings.cluster_mode,
                delete_before_replace=True,
            ),
            **size,
        )
        if settings.cluster_mode:
            self.primary_endpoint = cache.configuration_endpoint_address
            self.reader_endpoint = pulumi.Output.from_input("")
        else:
            self.primary_endpoint = cache.primary_endpoint_address
            self.reader_endpoint = cache.reader_endpoint_address
        # As made, not as asked for: on one machine every group has a port of its own.
        self.port = cache.port.apply(lambda port: int(port or PORT))
        self.replication_group_id = cache.replication_group_id
        self.replication_group_arn = cache.arn
        self.register_outputs(
            {
                "primary_endpoint": self.primary_endpoint,
                "reader_endpoint": self.reader_endpoint,
                "port": self.port,
                "replication_group_id": self.replication_group_id,
            }
        )

    def _users(self, name: str, settings: Settings, child: pulumi.ResourceOptions) -> elasticache.UserGroup:
        names = settings.names
        self.app_user_name, self.operator_user_name = names.of("app"), names.of("operator")
        self.load_test_user_name = names.of("loadtest") if settings.load_test_user else ""
        rules = {
            self.app_user_name: access.access_string(
                access.APPLICATION_COMMANDS, (*KEY_PATTERNS, *settings.extra_key_patterns)
            ),
            self.operator_user_name: access.OPERATOR_RULES,
        }
        if self.load_test_user_name:
            rules[self.load_test_user_name] = access.access_string(access.LOAD_TEST_COMMANDS, ("*",))
        users = {
            user: elasticache.User(
                user,
                # IAM authentication wants the two alike.
                user_id=user,
                user_name=user,
                engine=ENGINE,
                access_string=rule,
                authentication_mode=elasticache.UserAuthenticationModeArgs(type="iam"),
                tags=names.tags("cache"),
                opts=child,
            )
            for user, rule in rules.items()
        }
        self.user_arns = {user: made.arn for user, made in users.items()}
        return elasticache.UserGroup(
            name,
            user_group_id=names.of("users"),
            engine=ENGINE,
            user_ids=[user.user_id for user in users.values()],
            tags=names.tags("cache"),
            opts=child,
        )

    def _log(
        self, name: str, kind: str, args: ValkeyArgs, child: pulumi.ResourceOptions
    ) -> elasticache.ReplicationGroupLogDeliveryConfigurationArgs:
        names = args.settings.names
        group = cloudwatch.LogGroup(
            f"{name}-{kind}",
            name=f"/aws/elasticache/{names.replication_group}/{kind}",
            kms_key_id=args.log_key_arn,
            retention_in_days=args.settings.log_retention_days,
            tags=names.tags(kind),
            opts=child,
        )
        return elasticache.ReplicationGroupLogDeliveryConfigurationArgs(
            destination=group.name, destination_type="cloudwatch-logs", log_format="json", log_type=kind
        )
