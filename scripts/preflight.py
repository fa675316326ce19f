"""Before `pulumi up`: would AWS take this stack? Reads only.

Checks credentials, region, quotas, engine version, node type and its price, subnets, security groups and certificate.
A check that the credentials may not make is UNKNOWN and fails nothing.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError
from rich.markup import escape

from cache.catalog import CATALOG
from infra import cost
from infra.static_site import GLOBAL_REGION
from infra.valkey import ENGINE
from loadtest import terminal
from scripts import common

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from infra.settings import Settings

    Clients = Callable[[str, str], Any]

_EXIT_CODES: Final = (
    "exit codes: 0 nothing speaks against it; 1 an error; 2 wrong usage, settings or credentials; 3 a check failed"
)
# AWS's price list answers in few regions; this one has all regions' prices.
_PRICING_REGION: Final = "us-east-1"
# ACM renews certificates that are in use 60 days before they end; one this close to its end was not renewed.
_CERTIFICATE_DAYS: Final = 30
_PRICE_TOLERANCE: Final = 0.005
_DENIED: Final = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}


class Status(StrEnum):
    OK = "ok"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Check:
    name: str
    status: Status
    detail: str


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return common.guarded("preflight", lambda: _preflight(options))


def checks(settings: Settings, clients: Clients) -> Iterator[Check]:
    """Every check in turn. `clients(service, region)` gives a boto3 client. Wrong credentials raise."""
    # A region that is not enabled, or does not exist, takes no credentials: another one tells of both.
    identity = clients("sts", GLOBAL_REGION).get_caller_identity()
    yield Check("credentials", Status.OK, f"account {identity['Account']} as {identity['Arn'].rpartition('/')[2]}")
    region = _checked("region", partial(_region, settings, clients("ec2", GLOBAL_REGION)))
    yield region
    if region.status is Status.FAILED:
        return
    ec2, elasticache = clients("ec2", settings.region), clients("elasticache", settings.region)
    quotas = clients("service-quotas", settings.region)
    named: dict[str, Callable[[], tuple[bool, str]]] = {
        "engine": partial(_engine, settings, elasticache),
        "node type": partial(_node_type, settings, clients("pricing", _PRICING_REGION)),
        "quota of nodes": partial(_node_quota, settings, elasticache, quotas),
        "zones": partial(_zones, settings, ec2),
    }
    if settings.vpc_id is None:
        named["quota of VPCs"] = partial(_vpc_quota, ec2, quotas)
    if settings.application_security_group_ids:
        named["security groups"] = partial(_security_groups, settings, ec2)
    if settings.certificate_arn:
        named["certificate"] = partial(_certificate, settings, clients("acm", GLOBAL_REGION))
    for name, check in named.items():
        yield _checked(name, check)


def _checked(name: str, check: Callable[[], tuple[bool, str]]) -> Check:
    try:
        fine, detail = check()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        status = Status.UNKNOWN if code in _DENIED else Status.FAILED
        return Check(name, status, f"{error.operation_name}: {code}: {error.response['Error']['Message']}")
    return Check(name, Status.OK if fine else Status.FAILED, detail)


def _region(settings: Settings, ec2: Any) -> tuple[bool, str]:
    found = ec2.describe_regions(RegionNames=[settings.region], AllRegions=True)["Regions"]
    opted = found[0]["OptInStatus"] if found else "unknown"
    if opted == "not-opted-in":
        return False, f"{settings.region} is not enabled in this account; enable it under Account, AWS Regions."
    return True, f"{settings.region}: {opted}"


def _engine(settings: Settings, elasticache: Any) -> tuple[bool, str]:
    pages = elasticache.get_paginator("describe_cache_engine_versions").paginate(Engine=ENGINE)
    offered = sorted(
        (version["EngineVersion"], version["CacheParameterGroupFamily"])
        for page in pages
        for version in page["CacheEngineVersions"]
    )
    wanted = settings.engine_version
    families = {family for version, family in offered if version == wanted or version.startswith(f"{wanted}.")}
    if not families:
        known = ", ".join(version for version, _ in offered)
        return False, f"{ENGINE} {wanted} is not offered in {settings.region}. Offered: {known}. Set engineVersion."
    if families != {settings.parameter_family}:
        return False, f"{ENGINE} {wanted} is of family {', '.join(sorted(families))}, not {settings.parameter_family}."
    return True, f"{ENGINE} {wanted}, family {settings.parameter_family}"


def _node_type(settings: Settings, pricing: Any) -> tuple[bool, str]:
    wanted = {
        "instanceType": settings.node.name,
        "regionCode": settings.region,
        "cacheEngine": ENGINE.capitalize(),
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    pages = pricing.get_paginator("get_products").paginate(ServiceCode="AmazonElastiCache", Filters=filters)
    prices = {price for page in pages for product in page["PriceList"] for price in _hourly(json.loads(product))}
    if not prices:
        return False, f"{settings.node.name} is not offered for {ENGINE} in {settings.region}. Set cacheNodeType."
    price, planned = min(prices), settings.node.usd_per_hour
    total = cost.total(cost.lines(settings, CATALOG))
    detail = f"{settings.node.name}: {price:.4f} USD an hour; the stack about {total:.2f} USD a month"
    if abs(price - planned) > _PRICE_TOLERANCE * planned:
        detail += f", reckoned with {planned:.4f} (cache/nodes.py)"
    return True, detail


def _hourly(product: dict[str, Any]) -> Iterator[float]:
    for term in product["terms"].get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            if dimension["unit"] == "Hrs" and float(dimension["pricePerUnit"]["USD"]) > 0:
                yield float(dimension["pricePerUnit"]["USD"])


def _node_quota(settings: Settings, elasticache: Any, quotas: Any) -> tuple[bool, str]:
    pages = elasticache.get_paginator("describe_cache_clusters").paginate()
    # A node of a replication group is a cluster of its own; one of Memcached's has several.
    running = {
        cluster["CacheClusterId"]: cluster.get("NumCacheNodes", 1)
        for page in pages
        for cluster in page["CacheClusters"]
    }
    more = len(set(settings.node_ids) - running.keys())
    return _within(_quota(quotas, "elasticache", "Nodes per Region"), sum(running.values()), more, "nodes")


def _vpc_quota(ec2: Any, quotas: Any) -> tuple[bool, str]:
    pages = ec2.get_paginator("describe_vpcs").paginate()
    running = sum(len(page["Vpcs"]) for page in pages)
    return _within(_quota(quotas, "vpc", "VPCs per Region"), running, 1, "VPCs")


def _quota(quotas: Any, service: str, name: str) -> float:
    pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode=service)
    return next(
        (quota["Value"] for page in pages for quota in page["Quotas"] if quota["QuotaName"] == name), float("inf")
    )


def _within(quota: float, running: int, more: int, what: str) -> tuple[bool, str]:
    if running + more > quota:
        return (
            False,
            f"{running} {what} run and {more} would come; the quota is {quota:g}. Ask for more in Service Quotas.",
        )
    return True, f"{running} {what} run, {more} would come, the quota is {quota:g}"


def _zones(settings: Settings, ec2: Any) -> tuple[bool, str]:
    if settings.subnet_ids:
        subnets = ec2.describe_subnets(SubnetIds=list(settings.subnet_ids))["Subnets"]
        elsewhere = [subnet["SubnetId"] for subnet in subnets if subnet["VpcId"] != settings.vpc_id]
        if elsewhere:
            return False, f"{', '.join(elsewhere)} are not in {settings.vpc_id}; set vpcId and subnetIds of one VPC."
        zones = sorted({subnet["AvailabilityZone"] for subnet in subnets})
        source = "the subnets are in"
    else:
        found = ec2.describe_availability_zones(Filters=[{"Name": "state", "Values": ["available"]}])
        zones = sorted(zone["ZoneName"] for zone in found["AvailabilityZones"])
        source = "available:"
    fine = len(zones) > 1 or not settings.multi_az
    return fine, f"{source} {', '.join(zones)}" + ("" if fine else "; multiAz needs two zones at least.")


def _security_groups(settings: Settings, ec2: Any) -> tuple[bool, str]:
    ids = list(settings.application_security_group_ids)
    groups = ec2.describe_security_groups(GroupIds=ids)["SecurityGroups"]
    if settings.vpc_id:
        elsewhere = [group["GroupId"] for group in groups if group["VpcId"] != settings.vpc_id]
        if elsewhere:
            return False, f"{', '.join(elsewhere)} are not in {settings.vpc_id}: they cannot reach the cache."
    return True, f"{', '.join(ids)} exist"


def _certificate(settings: Settings, acm: Any) -> tuple[bool, str]:
    found = acm.describe_certificate(CertificateArn=settings.certificate_arn)["Certificate"]
    if found["Status"] != "ISSUED":
        return False, f"the certificate is {found['Status']}; it must be ISSUED: validate its names first."
    names = {found["DomainName"], *found.get("SubjectAlternativeNames", [])}
    bare = [name for name in settings.domain_names if name not in names and f"*.{name.partition('.')[2]}" not in names]
    if bare:
        return False, f"the certificate is not for {', '.join(bare)}; it is for {', '.join(sorted(names))}."
    if found["NotAfter"] < datetime.now(UTC) + timedelta(days=_CERTIFICATE_DAYS):
        return False, f"the certificate ends on {found['NotAfter']:%Y-%m-%d}; renew it."
    return True, f"issued for {', '.join(sorted(names))}, until {found['NotAfter']:%Y-%m-%d}"


def _preflight(options: argparse.Namespace) -> int:
    settings = common.stack_settings(options.stack)
    found = list(checks(settings, common.aws))
    if options.json:
        print(json.dumps([asdict(check) for check in found], indent=2))
    else:
        colours = {Status.OK: "green", Status.FAILED: "bold red", Status.UNKNOWN: "yellow"}
        table = terminal.table("check", "", "detail")
        for check in found:
            table.add_row(check.name, f"[{colours[check.status]}]{check.status}", escape(check.detail))
        console = terminal.console()
        console.print(f"Stack {settings.stack}")
        console.print(table)
    return 3 if any(check.status is Status.FAILED for check in found) else 0


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("preflight", __doc__, _EXIT_CODES)
    parser.add_argument("--stack", required=True, help="a stack with a Pulumi.<stack>.yaml, such as prod")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
