from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cache.catalog import CATALOG
from cache.flows import GENERIC
from cache.metrics.cloudwatch import Minutes
from cache.stats import Counts
from infra import cost
from tests.infra import stack

if TYPE_CHECKING:
    from tests.infra.stack import Declared


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "infra", *arguments], capture_output=True, text=True, cwd=stack.ROOT)


def test_counts_are_those_of_the_declared_stack(declared: Declared) -> None:
    counts = {line.resource: line.count for line in cost.lines(declared.settings, CATALOG)}

    metrics = [
        query for alarm in declared.of("MetricAlarm") for query in alarm.inputs["metricQueries"] if "metric" in query
    ]
    assert counts[f"nodes {declared.settings.cache_node_type}"] == len(declared.settings.node_ids)
    assert counts["alarm metrics"] == len(metrics)
    assert counts["composite alarms"] == len(declared.of("CompositeAlarm"))
    assert counts["encryption keys"] == len(declared.of("aws:kms/key:Key"))
    assert counts["dashboard"] == len(declared.of("aws:cloudwatch/dashboard:Dashboard"))


def test_every_metric_that_the_library_may_publish_is_counted(prod: Declared) -> None:
    counts = {line.resource: line.count for line in cost.lines(prod.settings, CATALOG)}
    minutes = Minutes()
    minutes.add(0, dict.fromkeys((*CATALOG.names(), GENERIC), Counts()))

    baselines = len(CATALOG.names())
    assert counts["hit-rate metrics"] == len(minutes.data(0)) + baselines


def test_output_is_the_tables_total(declared: Declared) -> None:
    priced = cost.lines(declared.settings, CATALOG)

    assert declared.outputs["monthly_cost_usd"] == cost.total(priced)
    assert f"{cost.total(priced):.2f}" in cost.table(declared.settings.stack, priced)


def test_nodes_of_prod_and_scale_up(stacks: dict[str, Declared]) -> None:
    def nodes(name: str) -> float:
        return cost.lines(stacks[name].settings, CATALOG)[0].usd

    assert nodes("prod") == pytest.approx(75.92)
    assert nodes("scale-up") == pytest.approx(174.03, abs=0.01)


def test_command_prints_cost_with_date_and_source() -> None:
    done = run("cost", "--stack", "prod")

    assert done.returncode == 0
    assert "cache.t4g.medium" in done.stdout
    assert "yearly rotations" in done.stdout
    assert "AWS Price List, us-east-1, on demand, Valkey, read 2026-10-02" in done.stdout


def test_unknown_stack_is_wrong_usage() -> None:
    done = run("cost", "--stack", "nope")

    assert done.returncode == 2
    assert done.stderr == "stack 'nope' has no Pulumi.nope.yaml. Known: prod, scale-out, scale-up.\n"
