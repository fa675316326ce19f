"""The stacks of this repository as the program declares them, and what a review reads of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from cache.catalog import CATALOG, Catalog
from infra import recorded, settings
from infra.recorded import ACCOUNT, Declared, Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ACCOUNT",
    "EVERY_OPTION",
    "ROOT",
    "STACKS",
    "Declared",
    "Resource",
    "configuration",
    "declare",
    "readable",
    "statements",
]

ROOT = Path(__file__).parent.parent.parent
STACKS = ("prod", "scale-up", "scale-out")
# Settings that bring every optional part.
EVERY_OPTION: Final[dict[str, Any]] = {
    "aws:region": "eu-west-1",
    "applicationSecurityGroupIds": ["sg-0123456789abcdef0"],
    "alarmSubscriptions": {"ops": {"protocol": "email", "endpoint": "ops@roleferry.com"}},
    "domainNames": ["static.roleferry.com"],
    "certificateArn": f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/1",
    "hstsScope": "preload",
    "assetOrigins": ["https://app.roleferry.com", "https://*.roleferry.com"],
    "webAclArn": f"arn:aws:wafv2:us-east-1:{ACCOUNT}:global/webacl/a/b",
}


def readable(declared: Declared) -> str:
    """Every resource and output as YAML: policies and the dashboard as what they say, not as JSON in a string."""
    resources = {
        f"{resource.type} {resource.name}{' (protected)' if resource.protect else ''}": _opened(resource.inputs)
        for resource in declared.resources
        if not resource.is_component
    }
    dumped: str = yaml.safe_dump(
        {"outputs": declared.outputs, "resources": resources}, width=120, default_flow_style=None, sort_keys=True
    )
    return dumped


def _opened(inputs: dict[str, Any]) -> dict[str, Any]:
    opened = {}
    for key, value in inputs.items():
        if key == "code":
            opened[key] = "(archive)"
        elif isinstance(value, str) and value.startswith("{"):
            opened[key] = json.loads(value)
        elif key != "tags":
            opened[key] = value
    return opened


def statements(resource: Resource) -> list[dict[str, Any]]:
    """The statements of a resource's policy."""
    found: list[dict[str, Any]] = json.loads(resource.inputs["policy"])["Statement"]
    return found


def configuration(stack_name: str) -> dict[str, str]:
    """The stack's configuration as Pulumi hands it over."""
    document = yaml.safe_load((ROOT / f"Pulumi.{stack_name}.yaml").read_text())
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in document["config"].items()}


def declare(stack_name: str, changes: Mapping[str, Any] | None = None, *, catalog: Catalog = CATALOG) -> Declared:
    """The program run for one stack. `changes` are settings by their short name; None takes one away."""
    config = configuration(stack_name)
    for key, value in (changes or {}).items():
        full = key if ":" in key else f"{settings.PROJECT}:{key}"
        if value is None:
            del config[full]
        else:
            config[full] = value if isinstance(value, str) else json.dumps(value)
    return recorded.declare(settings.read(stack_name, config), catalog)
