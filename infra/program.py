"""The stack: connects the components and gives the outputs."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi_aws import get_caller_identity_output

from cache.catalog import CATALOG, Catalog
from infra import cost
from infra.baseline import Baseline, BaselineArgs
from infra.dashboard import Dashboard, DashboardArgs
from infra.encryption import Key, KeyArgs, used_by_alarms, used_by_logs
from infra.monitoring import CacheAlarms, CacheAlarmsArgs, Notifications, NotificationsArgs
from infra.network import Network, NetworkArgs
from infra.policies import Policies, PoliciesArgs
from infra.settings import Settings, SettingsError, from_pulumi
from infra.static_site import GLOBAL_REGION, StaticSite, StaticSiteArgs
from infra.valkey import Valkey, ValkeyArgs


def declare(settings: Settings, catalog: Catalog = CATALOG) -> dict[str, Any]:
    """Declares every resource of the stack; the outputs by name."""
    names, region = settings.names, settings.region
    account_id = get_caller_identity_output().account_id
    data_key = Key(
        "data", KeyArgs(names, "data", "The cache at rest", region, account_id, protect=settings.protect_data)
    )
    operations_key = Key(
        "operations",
        KeyArgs(
            names,
            "operations",
            "Log groups and the alarm topic",
            region,
            account_id,
            protect=settings.protect_data,
            statements=(used_by_logs(region, account_id), used_by_alarms(account_id)),
        ),
    )
    network = Network("network", NetworkArgs(settings, account_id, operations_key.arn))
    cache = Valkey(
        "cache",
        ValkeyArgs(
            settings,
            subnet_ids=network.subnet_ids,
            security_group_id=network.cache_security_group_id,
            data_key_arn=data_key.arn,
            log_key_arn=operations_key.arn,
        ),
    )
    site = StaticSite("static", StaticSiteArgs(settings, account_id))
    topic_arn = Notifications(
        "alarms", NotificationsArgs(settings, region, account_id, key_arn=operations_key.arn)
    ).topic_arn
    global_topic_arn = topic_arn
    if region != GLOBAL_REGION:
        global_topic_arn = Notifications(
            "alarms-global", NotificationsArgs(settings, GLOBAL_REGION, account_id)
        ).topic_arn
    baseline = Baseline("baseline", BaselineArgs(settings, catalog, operations_key.arn))
    CacheAlarms(
        "cache-alarms",
        CacheAlarmsArgs(
            settings,
            catalog,
            topic_arn=topic_arn,
            global_topic_arn=global_topic_arn,
            distribution_id=site.distribution_id,
            baseline_function=baseline.function_name,
            cache=cache,
        ),
    )
    dashboard = Dashboard("dashboard", DashboardArgs(settings, catalog, site.distribution_id))
    policies = Policies("policies", PoliciesArgs(settings, cache))
    return {
        "cache_endpoint": cache.primary_endpoint,
        "reader_endpoint": cache.reader_endpoint,
        "port": cache.port,
        "cluster_mode": settings.cluster_mode,
        "replication_group_id": cache.replication_group_id,
        "app_user_name": cache.app_user_name,
        "operator_user_name": cache.operator_user_name,
        "load_test_user_name": cache.load_test_user_name,
        "region": region,
        "app_policy_arn": policies.app_policy_arn,
        "operator_policy_arn": policies.operator_policy_arn,
        "vpc_id": network.vpc_id,
        "subnet_ids": network.subnet_ids,
        "cache_security_group_id": network.cache_security_group_id,
        "metric_namespace": names.metric_namespace,
        "alarm_topic_arns": [topic_arn] if region == GLOBAL_REGION else [topic_arn, global_topic_arn],
        "static_site_url": site.url,
        "static_site_domain": site.domain,
        "static_bucket": site.bucket_name,
        "distribution_id": site.distribution_id,
        "dashboard_name": dashboard.name,
        "monthly_cost_usd": cost.total(cost.lines(settings, catalog)),
    }


def main() -> None:
    """What Pulumi runs. Raises RunError, the one that Pulumi prints without a traceback, for wrong settings."""
    try:
        settings = from_pulumi()
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    for name, value in declare(settings).items():
        pulumi.export(name, value)
