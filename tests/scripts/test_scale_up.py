from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cache.nodes import NODE_TYPES
from scripts import common, scale_up
from scripts.scale_up import Load
from tests.aws import stubbed, with_keys

MEDIUM, LARGE = NODE_TYPES["cache.t4g.medium"], NODE_TYPES["cache.m6g.large"]
CALM = Load(cpu=10, engine_cpu=5, memory_bytes=68e6, credits_left=576)


@pytest.mark.parametrize(
    ("load", "target", "fits"),
    [
        (CALM, None, True),
        (Load(40, 5, 68e6, 576), LARGE.name, True),
        (Load(10, 5, 0.81 * MEDIUM.usable_bytes, 576), LARGE.name, True),
        (Load(10, 5, 0.79 * MEDIUM.usable_bytes, 576), None, True),
        (Load(10, 5, 0.9 * LARGE.usable_bytes, 576), LARGE.name, False),
        (Load(10, 5, 68e6, 200), LARGE.name, True),
        # More shards help the engine's thread, a larger node does not.
        (Load(10, 80, 68e6, 576), None, True),
        (Load(None, None, 68e6, None), None, True),
    ],
)
def test_advice_follows_the_load(load: Load, target: str | None, fits: bool) -> None:
    advice = scale_up.advise(common.stack_settings("prod"), load, LARGE)

    assert (advice.target, advice.fits) == (target, fits)
    assert bool(advice.commands) is (target is not None and fits)


def test_the_stacks_own_reserve_counts() -> None:
    """With half of the memory reserved, data fills earlier what is left of the node, and of the larger one."""
    settings = common.stack_settings("prod").model_copy(
        update={"parameter_overrides": {"reserved-memory-percent": "50"}}
    )
    full, overfull = (Load(10, 5, 0.41 * node.maxmemory_bytes, 576) for node in (MEDIUM, LARGE))

    assert scale_up.advise(settings, full, LARGE).target == LARGE.name
    assert "1,360 MB of the 1,659 MB that cache.t4g.medium can use" in scale_up.advise(settings, full, LARGE).reasons[0]
    assert not scale_up.advise(settings, overfull, LARGE).fits


def test_commands_are_the_documented_ones() -> None:
    advice = scale_up.advise(common.stack_settings("prod"), Load(40, 5, 68e6, 576), LARGE)
    page = (common.ROOT / "docs/scale-up.md").read_text()

    assert advice.commands[0] == "pulumi config set cacheNodeType cache.m6g.large --stack prod"
    assert advice.commands[0] in page
    assert "pulumi up --stack prod" in page


@pytest.mark.parametrize(
    ("stack", "load", "code"),
    [
        ("prod", CALM, 0),
        ("prod", Load(40, 5, 68e6, 576), 3),
        ("prod", Load(10, 80, 68e6, 576), 3),
        ("prod", Load(10, 5, 0.9 * LARGE.usable_bytes, 576), 4),
        # Nothing larger than its node is known.
        ("scale-up", Load(10, 5, 68e6, None), 0),
        ("scale-up", Load(40, 5, 68e6, None), 3),
        ("scale-up", Load(10, 5, 0.98 * LARGE.usable_bytes, None), 4),
    ],
)
def test_exit_code_says_whether_anything_has_to_change(stack: str, load: Load, code: int) -> None:
    advice = scale_up.advise(common.stack_settings(stack), load, LARGE)

    assert advice.exit_code == code
    assert stack != "scale-up" or advice.target is None


def measured(
    stack: str, name: str, value: float, *, host: bool = False, node: str = "002", hours: range = range(2, 30)
) -> None:
    """Hours of one of a node's metrics, in moto's CloudWatch."""
    dimensions = [{"Name": "CacheClusterId", "Value": f"roleferry-{stack}-cache-{node}"}]
    if host:
        dimensions.append({"Name": "CacheNodeId", "Value": "0001"})
    now = datetime.now(UTC)
    boto3.client("cloudwatch", region_name="us-east-1").put_metric_data(
        Namespace="AWS/ElastiCache",
        MetricData=[
            {"MetricName": name, "Dimensions": dimensions, "Timestamp": now - timedelta(hours=ago), "Value": value}
            for ago in hours
        ],
    )


def test_one_node_that_is_hot_by_day_is_seen_among_calm_ones(credentials: None) -> None:
    """As of one shard with what everybody asks for: its busy hours are few among those of all nodes."""
    day, night = range(2, 10), range(10, 30)
    stack = common.stack_settings("scale-out")
    hot, *calm = [node.removeprefix("roleferry-scale-out-cache-") for node in stack.node_ids]
    with mock_aws():
        measured("scale-out", "EngineCPUUtilization", 80.0, node=hot, hours=day)
        measured("scale-out", "EngineCPUUtilization", 5.0, node=hot, hours=night)
        for node in calm:
            measured("scale-out", "EngineCPUUtilization", 5.0, node=node)

        load = scale_up.measure(boto3.client("cloudwatch", region_name="us-east-1"), stack, now=datetime.now(UTC))

    assert load == Load(cpu=None, engine_cpu=80.0, memory_bytes=None, credits_left=None)


@pytest.mark.parametrize(
    ("stack", "metric", "share", "code", "told"),
    [
        ("scale-up", "BytesUsedForCache", 0.98 * LARGE.usable_bytes, 4, "would fill cache.m6g.large by more than 80%"),
        ("scale-up", "CPUUtilization", 42.0, 3, "No type larger than cache.m6g.large is known"),
        ("prod", "EngineCPUUtilization", 80.0, 3, "cache.m6g.large would not help"),
    ],
)
def test_where_no_larger_node_helps_shards_are_named(
    stack: str,
    metric: str,
    share: float,
    code: int,
    told: str,
    credentials: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with mock_aws():
        measured(stack, "BytesUsedForCache", 68e6)
        measured(stack, metric, share, host=metric == "CPUUtilization")

        assert scale_up.main(["--stack", stack]) == code

    printed = capsys.readouterr().out
    assert told in printed
    assert "more shards do: see Further in docs/scale-up.md" in " ".join(printed.split())
    assert "## Further" in (common.ROOT / "docs/scale-up.md").read_text()


def test_smaller_node_is_not_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert scale_up.main(["--stack", "scale-up", "--to", MEDIUM.name]) == 2

    assert "allowed: cache.m6g.large." in capsys.readouterr().err


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with_keys(monkeypatch)


def test_load_is_read_from_the_nodes(
    credentials: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")  # commands stay whole, to be copied
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with mock_aws():
        measured("prod", "BytesUsedForCache", 5e8)
        assert scale_up.main(["--stack", "prod"]) == 0
        calm = capsys.readouterr().out
        measured("prod", "CPUUtilization", 42.0, host=True)
        measured("prod", "EngineCPUUtilization", 7.0)
        measured("prod", "CPUCreditBalance", 300.0, host=True)

        assert scale_up.main(["--stack", "prod", "--json"]) == 3
        printed = json.loads(capsys.readouterr().out)
        assert scale_up.main(["--stack", "prod"]) == 3
        shown = capsys.readouterr().out

    assert printed["load"] == {"cpu": 42.0, "engine_cpu": 7.0, "memory_bytes": 5e8, "credits_left": 300.0}
    assert printed["advice"]["target"] == LARGE.name
    assert "  CPU in busy hours     –\n" in calm
    assert calm.endswith("cache.t4g.medium is enough.\n")
    for line in (
        "data at most          500 MB, 2,488 MB usable",
        "CPU in busy hours     42 %",
        "engine CPU            7 %",
    ):
        assert f"  {line}\n" in shown
    commands = "\n  ".join(printed["advice"]["commands"])
    assert shown.endswith(f"cache.m6g.large is needed, and the data fits:\n  {commands}\n")


def test_stack_without_metrics_is_told(credentials: None, capsys: pytest.CaptureFixture[str]) -> None:
    with mock_aws():
        assert scale_up.main(["--stack", "prod"]) == 1

    assert "is the stack up?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ({}, []),
        ({"Status": "modifying"}, ["is modifying"]),
        ({"CacheNodeType": LARGE.name}, [f"has nodes of {LARGE.name}, the settings say {MEDIUM.name}"]),
        (
            {"PendingModifiedValues": {"AutomaticFailoverStatus": "enabled"}},
            ["changes waiting: AutomaticFailoverStatus"],
        ),
        ({"NodeGroups": []}, ["lacks roleferry-prod-cache-001, roleferry-prod-cache-002"]),
        # What is left after a failover and one node less.
        (
            {
                "NodeGroups": [
                    {"NodeGroupMembers": [{"CacheClusterId": f"roleferry-prod-cache-{n:03d}"} for n in (2, 3)]}
                ]
            },
            ["lacks roleferry-prod-cache-001", "has roleferry-prod-cache-003, which no alarm watches"],
        ),
    ],
)
def test_verification_tells_what_is_not_done(group: dict[str, Any], told: list[str]) -> None:
    fine = {
        "Status": "available",
        "CacheNodeType": MEDIUM.name,
        "NodeGroups": [
            {"NodeGroupMembers": [{"CacheClusterId": f"roleferry-prod-cache-{node:03d}"} for node in (1, 2)]}
        ],
    }
    with stubbed("elasticache") as (client, stubber):
        stubber.add_response(
            "describe_replication_groups",
            {"ReplicationGroups": [fine | group]},
            {"ReplicationGroupId": "roleferry-prod-cache"},
        )
        problems = scale_up.verify(client, common.stack_settings("prod"))

    assert len(problems) == len(told)
    assert all(part in problem for part, problem in zip(told, problems, strict=True))


def test_verification_ends_with_0_once_all_is_done(credentials: None, capsys: pytest.CaptureFixture[str]) -> None:
    with mock_aws():
        elasticache = boto3.client("elasticache", region_name="us-east-1")
        elasticache.create_replication_group(
            ReplicationGroupId="roleferry-prod-cache",
            ReplicationGroupDescription="x",
            CacheNodeType=MEDIUM.name,
            ReplicasPerNodeGroup=1,
        )
        assert scale_up.main(["--stack", "prod", "--verify"]) == 0
        assert capsys.readouterr().out == "roleferry-prod-cache has nodes of cache.t4g.medium, and is available.\n"
        elasticache.modify_replication_group(ReplicationGroupId="roleferry-prod-cache", CacheNodeType=LARGE.name)
        assert scale_up.main(["--stack", "prod", "--verify", "--json"]) == 3

    printed = json.loads(capsys.readouterr().out)
    assert (printed["verified"], len(printed["problems"])) == (False, 1)
