"""The functions of the provider that the program calls: who, where, which zones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

from local.aws.cloud import ACCOUNT, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _caller(arguments: Mapping[str, Any], region: str) -> dict[str, Any]:
    del arguments, region
    return {"accountId": ACCOUNT, "arn": f"arn:aws:iam::{ACCOUNT}:user/local", "id": ACCOUNT, "userId": "local"}


def _region(arguments: Mapping[str, Any], region: str) -> dict[str, Any]:
    name = arguments.get("region") or arguments.get("name") or region
    return {"description": name, "endpoint": f"ec2.{name}.amazonaws.com", "id": name, "name": name, "region": name}


def _zones(arguments: Mapping[str, Any], region: str) -> dict[str, Any]:
    if arguments.get("state", "available") != "available":
        return {"groupNames": [], "id": region, "names": [], "region": region, "zoneIds": []}
    excluded = arguments.get("excludeZoneIds", ())
    zones = [zone for zone in RegionsAndZonesBackend.zones.get(region, []) if zone.zone_id not in excluded]
    if not zones:
        raise RefusedError(f"region {region!r} has no availability zones. Set aws:region to one of AWS's.")
    return {
        **arguments,
        "groupNames": [region],
        "id": region,
        "names": [zone.name for zone in zones],
        "region": region,
        "zoneIds": [zone.zone_id for zone in zones],
    }


_FUNCTIONS: Final[dict[str, Callable[[Mapping[str, Any], str], dict[str, Any]]]] = {
    "aws:index/getAvailabilityZones:getAvailabilityZones": _zones,
    "aws:index/getCallerIdentity:getCallerIdentity": _caller,
    "aws:index/getRegion:getRegion": _region,
}


def invoke(token: str, arguments: Mapping[str, Any], region: str) -> dict[str, Any]:
    """The answer of the function `token`. Raises RefusedError for one that is not known, by its name."""
    if token not in _FUNCTIONS:
        raise RefusedError(f"function {token!r} is not known here. Known: {', '.join(_FUNCTIONS)}.")
    return _FUNCTIONS[token](arguments, region)
