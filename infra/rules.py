"""Rules between settings: what no single value can tell. Each gives its breaches.

A rule names the settings that it reads; it is skipped while one of them is wrong by itself.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from cache.catalog import CATALOG
from infra import access, metric_math, parameters
from infra.windows import DailyWindow, WeeklyWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from infra.fields import Settings

PRODUCTION: Final = "prod"
# Of one cluster; up to 500 when AWS is asked: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Shards.html
MAX_NODES: Final = 90
# RFC 1918: https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html recommends these.
PRIVATE: Final = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


class Breach(NamedTuple):
    """`path` is a setting, then names and numbers inside it; `value` is what it has, None if it is not set.

    `allowed` is a sentence. `remove` where the way out is to take the setting away.
    """

    path: tuple[str | int, ...]
    value: Any
    allowed: str
    remove: bool = False


if TYPE_CHECKING:
    Rule: TypeAlias = Callable[[Settings, Collection[str]], Iterator[Breach]]


def _nodes(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    if settings.cluster_mode:
        if "cacheNodes" in given:
            yield Breach(
                ("cacheNodes",),
                settings.cache_nodes,
                "with clusterMode true set shards and replicasPerShard instead.",
                remove=True,
            )
        if settings.node.burstable:
            yield Breach(
                ("cacheNodeType",),
                settings.cache_node_type,
                "a burstable type runs out of CPU credits while shards move; use cache.m6g.large with clusterMode.",
            )
        if not settings.automatic_failover:
            yield Breach(("automaticFailover",), False, "ElastiCache demands true with clusterMode.")
        nodes_per_shard = settings.replicas_per_shard + 1
        if settings.shards * nodes_per_shard > MAX_NODES:
            yield Breach(
                ("shards",),
                settings.shards,
                f"a cluster has at most {MAX_NODES} nodes: with replicasPerShard {settings.replicas_per_shard} at most "
                f"{MAX_NODES // nodes_per_shard} shards. Take larger nodes.",
            )
    else:
        for key, value in (("shards", settings.shards), ("replicasPerShard", settings.replicas_per_shard)):
            if key in given:
                yield Breach((key,), value, "it needs clusterMode true; without it set cacheNodes.", remove=True)


def _failover(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    if settings.cluster_mode:
        key, value, needed, nodes = "replicasPerShard", settings.replicas_per_shard, 1, settings.replicas_per_shard + 1
    else:
        key, value, needed, nodes = "cacheNodes", settings.cache_nodes, 2, settings.cache_nodes
    if settings.automatic_failover and nodes < 2:
        yield Breach((key,), value, f"automaticFailover true needs a node to fail over to: at least {needed}.")
    if settings.multi_az and not settings.automatic_failover:
        yield Breach(("multiAz",), True, "it needs automaticFailover true; set both, or neither.")


def _windows(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    if WeeklyWindow.parse(settings.maintenance_window).overlaps(DailyWindow.parse(settings.snapshot_window)):
        yield Breach(
            ("maintenanceWindow",),
            settings.maintenance_window,
            f"it must not overlap snapshotWindow, {settings.snapshot_window} on every day.",
        )


def _parameters(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    for name, value in settings.parameter_overrides.items():
        if problem := parameters.problem(name, value):
            yield Breach(("parameterOverrides", name), value, problem, remove=name not in parameters.MODIFIABLE)


def _network(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    subnets = list(settings.subnet_ids)
    if settings.vpc_id is None:
        if subnets:
            yield Breach(("vpcId",), None, "subnetIds need the VPC that they are in.")
        try:
            cidr = ipaddress.IPv4Network(settings.vpc_cidr)
        except ValueError as error:
            yield Breach(("vpcCidr",), settings.vpc_cidr, f"{error}; it must look like 10.40.0.0/16.")
            return
        if not any(map(cidr.subnet_of, PRIVATE)) or not 16 <= cidr.prefixlen <= 24:
            yield Breach(
                ("vpcCidr",),
                settings.vpc_cidr,
                f"it must be a private IPv4 range from /16 to /24, in {', '.join(map(str, PRIVATE))}.",
            )
        elif str(cidr) != settings.vpc_cidr:
            # Such as 10.40.0.0/255.255.0.0, which Python reads and EC2 does not.
            yield Breach(("vpcCidr",), settings.vpc_cidr, f"write it as {cidr}.")
        return
    if "vpcCidr" in given:
        yield Breach(
            ("vpcCidr",),
            settings.vpc_cidr,
            "the existing VPC of vpcId has its own; remove one of the two.",
            remove=True,
        )
    if (different := len(set(subnets))) < 2:
        yield Breach(
            ("subnetIds", different),
            subnets[different] if different < len(subnets) else None,
            "with vpcId there must be at least two private subnets, in different zones.",
        )


def _access(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    if settings.load_test_user and settings.stack == PRODUCTION:
        yield Breach(
            ("loadTestUser",),
            True,
            f"its FLUSHALL would empty the cache of {PRODUCTION}; use another stack.",
            remove=True,
        )
    for number, pattern in enumerate(settings.extra_key_patterns):
        if not access.is_key_pattern(pattern):
            yield Breach(
                ("extraKeyPatterns", number),
                pattern,
                "a pattern starts with an entity and a colon, such as report:*, and has no spaces.",
            )


def _site(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    if bool(settings.domain_names) != (settings.certificate_arn is not None):
        missing = ("certificateArn",) if settings.domain_names else ("domainNames", 0)
        yield Breach(missing, None, "domainNames and certificateArn (in us-east-1, for these names) come together.")
    if settings.hsts_scope != "host" and not settings.domain_names:
        yield Breach(
            ("hstsScope",), settings.hsts_scope, "it needs domainNames: CloudFront's own is not yours.", remove=True
        )
    if "*" in settings.asset_origins and len(settings.asset_origins) > 1:
        yield Breach(("assetOrigins",), list(settings.asset_origins), "* lets every origin in; list it alone, or not.")


def _floors(settings: Settings, given: Collection[str]) -> Iterator[Breach]:
    del given
    for name, floor in settings.hit_rate_floors.items():
        path = ("hitRateFloors", name)
        if name not in CATALOG.names():
            yield Breach(path, floor, f"the cache types are {', '.join(CATALOG.names())}.", remove=True)
            continue
        target, highest = 100 * CATALOG[name].target_hit_rate, metric_math.highest_floor(CATALOG[name], CATALOG)
        if not 0 < floor < target:
            yield Breach(path, floor, f"it must be a percentage over 0 and under the target, {target:g}.")
        elif floor > highest:
            yield Breach(
                path,
                floor,
                f"at most {highest:g}: an hour by day has too few lookups to tell more from the target, {target:g}, "
                "and the alarm would never look.",
            )


RULES: Final[tuple[tuple[tuple[str, ...], Rule], ...]] = (
    (("clusterMode", "cacheNodeType", "cacheNodes", "shards", "replicasPerShard", "automaticFailover"), _nodes),
    (("clusterMode", "cacheNodes", "replicasPerShard", "automaticFailover", "multiAz"), _failover),
    (("maintenanceWindow", "snapshotWindow"), _windows),
    (("parameterOverrides",), _parameters),
    (("vpcId", "subnetIds", "vpcCidr"), _network),
    (("loadTestUser", "extraKeyPatterns"), _access),
    (("domainNames", "certificateArn", "hstsScope", "assetOrigins"), _site),
    (("hitRateFloors",), _floors),
)
