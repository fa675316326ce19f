"""ElastiCache node types: memory, vCPUs and price, each with its source. Pure data; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# `reserved-memory-percent` is 25 by default, kept for replication and snapshots:
# https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/redis-memory-management.html (read 2026-11).
RESERVED_MEMORY_PERCENT: Final = 25

PRICE_SOURCE: Final = "AWS Price List, us-east-1, on demand, Valkey, read 2026-10-02"


@dataclass(frozen=True, slots=True)
class NodeType:
    """One node type. `maxmemory_bytes` is what the engine gets, `usable_bytes` what data may fill."""

    name: str
    maxmemory_bytes: int
    vcpus: int
    burstable: bool
    usd_per_hour: float

    @property
    def usable_bytes(self) -> int:
        """`maxmemory_bytes` less the reserve, where no stack is known that has one of its own."""
        return self.usable_with(RESERVED_MEMORY_PERCENT)

    def usable_with(self, reserved_percent: int) -> int:
        """The same with another reserve."""
        return self.maxmemory_bytes * (100 - reserved_percent) // 100


# `maxmemory` as in https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/ParameterGroups.Redis.html (read 2026-11).
NODE_TYPES: Final = {
    node.name: node
    for node in (
        NodeType("cache.t4g.medium", 3_317_862_236, vcpus=2, burstable=True, usd_per_hour=0.052),
        NodeType("cache.m6g.large", 6_854_542_746, vcpus=2, burstable=False, usd_per_hour=0.1192),
    )
}
