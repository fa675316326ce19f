"""Rules between settings: what no single value can tell. Each gives (key, value, what is allowed) for each breach.

A rule names the settings that it reads; it is skipped while one of them is wrong by itself.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cache.catalog import CATALOG
from infra import access, parameters
from infra.windows import DailyWindow, WeeklyWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from infra.fields import Settings

    Breach: TypeAlias = tuple[str, Any, str]
    Rule: TypeAlias = Callable[[Settings, Collection[str]], Iterator[Breach]]

PRODUCTION: Final = "prod"


def _nodes(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    if settings.cluster_mode:
        if "cacheNodes" in given:
            yield "cacheNodes", settings.cache_nodes, "with clusterMode true set shards and replicasPerShard instead."
        if settings.node.burstable:
            yield (
                "cacheNodeType",
                settings.cache_node_type,
                "a burstable type runs out of CPU credits while shards move; use cache.m6g.large with clusterMode.",
            )
        if not settings.automatic_failover:
            yield "automaticFailover", False, "ElastiCache demands true with clusterMode."
    else:
        for key, value in (("shards", settings.shards), ("replicasPerShard", settings.replicas_per_shard)):
            if key in given:
                yield key, value, "it needs clusterMode true; without it set cacheNodes."


def _failover(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    if settings.cluster_mode:
        key, value, needed, nodes = "replicasPerShard", settings.replicas_per_shard, 1, settings.replicas_per_shard + 1
    else:
        key, value, needed, nodes = "cacheNodes", settings.cache_nodes, 2, settings.cache_nodes
    if settings.automatic_failover and nodes < 2:
        yield key, value, f"automaticFailover true needs a node to fail over to: at least {needed}."
    if settings.multi_az and not settings.automatic_failover:
        yield "multiAz", True, "it needs automaticFailover true; set both, or neither."


def _windows(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    if WeeklyWindow.parse(settings.maintenance_window).overlaps(DailyWindow.parse(settings.snapshot_window)):
        yield (
            "maintenanceWindow",
            settings.maintenance_window,
            f"it must not overlap snapshotWindow, {settings.snapshot_window} on every day.",
        )


def _parameters(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    for problem in parameters.problems(settings.parameter_overrides):
        yield "parameterOverrides", dict(settings.parameter_overrides), problem


def _network(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    if settings.vpc_id is None:
        if settings.subnet_ids:
            yield "subnetIds", list(settings.subnet_ids), "they need vpcId, the VPC that they are in."
        try:
            cidr = ipaddress.ip_network(settings.vpc_cidr)
        except ValueError as error:
            yield "vpcCidr", settings.vpc_cidr, f"{error}; it must look like 10.40.0.0/16."
            return
        if cidr.version != 4 or not cidr.is_private or not 16 <= cidr.prefixlen <= 24:
            yield "vpcCidr", settings.vpc_cidr, "it must be a private IPv4 range from /16 to /24."
        return
    if "vpcCidr" in given:
        yield "vpcCidr", settings.vpc_cidr, "the existing VPC of vpcId has its own; remove one of the two."
    if len(set(settings.subnet_ids)) < 2:
        yield (
            "subnetIds",
            list(settings.subnet_ids),
            "with vpcId it must list at least two private subnets, in different zones.",
        )


def _access(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    if settings.load_test_user and settings.stack == PRODUCTION:
        yield "loadTestUser", True, f"its FLUSHALL would empty the cache of {PRODUCTION}; use another stack."
    for pattern in settings.extra_key_patterns:
        if not access.is_key_pattern(pattern):
            yield (
                "extraKeyPatterns",
                pattern,
                "a pattern starts with an entity and a colon, such as report:*, and has no spaces.",
            )


def _site(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    if bool(settings.domain_names) != (settings.certificate_arn is not None):
        yield (
            "domainNames",
            list(settings.domain_names),
            "domainNames and certificateArn (in us-east-1, for these names) come together.",
        )


def _floors(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    for name, floor in settings.hit_rate_floors.items():
        if name not in CATALOG.names():
            yield f"hitRateFloors.{name}", floor, f"the cache types are {', '.join(CATALOG.names())}."
        elif not 0 < floor < 100 * CATALOG[name].target_hit_rate:
            target = 100 * CATALOG[name].target_hit_rate
            yield f"hitRateFloors.{name}", floor, f"it must be a percentage over 0 and under the target, {target:g}."


RULES: Final[tuple[tuple[tuple[str, ...], Rule], ...]] = (
    (("clusterMode", "cacheNodeType", "cacheNodes", "shards", "replicasPerShard", "automaticFailover"), _nodes),
    (("clusterMode", "cacheNodes", "replicasPerShard", "automaticFailover", "multiAz"), _failover),
    (("maintenanceWindow", "snapshotWindow"), _windows),
    (("parameterOverrides",), _parameters),
    (("vpcId", "subnetIds", "vpcCidr"), _network),
    (("loadTestUser", "extraKeyPatterns"), _access),
    (("domainNames", "certificateArn"), _site),
    (("hitRateFloors",), _floors),
)
