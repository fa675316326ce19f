"""What a stack can be set to: one field for each setting, each checked by itself. `rules` checks them together."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import botocore.session
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from cache.nodes import NODE_TYPES, RESERVED_MEMORY_PERCENT, NodeType
from infra import parameters
from infra.naming import Names
from infra.stack_file import PLACEHOLDER
from infra.windows import DailyWindow, WeeklyWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from cache.catalog import CacheType

STACK_KEY: Final = "pulumi:stack"
# "Drops by more than 10 %", read as points of hit rate below the target.
FLOOR_POINTS: Final = 10
# Those of a month and more that CloudWatch's log groups take.
_RETENTION_DAYS: Final = (30, 60, 90, 180, 365, 400, 731)

T = TypeVar("T", str, int)


def _matching(pattern: str, example: str) -> Any:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"it must look like {example}")
        return value

    return AfterValidator(check)


def _identifier(prefix: str) -> Any:
    return _matching(rf"{prefix}-[0-9a-f]{{8,17}}", f"{prefix}-0123456789abcdef0")


_HOST_NAME: Final = r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]"
_HOST: Final = _matching(_HOST_NAME, "static.example.com")
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/understanding-response-headers-policies.html
_ORIGIN: Final = _matching(
    rf"\*|https://(\*\.)?{_HOST_NAME}(:\d{{1,5}})?", "https://app.example.com or https://*.example.com, or be * alone"
)
# CloudFront takes both from us-east-1 alone.
_CERTIFICATE: Final = _matching(
    r"arn:aws:acm:us-east-1:\d{12}:certificate/[\w-]+",
    "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012",
)
_WEB_ACL: Final = _matching(
    r"arn:aws:wafv2:us-east-1:\d{12}:global/webacl/[\w-]+/[\w-]+",
    "arn:aws:wafv2:us-east-1:123456789012:global/webacl/name/12345678-1234-1234-1234-123456789012",
)


def _known(table: Collection[T]) -> Callable[[T], T]:
    def check(value: T) -> T:
        if value not in table:
            raise ValueError(f"it is unknown; known are {', '.join(map(str, table))}")
        return value

    return check


def _window(kind: type[DailyWindow | WeeklyWindow]) -> Any:
    def check(value: str) -> str:
        kind.parse(value)
        return value

    return AfterValidator(check)


def _different(subscriptions: dict[str, Subscription]) -> dict[str, Subscription]:
    """SNS knows a subscription by its protocol and endpoint: under two names one would go with the other."""
    named: dict[tuple[str, str], str] = {}
    for name, told in subscriptions.items():
        first = named.setdefault((told.protocol, told.endpoint), name)
        if first != name and told.endpoint != PLACEHOLDER:
            raise ValueError(f"{first} and {name} are the same protocol and endpoint")
    return subscriptions


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"it lists {', '.join(twice)} twice")
    return values


@functools.cache
def _regions(partition: str) -> frozenset[str]:
    """The regions with ElastiCache, as far as the installed botocore knows. No request is made."""
    return frozenset(botocore.session.get_session().get_available_regions("elasticache", partition))


def _region(value: str) -> str:
    known = _regions("aws")
    if value in known:
        return value
    for partition in botocore.session.get_session().get_available_partitions():
        if value in _regions(partition):
            raise ValueError(
                f"it is in the partition {partition}; this stack is for regions of aws, where its CloudFront, "
                f"certificates and metrics are: {', '.join(sorted(known))}"
            )
    raise ValueError(
        f"botocore knows no ElastiCache there. Known: {', '.join(sorted(known))}; "
        "for a newer one: uv lock --upgrade-package botocore"
    )


def _tag(value: str) -> str:
    """https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html: what every service takes."""
    if refused := sorted({c for c in value if unicodedata.category(c)[0] not in "LNZ" and c not in "_.:/=+-@"}):
        raise ValueError(f"a tag has letters, digits, spaces and _ . : / = + - @, but not {' '.join(refused)}")
    return value


# What each protocol sends to, and an example.
_ENDPOINTS: Final = {
    "email": (r"[^@\s]+@[^@\s]+\.[^@\s.]+", "ops@example.com"),
    "https": (r"https://[^/\s]+(/\S*)?", "https://example.com/alarms"),
    "sqs": (r"arn:aws:sqs:[a-z0-9-]+:\d{12}:[\w.-]+", "arn:aws:sqs:us-east-1:123456789012:alarms"),
    "lambda": (
        r"arn:aws:lambda:[a-z0-9-]+:\d{12}:function:[\w:$-]+",
        "arn:aws:lambda:us-east-1:123456789012:function:alarms",
    ),
}


class Subscription(BaseModel):
    """Who is told of an alarm. An e-mail address has to confirm once."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    protocol: Literal["email", "https", "sqs", "lambda"]
    # A web address may hold a password.
    endpoint: str = Field(repr=False)

    @field_validator("endpoint")
    @classmethod
    def _fits_protocol(cls, endpoint: str, info: ValidationInfo) -> str:
        protocol = info.data.get("protocol")  # missing where it is wrong by itself
        if protocol and endpoint != PLACEHOLDER:
            pattern, example = _ENDPOINTS[protocol]
            if not re.fullmatch(pattern, endpoint):
                raise ValueError(f"with protocol {protocol} it must look like {example}")
        return endpoint


class Settings(BaseModel):
    """One stack. In configuration the names are camelCase: `cache_node_type` is `cacheNodeType`."""

    model_config = ConfigDict(alias_generator=to_camel, coerce_numbers_to_str=True, extra="forbid", frozen=True)

    # Not to be set: a setting called `stack` is refused as any unknown one.
    stack: str = Field(alias=STACK_KEY)
    region: Annotated[str, AfterValidator(_region)] = Field(alias="aws:region")
    owner: Annotated[str, AfterValidator(_tag)] = Field(default="devops", min_length=1, max_length=256)

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
    application_security_group_ids: Annotated[
        tuple[Annotated[str, _identifier("sg")], ...], AfterValidator(_distinct)
    ] = ()

    domain_names: Annotated[tuple[Annotated[str, _HOST], ...], AfterValidator(_distinct)] = ()
    certificate_arn: Annotated[str, _CERTIFICATE] | None = None
    web_acl_arn: Annotated[str, _WEB_ACL] | None = None
    hsts_scope: Literal["host", "subdomains", "preload"] = "host"
    asset_origins: Annotated[tuple[Annotated[str, _ORIGIN], ...], AfterValidator(_distinct)] = ()

    alarm_actions: bool = True
    alarm_subscriptions: Annotated[dict[str, Subscription], AfterValidator(_different)] = Field(default_factory=dict)
    hit_rate_floors: dict[str, float] = Field(default_factory=dict)
    # Alarms ring above these. At the most that there can be, 65,000 connections a node, they never would.
    memory_alarm_percent: float = Field(default=80, gt=0, lt=100)
    connections_alarm: int = Field(default=2_000, ge=1, lt=65_000)
    # Not a Literal, to which pydantic converts nothing: from Pulumi each value comes as a string.
    log_retention_days: Annotated[int, AfterValidator(_known(_RETENTION_DAYS))] = 365

    protect_data: bool = True

    @property
    def names(self) -> Names:
        return Names(self.stack, self.owner)

    @property
    def node(self) -> NodeType:
        return NODE_TYPES[self.cache_node_type]

    def usable_bytes(self, node: NodeType) -> int:
        """What data may fill of a node of this type with the stack's own reserve."""
        return node.usable_with(int(self.parameter_overrides.get("reserved-memory-percent", RESERVED_MEMORY_PERCENT)))

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
