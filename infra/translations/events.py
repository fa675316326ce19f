"""Schedules."""

from __future__ import annotations

from typing import Final

from infra.translations.base import TAGS, Call, Translation, renaming

TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:cloudwatch/eventRule:EventRule": renaming(
        "events",
        "PutRule",
        {"name": "Name", "description": "Description", "scheduleExpression": "ScheduleExpression", **TAGS},
        replaces="name",
        update="PutRule",
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Translation(
        lambda inputs: [
            Call(
                "events",
                "PutTargets",
                {"Rule": inputs["rule"], "Targets": [{"Id": inputs["targetId"], "Arn": inputs["arn"]}]},
            )
        ],
        frozenset({"rule", "targetId"}),
        "PutTargets",
    ),
}
