"""A declared stack as the JSON of a Terraform plan, which Checkov reads.

pulumi-aws is made from the Terraform provider, so types and inputs map by rule: `nodeType` is `node_type`, a nested
object is a block, a list of objects is that block several times under the singular of its name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.infra.stack import Declared, Resource

# Objects that are maps, not blocks.
_MAPS: Final = {"tags", "dimensions", "variables"}
# Inputs that Pulumi named anew.
_RENAMED: Final = {
    ("aws_cloudwatch_metric_alarm", "name"): "alarm_name",
    ("aws_lambda_function", "name"): "function_name",
    ("aws_lambda_permission", "function"): "function_name",
    ("aws_sns_topic_subscription", "topic"): "topic_arn",
}


def terraform_plan(declared: Declared) -> dict[str, Any]:
    """The plan that would create everything in `declared`."""
    resources = [resource for resource in declared.resources if not resource.is_component]
    addresses = {resource.urn: _address(resource) for resource in resources}
    return {
        "format_version": "1.2",
        "terraform_version": "1.9.0",
        "planned_values": {"root_module": {"resources": [_planned(resource) for resource in resources]}},
        "resource_changes": [
            {**_identity(resource), "change": {"actions": ["create"], "before": None, "after": _values(resource)}}
            for resource in resources
        ],
        "configuration": {
            "root_module": {"resources": [_configured(resource, addresses) for resource in resources]},
        },
    }


def terraform_type(type_: str) -> str:
    """`aws_s3_bucket` of `aws:s3/bucket:Bucket`."""
    module, _, name = type_.split(":")[1].partition("/")
    return "_".join(("aws", *([] if module == "ec2" else [module]), _snake(name)))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _address(resource: Resource) -> str:
    return f"{terraform_type(resource.type)}.{_label(resource)}"


def _label(resource: Resource) -> str:
    return resource.name.replace("-", "_")


def _identity(resource: Resource) -> dict[str, Any]:
    return {
        "address": _address(resource),
        "mode": "managed",
        "type": terraform_type(resource.type),
        "name": _label(resource),
        "provider_name": "registry.terraform.io/hashicorp/aws",
    }


def _planned(resource: Resource) -> dict[str, Any]:
    return {**_identity(resource), "schema_version": 0, "values": _values(resource)}


def _configured(resource: Resource, addresses: dict[str, str]) -> dict[str, Any]:
    expressions: dict[str, Any] = {}
    for key, urns in resource.references.items():
        found = [addresses[urn] for urn in urns if urn in addresses]
        if found:
            references = [name for address in found for name in (f"{address}.id", address)]
            expressions[_key(terraform_type(resource.type), key, None)] = {"references": references}
    return {**_identity(resource), "expressions": expressions, "schema_version": 0}


def _values(resource: Resource) -> dict[str, Any]:
    type_ = terraform_type(resource.type)
    return {_key(type_, key, value): _value(key, value) for key, value in resource.inputs.items()}


def _key(type_: str, key: str, value: Any) -> str:
    renamed = _RENAMED.get((type_, key)) or _snake(key)
    if isinstance(value, list) and value and isinstance(value[0], dict) and renamed != "items":
        return re.sub(r"ies$", "y", renamed) if renamed.endswith("ies") else renamed.removesuffix("s")
    return renamed


def _value(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return value if key in _MAPS else [_block(value)]
    if isinstance(value, list):
        return [_block(item) if isinstance(item, dict) else item for item in value]
    return value


def _block(values: dict[str, Any]) -> dict[str, Any]:
    return {_key("", key, value): _value(key, value) for key, value in values.items()}
