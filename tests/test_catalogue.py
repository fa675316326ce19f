"""The catalogue is the one declaration: a change there moves everything that is built on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cache import CATALOG, CacheService
from loadtest import scenarios, verdict, virtual
from loadtest.verdict import Verdict
from tests.cache.records import RECORD
from tests.infra import stack

if TYPE_CHECKING:
    from local.valkey import Valkey
    from tests.conftest import ManualClock


@pytest.mark.parametrize("target", [0.80, 0.97])
def test_a_target_moves_alarm_dashboard_and_verdict(target: float) -> None:
    declared = stack.declare("prod", catalog=CATALOG.changed(targets={"match": target}))
    scenario = scenarios.load("small").changed(users=1_000, days=3, targets={"match": target})
    judged = verdict.judge(virtual.run(scenario, seed=1))

    floor = next(alarm for alarm in declared.of("MetricAlarm") if alarm.name == "roleferry-prod-match-floor")
    dashboard = json.loads(declared.one("aws:cloudwatch/dashboard:Dashboard").inputs["dashboardBody"])
    assert floor.inputs["threshold"] == pytest.approx(100 * target - 10)
    assert 100 * target in [line["value"] for line in _annotations(dashboard)]
    assert judged.rows[0].target == target
    assert judged.rows[0].verdict is (Verdict.PASS if target == 0.80 else Verdict.FAIL)


@pytest.mark.parametrize("ttl_s", [3_600, 86_400])
def test_a_ttl_moves_the_library(server: Valkey, clock: ManualClock, ttl_s: int) -> None:
    cache = CacheService.from_url(server.socket_url, clock=clock, catalog=CATALOG.changed(ttl_s={"match": ttl_s}))
    cache.set_match_score(1, 1, RECORD)

    clock.advance(3_600)

    assert (cache.get_match_score(1, 1) is None) == (ttl_s == 3_600)
    cache.close()


def _annotations(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    widgets = [widget["properties"] for widget in dashboard["widgets"]]
    return [line for widget in widgets for line in widget.get("annotations", {}).get("horizontal", [])]
