"""Alarms and dashboards."""

from __future__ import annotations

from typing import Any, Final

from infra.translations.base import TAGS, Translation, renaming


def _metric_queries(queries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for query in queries:
        parameters = {"Id": query["id"], "ReturnData": query.get("returnData", False)}
        if "label" in query:
            parameters["Label"] = query["label"]
        if "expression" in query:
            parameters |= {"Expression": query["expression"]}
        else:
            metric = query["metric"]
            parameters["MetricStat"] = {
                "Metric": {
                    "Namespace": metric["namespace"],
                    "MetricName": metric["metricName"],
                    "Dimensions": [{"Name": k, "Value": v} for k, v in sorted(metric.get("dimensions", {}).items())],
                },
                "Period": metric["period"],
                "Stat": metric["stat"],
            }
        made.append(parameters)
    return made


TRANSLATIONS: Final[dict[str, Translation]] = {
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": renaming(
        "cloudwatch",
        "PutCompositeAlarm",
        {
            "alarmName": "AlarmName",
            "alarmDescription": "AlarmDescription",
            "alarmRule": "AlarmRule",
            "actionsEnabled": "ActionsEnabled",
            "alarmActions": "AlarmActions",
            "okActions": "OKActions",
            **TAGS,
        },
        # Not in AWS: PutCompositeAlarm would change it.
        replaces="alarmName actionsEnabled",
        update="PutCompositeAlarm",
    ),
    "aws:cloudwatch/dashboard:Dashboard": renaming(
        "cloudwatch",
        "PutDashboard",
        {"dashboardName": "DashboardName", "dashboardBody": "DashboardBody"},
        replaces="dashboardName",
        update="PutDashboard",
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": renaming(
        "cloudwatch",
        "PutMetricAlarm",
        {
            "name": "AlarmName",
            "alarmDescription": "AlarmDescription",
            "metricQueries": ("Metrics", _metric_queries),
            "comparisonOperator": "ComparisonOperator",
            "threshold": "Threshold",
            "datapointsToAlarm": "DatapointsToAlarm",
            "evaluationPeriods": "EvaluationPeriods",
            "treatMissingData": "TreatMissingData",
            "actionsEnabled": "ActionsEnabled",
            "alarmActions": "AlarmActions",
            "okActions": "OKActions",
            **TAGS,
        },
        replaces="name",
        update="PutMetricAlarm",
    ),
}
