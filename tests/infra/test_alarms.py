"""The arithmetic of the alarms: at and around each threshold, with missing data and low traffic."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from cache.catalog import CATALOG
from infra import alarms, metric_math, settings
from scripts.alarms import declared as declared_alarms
from tests.infra import stack
from tests.infra.histories import point, rings

if TYPE_CHECKING:
    from scripts.alarms.declared import MetricAlarm
    from tests.infra.stack import Declared

TYPES = CATALOG.names()
DAY_MINUTES = 16 * 60


def by_name(prod: Declared) -> dict[str, MetricAlarm]:
    """Every metric alarm that prod declares, without the stack's prefix."""
    return {alarm.name.removeprefix("roleferry-prod-"): alarm for alarm in declared_alarms.alarms(prod).metric}


def lookups(total: int, percent: float, **more: float) -> dict[str, float | None]:
    hits = round(total * percent / 100)
    return {"h": hits, "m": total - hits, **more}


NOTHING: dict[str, float | None] = {"h": None, "m": None}

HOST_METRICS = {"CPUUtilization", "CurrConnections", "SwapUsage", "FreeableMemory", "CPUCreditBalance"}


@pytest.mark.parametrize("name", TYPES)
def test_floor_rings_below_ten_points_under_the_target_and_not_at_it(name: str, prod: Declared) -> None:
    alarm = by_name(prod)[f"{name}-floor"]
    floor = 100 * CATALOG[name].target_hit_rate - 10
    busy = 100 * metric_math.watch(CATALOG[name], CATALOG, floor_percent=floor).guard

    assert alarm.threshold == pytest.approx(floor)
    assert not rings(alarm, [lookups(busy, floor)] * alarm.periods)
    assert rings(alarm, [lookups(busy, floor - 0.1)] * alarm.periods)


@pytest.mark.parametrize("name", TYPES)
def test_floor_needs_m_of_n(name: str, prod: Declared) -> None:
    alarm = by_name(prod)[f"{name}-floor"]
    good, bad = lookups(1_000_000, 99), lookups(1_000_000, 10)

    m, n = alarm.datapoints, alarm.periods
    assert rings(alarm, [bad] * m + [good] * (n - m))
    assert not rings(alarm, [bad] * (m - 1) + [good] * (n - m + 1))


@pytest.mark.parametrize("name", TYPES)
def test_low_traffic_reads_as_on_target(name: str, prod: Declared) -> None:
    alarm = by_name(prod)[f"{name}-floor"]
    target = 100 * CATALOG[name].target_hit_rate
    guard = metric_math.watch(CATALOG[name], CATALOG, floor_percent=target - 10).guard

    assert point(alarm.expression, lookups(guard - 1, 0)) == pytest.approx(target)
    assert point(alarm.expression, lookups(guard, 0)) == 0
    assert point(alarm.expression, {"h": None, "m": guard}) == 0
    assert point(alarm.expression, {"h": guard, "m": None}) == 100
    assert point(alarm.expression, NOTHING) is None
    assert not rings(alarm, [NOTHING] * alarm.periods)


@pytest.mark.parametrize("name", TYPES)
def test_drop_rings_over_ten_points_under_the_baseline(name: str, prod: Declared) -> None:
    alarm = by_name(prod)[f"{name}-drop"]

    assert not rings(alarm, [lookups(1_000_000, 75, b=85)])
    assert rings(alarm, [lookups(1_000_000, 74.9, b=85)])
    assert not rings(alarm, [{"h": None, "m": None, "b": 85}])
    assert not rings(alarm, [lookups(10, 0, b=85)])
    # A baseline that is missing cannot be judged against; its own alarms ring.
    assert not rings(alarm, [{**lookups(1_000_000, 10), "b": None}])


@pytest.mark.parametrize("name", TYPES)
def test_missing_telemetry_rings(name: str, prod: Declared) -> None:
    alarm = by_name(prod)[f"{name}-telemetry"]

    assert rings(alarm, [{"h": 1, "m": 1}] * 4 + [NOTHING] * 2)
    assert not rings(alarm, [NOTHING, {"h": 1, "m": None}])
    assert not rings(alarm, [{"h": None, "m": 1}] * 2)
    # Nobody looks anything up, and the application says so.
    assert not rings(alarm, [{"h": 0, "m": 0}] * 6)


def test_a_node_that_reports_nothing_rings(prod: Declared) -> None:
    alarm = by_name(prod)["cache-001-node-lost"]

    assert rings(alarm, [{"v": 1}] * 7 + [{"v": None}] * 5)
    assert not rings(alarm, [{"v": None}] * 4 + [{"v": 1}])


@pytest.mark.parametrize(
    ("name", "below", "above"),
    [
        ("cache-001-cpu", 45, 45.1),
        ("cache-001-engine-cpu", 90, 90.1),
        ("cache-001-memory", 80, 80.1),
        ("cache-001-evictions", 100, 101),
        ("cache-002-replication-lag", 1, 1.1),
        ("cache-001-connections", 2000, 2001),
        ("cache-001-cpu-credits", 144, 143.9),
        ("baseline-failed", 0, 1),
    ],
)
def test_single_metric_alarm_at_its_threshold(name: str, below: float, above: float, prod: Declared) -> None:
    alarm = by_name(prod)[name]

    assert not rings(alarm, [{"v": below}] * alarm.periods)
    assert rings(alarm, [{"v": above}] * alarm.periods)
    assert not rings(alarm, [{"v": None}] * alarm.periods)


def test_swap_rings_when_it_exceeds_free_memory(prod: Declared) -> None:
    alarm = by_name(prod)["cache-001-swap"]

    assert not rings(alarm, [{"s": 100, "f": 100}] * alarm.periods)
    assert rings(alarm, [{"s": 101, "f": 100}] * alarm.periods)


def test_baseline_that_does_not_run_rings(prod: Declared) -> None:
    alarm = by_name(prod)["baseline-missing"]

    assert rings(alarm, [{"v": 1}] * 5 + [{"v": None}] * 3)
    assert not rings(alarm, [{"v": None}, {"v": 1}, {"v": None}])


def test_cloudfront_alarms_wait_for_traffic(prod: Declared) -> None:
    floor, errors = by_name(prod)["cdn-hit-rate"], by_name(prod)["cdn-errors"]

    assert rings(floor, [{"r": 1_000, "v": 79.9}] * 6)
    assert not rings(floor, [{"r": 1_000, "v": 80}] * 6)
    assert not rings(floor, [{"r": 10, "v": 0}] * 6)
    assert rings(errors, [{"r": 1_000, "v": 1.1}] * 3)
    assert not rings(errors, [{"r": 10, "v": 100}] * 3)


def test_a_web_acl_that_refuses_rings_nothing(prod: Declared) -> None:
    """It answers 403 as a closed bucket does."""
    watched = stack.declare("prod", {"webAclArn": stack.EVERY_OPTION["webAclArn"]})

    assert "cdn-refused" in by_name(prod)
    assert "cdn-refused" not in by_name(watched)


def test_hit_rate_of_cloudfront_that_is_not_published_is_not_low(prod: Declared) -> None:
    assert not rings(by_name(prod)["cdn-hit-rate"], [{"r": 1_000, "v": None}] * 6)


@pytest.mark.parametrize("name", TYPES)
def test_guard_is_open_in_95_percent_of_the_daytime_minutes(name: str, prod: Declared) -> None:
    """Twenty days of arrivals at the catalogue's daytime rate; every minute looks back one period."""
    cache_type, rng = CATALOG[name], random.Random(7)
    watch = metric_math.watch(cache_type, CATALOG, floor_percent=prod.settings.floor_percent(cache_type))
    batch = metric_math.lookups_per_view(cache_type, CATALOG)
    window = watch.period_s // 60

    def arrivals(mean: float) -> int:
        count, product = 0, rng.random()
        while product > math.exp(-mean):
            count, product = count + 1, product * rng.random()
        return count

    minutes = [batch * arrivals(cache_type.lookups_per_minute_day / batch) for _ in range(20 * DAY_MINUTES)]
    sums = [sum(minutes[start : start + window]) for start in range(len(minutes) - window)]

    assert sum(total >= watch.guard for total in sums) / len(sums) >= 0.95
    # And it is no empty promise: so many lookups tell the target from the floor.
    assert watch.guard / batch >= 16


@pytest.mark.parametrize("name", TYPES)
def test_a_rate_on_its_target_rings_by_chance_less_than_once_a_month(name: str, prod: Declared) -> None:
    """Even with no more traffic than the guard lets through: by the binomial distribution of what misses."""
    cache_type, floor = CATALOG[name], prod.settings.floor_percent(CATALOG[name])
    watch = metric_math.watch(cache_type, CATALOG, floor_percent=floor)
    views = watch.guard // metric_math.lookups_per_view(cache_type, CATALOG)

    def at_least(least: int, of: int, share: float) -> float:
        return sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(least, of + 1))

    misses = math.floor(views * (100 - floor) / 100 + 1e-9) + 1  # so many are under the floor
    is_low = at_least(misses, views, 1 - cache_type.target_hit_rate)

    assert at_least(watch.datapoints, watch.periods, is_low) < watch.period_s / (30 * 86_400)


def test_rates_decide_period_and_guard() -> None:
    watches = {
        cache_type.name: metric_math.watch(cache_type, CATALOG, floor_percent=100 * cache_type.target_hit_rate - 10)
        for cache_type in CATALOG
    }

    assert {name: (watch.period_s, watch.datapoints, watch.periods) for name, watch in watches.items()} == {
        "match": (900, 4, 6),
        "company": (900, 4, 6),
        "ijp": (900, 4, 6),
        "session": (900, 4, 6),
    }


def test_rarer_lookups_are_watched_over_longer_periods() -> None:
    rare = replace(CATALOG.company, lookups_per_minute_day=1.4)

    watch = metric_math.watch(rare, CATALOG, floor_percent=80)

    assert watch.period_s == 3_600
    assert watch.guard < 100


@pytest.mark.parametrize("name", TYPES)
def test_a_floor_is_let_as_near_to_the_target_as_the_alarm_can_see(name: str) -> None:
    def is_open(floor: float) -> bool:
        watch = metric_math.watch(CATALOG[name], CATALOG, floor_percent=floor)
        views = metric_math.views_held(CATALOG[name], CATALOG, watch.period_s)
        return views * metric_math.lookups_per_view(CATALOG[name], CATALOG) >= watch.guard

    highest = metric_math.highest_floor(CATALOG[name], CATALOG)
    assert is_open(highest)
    assert not is_open(highest + 0.1)
    assert settings.read("prod", with_floor(name, highest)).floor_percent(CATALOG[name]) == highest
    with pytest.raises(settings.SettingsError, match="the alarm would never look"):
        settings.read("prod", with_floor(name, highest + 0.1))


def with_floor(name: str, floor: float) -> dict[str, str]:
    return stack.configuration("prod") | {f"{settings.PROJECT}:hitRateFloors": json.dumps({name: floor})}


@pytest.mark.parametrize(("mean", "quantile"), [(1.0, 0), (10.0, 4), (100.0, 78), (2_000.0, 1_897)])
def test_poisson_quantile(mean: float, quantile: int) -> None:
    """Against the distribution's own sums: P(N < q) <= 1 % < P(N < q + 1)."""
    terms = [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(3_000)]
    below = [0.0, *itertools.accumulate(terms)]

    found = metric_math.poisson_quantile(mean, 0.01)
    assert below[found] <= 0.01 < below[found + 1]
    assert abs(found - quantile) <= 1


def test_declared_alarms_are_these_values(declared: Declared) -> None:
    resources = {resource.name: resource.inputs for resource in declared.of("MetricAlarm")}
    specs = {
        alarm.name: alarm
        for alarm in alarms.every(
            declared.settings,
            CATALOG,
            distribution_id=declared.outputs["distribution_id"],
            baseline_function=declared.settings.names.of("baseline"),
        )
    }

    assert resources.keys() == specs.keys()
    for name, alarm in specs.items():
        made = resources[name]
        assert made["threshold"] == pytest.approx(alarm.threshold)
        assert (made["datapointsToAlarm"], made["evaluationPeriods"]) == (alarm.datapoints, alarm.periods)
        assert made["treatMissingData"] == alarm.missing
        assert made["comparisonOperator"] == alarm.comparison
        assert made["actionsEnabled"] is declared.settings.alarm_actions
        assert bool(made["alarmActions"]) is alarm.pages
        (returned,) = [query for query in made["metricQueries"] if query["returnData"]]
        assert returned.get("expression", returned["id"]) == alarm.expression
        assert made.get("region") == ("us-east-1" if "cdn" in name else None)


def test_periods_stay_within_cloudwatchs_limits(prod: Declared) -> None:
    for alarm in by_name(prod).values():
        (period,) = {metric.period_s for metric in alarm.metrics.values()}
        assert period * alarm.periods <= (86_400 if period < 3_600 else 604_800), alarm.name
        assert alarm.datapoints <= alarm.periods


def test_floor_or_drop_pages_once(declared: Declared) -> None:
    composites = {resource.name: resource.inputs for resource in declared.of("CompositeAlarm")}

    for name in TYPES:
        prefix = f"roleferry-{declared.settings.stack}-{name}"
        composite = composites[f"{prefix}-hit-rate"]
        assert composite["alarmRule"] == f'ALARM("{prefix}-floor") OR ALARM("{prefix}-drop")'
        assert composite["alarmActions"]


def test_credits_are_watched_where_there_are_any(stacks: dict[str, Declared]) -> None:
    def watched(name: str) -> int:
        return sum(resource.name.endswith("cpu-credits") for resource in stacks[name].of("MetricAlarm"))

    assert (watched("prod"), watched("scale-up"), watched("scale-out")) == (2, 0, 0)


def test_elasticaches_own_hit_rate_is_drawn_and_not_alarmed(declared: Declared) -> None:
    for resource in declared.of("MetricAlarm"):
        for query in resource.inputs["metricQueries"]:
            metric = query.get("metric", {})
            assert (metric.get("namespace"), metric.get("metricName")) != ("AWS/ElastiCache", "CacheHitRate")
    assert (
        '["AWS/ElastiCache", "CacheHitRate"'
        in declared.one("aws:cloudwatch/dashboard:Dashboard").inputs["dashboardBody"]
    )


def test_own_floor_replaces_the_default() -> None:
    declared = stack.declare("prod", {"hitRateFloors": {"company": 85}})

    assert declared.one("MetricAlarm", "roleferry-prod-company-floor").inputs["threshold"] == 85


def test_changed_target_moves_alarm_and_dashboard() -> None:
    catalog = CATALOG.changed(targets={"match": 0.6})
    declared = stack.declare("prod", catalog=catalog)

    floor = declared.one("MetricAlarm", "roleferry-prod-match-floor").inputs
    assert floor["threshold"] == pytest.approx(50)
    assert floor["metricQueries"][-1]["expression"].endswith(", 60)")
    widgets = json.loads(declared.one("aws:cloudwatch/dashboard:Dashboard").inputs["dashboardBody"])["widgets"]
    assert widgets[0]["properties"]["annotations"]["horizontal"] == [{"label": "target", "value": 60}]


def test_dashboard_fills_its_grid_without_overlap(declared: Declared) -> None:
    widgets = json.loads(declared.one("aws:cloudwatch/dashboard:Dashboard").inputs["dashboardBody"])["widgets"]

    cells = [
        (x, y)
        for widget in widgets
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(cells) == len(set(cells)) == 24 * (1 + max(y for _, y in cells))
    assert all(x < 24 for x, _ in cells)
    drawn = {metric[1] for widget in widgets for metric in widget["properties"]["metrics"] if len(metric) > 1}
    assert drawn >= {
        "CacheHits", "CacheMisses", "HitRateBaseline", "DatabaseMemoryUsagePercentage", "Evictions",
        "CPUUtilization", "SuccessfulReadRequestLatency", "CacheHitRate", "Requests",
    }  # fmt: skip
    assert ("CPUCreditBalance" in drawn) is declared.settings.node.burstable


def test_node_alarms_watch_what_aws_recommends(prod: Declared) -> None:
    """Dimensions and statistics by CloudWatch's page of recommended alarms; those of a host carry its node's number."""
    group, host = {"CacheClusterId": "roleferry-prod-cache-001"}, {"CacheNodeId": "0001"}
    watched = {
        name.removeprefix("roleferry-prod-cache-001-"): [
            (query["metric"]["metricName"], query["metric"]["stat"], query["metric"]["period"])
            for query in resource.inputs["metricQueries"]
            if query.get("metric", {}).get("dimensions") in (group, group | host)
            and ("CacheNodeId" in query["metric"]["dimensions"]) == (query["metric"]["metricName"] in HOST_METRICS)
        ]
        for name, resource in {alarm.name: alarm for alarm in prod.of("MetricAlarm")}.items()
        if name.startswith("roleferry-prod-cache-001-")
    }

    assert watched == {
        "node-lost": [("EngineCPUUtilization", "SampleCount", 60)],
        "cpu": [("CPUUtilization", "Average", 60)],
        "engine-cpu": [("EngineCPUUtilization", "Average", 60)],
        "memory": [("DatabaseMemoryUsagePercentage", "Maximum", 60)],
        "evictions": [("Evictions", "Sum", 300)],
        "replication-lag": [("ReplicationLag", "Maximum", 60)],
        "connections": [("CurrConnections", "Average", 60)],
        "swap": [("SwapUsage", "Maximum", 60), ("FreeableMemory", "Minimum", 60)],
        "cpu-credits": [("CPUCreditBalance", "Minimum", 300)],
    }


def test_who_is_told_that_it_rings_is_told_that_it_is_over(declared: Declared) -> None:
    for alarm in (*declared.of("MetricAlarm"), *declared.of("CompositeAlarm")):
        assert alarm.inputs["okActions"] == alarm.inputs["alarmActions"], alarm.urn


def test_every_alarm_names_likely_causes(declared: Declared) -> None:
    for alarm in (*declared.of("MetricAlarm"), *declared.of("CompositeAlarm")):
        text = alarm.inputs["alarmDescription"]
        assert "Likely: " in text, text
        assert len(text) <= 1_024, text


def test_what_pages_for_a_hit_rate_says_target_floor_and_causes(prod: Declared) -> None:
    text = prod.one("CompositeAlarm", "roleferry-prod-match-hit-rate").inputs["alarmDescription"]

    for told in ("target 80 %", "floor of 70 %", "warming did not run", "a flush", "docs/runbooks/hit-rate.md"):
        assert told in text, text
