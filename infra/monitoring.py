"""Alarms as resources, and the topics that they tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pulumi
from pulumi_aws import cloudwatch, sns

from infra import alarms
from infra.encryption import Key, KeyArgs, used_by_alarms

if TYPE_CHECKING:
    from cache.catalog import Catalog
    from infra.settings import Settings


@dataclass(frozen=True)
class NotificationsArgs:
    """`key_arn` encrypts the topic; without one the component makes a key in its region."""

    settings: Settings
    region: str
    account_id: pulumi.Input[str]
    key_arn: pulumi.Input[str] | None = None


class Notifications(pulumi.ComponentResource):
    """The topic of one region, its subscriptions from the settings. Alarms can tell a topic of their region only."""

    topic_arn: pulumi.Output[str]

    def __init__(self, name: str, args: NotificationsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("roleferry:monitoring:Notifications", name, None, opts)
        settings, child = args.settings, pulumi.ResourceOptions(parent=self)
        key_arn = args.key_arn
        if key_arn is None:
            key_arn = Key(
                f"{name}-key",
                KeyArgs(
                    settings.names,
                    "alarms",
                    "Alarm topic",
                    args.region,
                    args.account_id,
                    protect=False,
                    statements=(used_by_alarms(args.account_id),),
                ),
                child,
            ).arn
        topic = sns.Topic(
            name,
            name=settings.names.of("alarms"),
            kms_master_key_id=key_arn,
            region=args.region,
            tags=settings.names.tags("alarms"),
            opts=child,
        )
        sns.TopicPolicy(
            name,
            arn=topic.arn,
            policy=pulumi.Output.json_dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "Alarms",
                            "Effect": "Allow",
                            "Principal": {"Service": "cloudwatch.amazonaws.com"},
                            "Action": "sns:Publish",
                            "Resource": topic.arn,
                            "Condition": {"StringEquals": {"aws:SourceAccount": args.account_id}},
                        }
                    ],
                }
            ),
            region=args.region,
            opts=child,
        )
        for who, subscription in settings.alarm_subscriptions.items():
            sns.TopicSubscription(
                # Not by number: with the first one gone, the next would be subscribed as the first, which SNS answers
                # with the subscription that is there, and then unsubscribed as the last.
                f"{name}-{who}",
                topic=topic.arn,
                protocol=subscription.protocol,
                # A web address may hold a password: encrypted in Pulumi's state, and not shown.
                endpoint=pulumi.Output.secret(subscription.endpoint),
                region=args.region,
                opts=child,
            )
        self.topic_arn = topic.arn
        self.register_outputs({"topic_arn": self.topic_arn})


@dataclass(frozen=True)
class CacheAlarmsArgs:
    """`topic_arn` is the stack's region's, `global_topic_arn` that of CloudFront's. `cache` is what they watch."""

    settings: Settings
    catalog: Catalog
    topic_arn: pulumi.Input[str]
    global_topic_arn: pulumi.Input[str]
    distribution_id: pulumi.Input[str]
    baseline_function: str
    cache: pulumi.Resource


class CacheAlarms(pulumi.ComponentResource):
    """Every alarm of the stack. A stack with `alarmActions` false has them, and tells nobody."""

    def __init__(self, name: str, args: CacheAlarmsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("roleferry:monitoring:CacheAlarms", name, None, opts)
        settings = args.settings
        every = alarms.every(
            settings, args.catalog, distribution_id=args.distribution_id, baseline_function=args.baseline_function
        )
        made = {alarm.name: self._alarm(alarm, args) for alarm in every}
        for composite in alarms.hit_rate_composites(settings, args.catalog):
            cloudwatch.CompositeAlarm(
                composite.name,
                alarm_name=composite.name,
                alarm_description=composite.text,
                alarm_rule=composite.rule,
                actions_enabled=settings.alarm_actions,
                alarm_actions=[args.topic_arn],
                ok_actions=[args.topic_arn],
                tags=settings.names.tags(composite.kind),
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[made[child] for child in composite.children],
                    # `alarmActions` replaces it under its name: the old one, deleted last, would take the new along.
                    delete_before_replace=True,
                ),
            )
        self.register_outputs({})

    def _alarm(self, alarm: alarms.Alarm, args: CacheAlarmsArgs) -> cloudwatch.MetricAlarm:
        settings = args.settings
        topics = [args.global_topic_arn if alarm.region else args.topic_arn] if alarm.pages else []
        queries = [
            cloudwatch.MetricAlarmMetricQueryArgs(
                id=identifier,
                return_data=identifier == alarm.expression,
                metric=cloudwatch.MetricAlarmMetricQueryMetricArgs(
                    namespace=metric.namespace,
                    metric_name=metric.name,
                    dimensions=metric.dimensions,
                    stat=metric.stat,
                    period=metric.period_s,
                ),
            )
            for identifier, metric in alarm.metrics.items()
        ]
        if alarm.expression not in alarm.metrics:
            queries.append(
                cloudwatch.MetricAlarmMetricQueryArgs(
                    id="value", expression=alarm.expression, label=alarm.kind, return_data=True
                )
            )
        return cloudwatch.MetricAlarm(
            alarm.name,
            name=alarm.name,
            alarm_description=alarm.text,
            metric_queries=queries,
            comparison_operator=alarm.comparison,
            threshold=alarm.threshold,
            datapoints_to_alarm=alarm.datapoints,
            evaluation_periods=alarm.periods,
            treat_missing_data=alarm.missing,
            actions_enabled=settings.alarm_actions,
            alarm_actions=topics,
            ok_actions=topics,
            region=alarm.region,
            tags=settings.names.tags(alarm.kind),
            # A node that is still being made would be told as lost.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.cache]),
        )
