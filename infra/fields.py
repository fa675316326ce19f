"""What a stack can be set to: one field for each setting, each checked by itself. `rules` checks them together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from cache.nodes import NODE_TYPES, NodeType
from infra import parameters
from infra.naming import Names
from infra.windows import DailyWindow, WeeklyWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cache.catalog import CacheType

STACK_KEY: Final = "pulumi:stack"
# "Drops by more than 10 %", read as points of hit rate below the target.
FLOOR_POINTS: Final = 10


def _identifier(prefix: str) -> Any:
    def check(value: str) -> str:
        if not re.fullmatch(rf"{prefix}-[0-9a-f]{{8,17}}", value):
            raise ValueError(f"it must be an id such as {prefix}-0123456789abcdef0")
        return value

    return AfterValidator(check)


def _known(table: Mapping[str, object]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in table:
            raise ValueError(f"it is unknown; known are {', '.join(table)}")
        return value

    return check


def _window(kind: type[DailyWindow | WeeklyWindow]) -> Any:
    def check(value: str) -> str:
        kind.parse(value)
        return value

    return AfterValidator(check)


class Subscription(BaseModel):
    """Who is told of an alarm. An e-mail address has to confirm once."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    protocol: Literal["email", "https", "sqs", "lambda"]
    endpoint: str = Field(min_length=3)


class Settings(BaseModel):
    """One stack. In configuration the names are camelCase: `cache_node_type` is `cacheNodeType`."""

    model_config = ConfigDict(alias_generator=to_camel, coerce_numbers_to_str=True, extra="forbid", frozen=True)

    # Not to be set: a setting called `stack` is refused as any unknown one.
    stack: str = Field(alias=STACK_KEY)
    region: str = Field(alias="aws:region", pattern=r"^[a-z]{2}(-[a-z]+)+-[1-9]$")
    owner: str = Field(default="devops", min_length=1, max_length=256, description="Tag Owner on every resource.")

    cache_node_type: Annotated[str, AfterValidator(_known(NODE_TYPES))]
    cache_nodes: int = Field(default=2, ge=1, le=6)
    cluster_mode: bool = False
    shards: int = Field(default=1, ge=1, le=90)
    replicas_per_shard: int = Field(default=1, ge=0, le=5)
    engine_version: Annotated[str, AfterValidator(_known(parameters.FAMILIES))] = "9.1"
    automatic_failover: bool = True
    multi_az: bool = True
    apply_immediately: bool = True
    auto_minor_version_upgrade: bool = True
    maintenance_window: Annotated[str, _window(WeeklyWindow)] = "sun:05:00-sun:06:00"
    snapshot_window: Annotated[str, _window(DailyWindow)] = "03:00-04:00"
    snapshot_retention_days: int = Field(default=7, ge=1, le=35)
    parameter_overrides: dict[str, str] = Field(default_factory=dict)
    extra_key_patterns: tuple[str, ...] = ()
    load_test_user: bool = False

    vpc_id: Annotated[str, _identifier("vpc")] | None = None
    subnet_ids: tuple[Annotated[str, _identifier("subnet")], ...] = ()
    vpc_cidr: str = "10.40.0.0/16"
    application_security_group_ids: tuple[Annotated[str, _identifier("sg")], ...] = ()

    domain_names: tuple[str, ...] = ()
    certificate_arn: str | None = Field(default=None, pattern=r"^arn:aws:acm:us-east-1:\d{12}:certificate/.+$")
    web_acl_arn: str | None = Field(default=None, pattern=r"^arn:aws:wafv2:us-east-1:\d{12}:global/webacl/.+$")

    alarm_actions: bool = True
    alarm_subscriptions: tuple[Subscription, ...] = ()
    hit_rate_floors: dict[str, float] = Field(default_factory=dict)
    memory_alarm_percent: float = Field(default=80, gt=0, le=100)
    connections_alarm: int = Field(default=2_000, ge=1, le=65_000)
    log_retention_days: Literal[30, 60, 90, 180, 365, 400, 731] = 365

    protect_data: bool = True

    @property
    def names(self) -> Names:
        return Names(self.stack, self.owner)

    @property
    def node(self) -> NodeType:
        return NODE_TYPES[self.cache_node_type]

    @property
    def parameter_family(self) -> str:
        return parameters.FAMILIES[self.engine_version]

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The cache cluster ids that ElastiCache gives the nodes; alarms are per node."""
        group = self.names.replication_group
        if not self.cluster_mode:
            return tuple(f"{group}-{node:03d}" for node in range(1, self.cache_nodes + 1))
        return tuple(
            f"{group}-{shard:04d}-{node:03d}"
            for shard in range(1, self.shards + 1)
            for node in range(1, self.replicas_per_shard + 2)
        )

    def floor_percent(self, cache_type: CacheType) -> float:
        """The hit rate below which the floor alarm rings: the stack's own, else 10 points under the target."""
        return self.hit_rate_floors.get(cache_type.name, 100 * cache_type.target_hit_rate - FLOOR_POINTS)
