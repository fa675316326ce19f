from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import redis

from cache.catalog import CATALOG
from infra import alarms, cost, metric_math
from infra.__main__ import main
from infra.picture import svg
from infra.settings import Settings
from local.valkey import Valkey
from tests.infra import stack

if TYPE_CHECKING:
    import pytest

    from tests.infra.stack import Declared

DOCS = stack.ROOT / "docs"
PAGE = (DOCS / "infra.md").read_text()


def test_every_alarm_kind_has_its_runbook_and_no_runbook_is_left_over(declared: Declared) -> None:
    every = alarms.every(declared.settings, CATALOG, distribution_id="", baseline_function="")
    kinds = {alarm.kind for alarm in every} | {
        composite.kind for composite in alarms.hit_rate_composites(declared.settings, CATALOG)
    }

    pages = {path.stem for path in (DOCS / "runbooks").glob("*.md")}
    assert kinds <= pages
    if declared.settings.node.burstable:
        assert pages == kinds
    for resource in (*declared.of("MetricAlarm"), *declared.of("CompositeAlarm")):
        page = resource.inputs["alarmDescription"].rpartition("Runbook: ")[2]
        assert (stack.ROOT / page).is_file(), resource.urn


def test_every_setting_and_output_is_documented(prod: Declared) -> None:
    settings = {field.alias or "" for name, field in Settings.model_fields.items() if name != "stack"}

    missing = {name for name in settings | set(prod.outputs) if f"`{name}`" not in PAGE}
    assert not missing


def test_the_command_for_a_restored_cache_empties_it() -> None:
    command = re.search(r"python -c '(.*)'", PAGE)
    assert command

    with Valkey() as server, redis.Redis.from_url(server.url) as client:
        client.set("match:1234", "older than an invalidation")
        exec(command[1].replace("rediss://NAME:PASSWORD@ENDPOINT:6379", server.url), {})  # noqa: S102 - our own page
        assert client.dbsize() == 0


def test_documented_costs_are_the_computed_ones(stacks: dict[str, Declared]) -> None:
    for name, declared in stacks.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"{cost.total(cost.lines(declared.settings, CATALOG)):.2f}" in row


def test_documented_guards_are_the_computed_ones(prod: Declared) -> None:
    for cache_type in CATALOG:
        floor = prod.settings.floor_percent(cache_type)
        watch = metric_math.watch(cache_type, CATALOG, floor_percent=floor)
        guard = f"{watch.period_s // 60} min | {watch.guard:,} | {watch.datapoints} of {watch.periods}"
        assert f"| {cache_type.name} | {guard} |" in PAGE


def test_picture_is_that_of_the_declared_dashboard(prod: Declared, capsys: pytest.CaptureFixture[str]) -> None:
    declared = json.loads(prod.one("aws:cloudwatch/dashboard:Dashboard").inputs["dashboardBody"])

    assert main(["picture", "--stack", "prod"]) == 0

    picture = (DOCS / "dashboard.svg").read_text()
    assert capsys.readouterr().out == picture == svg(declared)
    for text in ("Hit rate: match", "target 80", "Memory", "Evictions", "CPU credits", "Latency of reads"):
        assert f">{text}</text>" in picture
    assert "](dashboard.svg)" in PAGE


def test_the_texts_of_the_picture_lie_apart_and_in_their_panels() -> None:
    panels = ElementTree.parse(DOCS / "dashboard.svg").getroot().findall("{*}svg")  # noqa: S314 - our own file

    assert panels
    for panel in panels:
        texts = panel.findall("{*}text")
        heights = sorted(int(text.attrib["y"]) for text in texts)
        assert all(below - above >= 14 for above, below in pairwise(heights)), [text.text for text in texts]
        # 7 pixels a character are what a common font takes at this size.
        assert all(8 + 7 * len(text.text or "") <= int(panel.attrib["width"]) for text in texts), texts[0].text
