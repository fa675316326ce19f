"""Is the larger node needed, does the data fit, and did the change work? Changes nothing itself: names the commands.

Reads the last two weeks of the nodes' metrics. The larger type is needed when data nears what the node may hold, when
the CPU is busy by day, or when CPU credits run down. Where no larger type would help, more shards do: a busy engine's
thread, data that fits none, or no larger type known. --verify looks at the replication group after `pulumi up`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cache.nodes import NODE_TYPES
from infra import baseline_function
from infra.alarms import CPU_PERCENT_OF_ONE_VCPU, CREDITS_LEFT, ENGINE_CPU_PERCENT
from loadtest import terminal
from scripts import common

if TYPE_CHECKING:
    import argparse

    from cache.nodes import NodeType
    from infra.settings import Settings

_EXIT_CODES: Final = """exit codes: 0 no change is needed, or the change is verified; 1 an error; 2 wrong usage;
3 a larger node or more shards are needed, or the change is not (yet) what the settings say;
4 the data fits no larger node: more shards are needed"""
_DAYS: Final = 14
# Two thirds of the level at which the alarm rings: time to act before it does.
_EARLY: Final = 2 / 3
# What data may fill of the usable memory after the change, so that the next one is not due at once.
_FILLED: Final = 0.8
_SHARDS: Final = "more shards do: see Further in docs/scale-up.md"


@dataclass(frozen=True)
class Load:
    """The busiest of a group's nodes over two weeks; None where nothing was measured.

    CPU in percent as the 95th percentile of hours, memory in bytes at most, credits at least.
    """

    cpu: float | None
    engine_cpu: float | None
    memory_bytes: float | None
    credits_left: float | None


@dataclass(frozen=True)
class Advice:
    """What the load says. `target` is the node type to go to, None to stay.

    Without `reasons` nothing has to change; with reasons and no target only more shards help.
    """

    node_type: str
    target: str | None
    fits: bool
    reasons: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        if not self.reasons:
            return 0
        return 3 if self.fits else 4


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return common.guarded("scale_up", lambda: _verify(options) if options.verify else _advise(options))


def measure(cloudwatch: Any, settings: Settings, *, now: datetime) -> Load:
    """The load of the stack's nodes."""
    cpu = _by_hour(cloudwatch, settings, "CPUUtilization", "Average", now, host=True)
    engine = _by_hour(cloudwatch, settings, "EngineCPUUtilization", "Average", now)
    memory = _by_hour(cloudwatch, settings, "BytesUsedForCache", "Maximum", now)
    left = (
        _by_hour(cloudwatch, settings, "CPUCreditBalance", "Minimum", now, host=True) if settings.node.burstable else []
    )
    return Load(
        cpu=max(map(_high, cpu), default=None),
        engine_cpu=max(map(_high, engine), default=None),
        memory_bytes=max(map(max, memory), default=None),
        credits_left=min(map(min, left), default=None),
    )


def advise(settings: Settings, load: Load, target: NodeType) -> Advice:
    """Whether `target`, the stack's own type if none is larger, is needed for this load, and fits. Pure."""
    node = settings.node
    usable = settings.usable_bytes(node)
    reasons: list[str] = []
    if load.memory_bytes is not None and load.memory_bytes > _FILLED * usable:
        reasons.append(
            f"data takes {load.memory_bytes / 1e6:,.0f} MB of the {usable / 1e6:,.0f} MB that {node.name} can use"
        )
    busy = CPU_PERCENT_OF_ONE_VCPU / node.vcpus * _EARLY
    if load.cpu is not None and load.cpu > busy:
        reasons.append(f"CPU is at {load.cpu:.0f} % in busy hours, over {busy:.0f} %")
    if load.credits_left is not None and load.credits_left < 2 * CREDITS_LEFT:
        reasons.append(f"CPU credits fell to {load.credits_left:.0f}, under {2 * CREDITS_LEFT}")
    needed = load.memory_bytes or 0
    fits = needed <= _FILLED * settings.usable_bytes(target)
    go = bool(reasons) and target.name != node.name
    commands = (
        f"pulumi config set cacheNodeType {target.name} --stack {settings.stack}",
        f"pulumi preview --stack {settings.stack} --diff",
        f"pulumi up --stack {settings.stack}",
        f"python -m scripts.scale_up --stack {settings.stack} --verify",
    )
    if load.engine_cpu is not None and load.engine_cpu > ENGINE_CPU_PERCENT * _EARLY:
        reasons.append(f"the engine's thread is at {load.engine_cpu:.0f} %: a larger node does not help it, {_SHARDS}")
    return Advice(node.name, target.name if go else None, fits, tuple(reasons), commands if go and fits else ())


def verify(elasticache: Any, settings: Settings) -> list[str]:
    """What is not yet as the settings say, one sentence each; empty when the change is done."""
    group_id = settings.names.replication_group
    found = elasticache.describe_replication_groups(ReplicationGroupId=group_id)["ReplicationGroups"][0]
    problems = []
    if found["Status"] != "available":
        problems.append(f"{group_id} is {found['Status']}; wait until it is available (about 20 minutes).")
    if found["CacheNodeType"] != settings.node.name:
        problems.append(
            f"{group_id} has nodes of {found['CacheNodeType']}, the settings say {settings.node.name}: `pulumi up`."
        )
    pending = found.get("PendingModifiedValues") or {}
    if pending:
        problems.append(f"{group_id} has changes waiting: {', '.join(pending)}; see applyImmediately.")
    members = {member for group in found.get("NodeGroups", []) for member in _members(group)}
    expected = set(settings.node_ids)
    if lost := sorted(expected - members):
        problems.append(f"{group_id} lacks {', '.join(lost)}.")
    if extra := sorted(members - expected):
        problems.append(
            f"{group_id} has {', '.join(extra)}, which no alarm watches: see Fewer nodes in docs/scale-up.md."
        )
    return problems


def _members(group: dict[str, Any]) -> list[str]:
    return [member["CacheClusterId"] for member in group.get("NodeGroupMembers", [])]


def _by_hour(
    cloudwatch: Any, settings: Settings, name: str, stat: str, now: datetime, *, host: bool = False
) -> list[list[float]]:
    """The hours of each node that has any."""
    node_dimension = [{"Name": "CacheNodeId", "Value": "0001"}] if host else []
    metrics = [
        {
            "Namespace": "AWS/ElastiCache",
            "MetricName": name,
            "Dimensions": [{"Name": "CacheClusterId", "Value": node}, *node_dimension],
        }
        for node in settings.node_ids
    ]
    hours = baseline_function.series(cloudwatch, metrics, stat, now - timedelta(days=_DAYS), now)
    return [values for values in hours if values]


def _high(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def _advise(options: argparse.Namespace) -> int:
    settings = common.stack_settings(options.stack)
    target = _target(settings, options.to)
    load = measure(common.aws("cloudwatch", settings.region), settings, now=datetime.now(UTC))
    if load.memory_bytes is None:
        raise common.ScriptError(
            f"no metrics of {', '.join(settings.node_ids)} in {settings.region} in {_DAYS} days; is the stack up? "
            "--verify looks at its nodes."
        )
    advice = advise(settings, load, target)
    if options.json:
        print(json.dumps({"load": asdict(load), "advice": asdict(advice)}, indent=2))
    else:
        _print(settings, load, advice, target.name)
    return advice.exit_code


def _target(settings: Settings, name: str | None) -> NodeType:
    """The node type to judge: of the larger ones, or the stack's own where none is larger."""
    own = settings.node
    allowed = {n.name: n for n in NODE_TYPES.values() if n.maxmemory_bytes > own.maxmemory_bytes} or {own.name: own}
    if name is None:
        return max(allowed.values(), key=lambda node: node.maxmemory_bytes)
    if name not in allowed:
        raise common.UsageError(f"--to {name} is no growth for {own.name}; allowed: {', '.join(allowed)}.")
    return allowed[name]


def _print(settings: Settings, load: Load, advice: Advice, to: str) -> None:
    console = terminal.console()
    usable = settings.usable_bytes(settings.node)
    shown = {
        "data at most": f"{(load.memory_bytes or 0) / 1e6:,.0f} MB, {usable / 1e6:,.0f} MB usable",
        "CPU in busy hours": "–" if load.cpu is None else f"{load.cpu:.0f} %",
        "engine CPU": "–" if load.engine_cpu is None else f"{load.engine_cpu:.0f} %",
        "CPU credits at least": "–" if load.credits_left is None else f"{load.credits_left:.0f}",
    }
    console.print(f"Stack {settings.stack}, {settings.node.name}, the last {_DAYS} days")
    for name, value in shown.items():
        console.print(f"  {name:<22}{value}")
    for reason in advice.reasons:
        console.print(f"- {reason}")
    if not advice.reasons:
        console.print(f"{settings.node.name} is enough.")
    elif not advice.fits:
        console.print(f"[bold red]The data would fill {to} by more than {_FILLED:.0%}[/bold red]; {_SHARDS}.")
    elif to == settings.node.name:
        console.print(f"No type larger than {to} is known; {_SHARDS}.")
    elif advice.target is None:
        console.print(f"{to} would not help.")
    else:
        console.print(f"{to} is needed, and the data fits:")
        for command in advice.commands:
            console.print(f"  {command}", soft_wrap=True)


def _verify(options: argparse.Namespace) -> int:
    settings = common.stack_settings(options.stack)
    problems = verify(common.aws("elasticache", settings.region), settings)
    if options.json:
        print(json.dumps({"verified": not problems, "problems": problems}, indent=2))
    else:
        print(
            "\n".join(problems)
            or f"{settings.names.replication_group} has nodes of {settings.node.name}, and is available."
        )
    return 3 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("scale_up", __doc__, _EXIT_CODES)
    parser.add_argument("--stack", required=True, help="a stack with a Pulumi.<stack>.yaml, such as prod")
    parser.add_argument("--to", choices=NODE_TYPES, help="the node type to judge (default: the largest)")
    parser.add_argument("--verify", action="store_true", help="after `pulumi up`: is the group what the settings say?")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    return parser


if __name__ == "__main__":
    sys.exit(main())
