"""A stack's settings file, `Pulumi.<stack>.yaml`, as one can read it without Pulumi and its keys. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Stands where a value is encrypted, which only Pulumi can read.
PLACEHOLDER: Final = "placeholder"


def readable(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The file's `config`, by the names in it, a placeholder for each encrypted value; and where those are."""
    replaced: list[str] = []
    config = document.get("config") or {}
    return {key: _without_secrets(key, value, replaced) for key, value in config.items()}, replaced


def _without_secrets(key: str, value: Any, replaced: list[str]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"secure"}:
            replaced.append(key)
            return PLACEHOLDER
        return {name: _without_secrets(f"{key}.{name}", inner, replaced) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(f"{key}[{number}]", inner, replaced) for number, inner in enumerate(value)]
    return value
