"""A stack's settings file, `Pulumi.<stack>.yaml`, as one can read it without Pulumi and its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Stands where a value is encrypted, which only Pulumi can read.
PLACEHOLDER: Final = "encrypted-by-pulumi"


class SettingsError(ValueError):
    """Settings that no stack can be made from. Its text has one line for each problem."""


def find(root: Path, stack: str) -> Path:
    """The file of `stack` in the folder `root`. Raises SettingsError where the stack has none."""
    file = root / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.name.split(".")[1] for path in root.glob("Pulumi.*.yaml")))
        raise SettingsError(f"stack {stack!r} has no {file.name}. Known: {known}.")
    return file


def load(file: Path) -> dict[str, Any]:
    """What is in the file; an empty one has no settings. Raises SettingsError where it is none of Pulumi's.

    Every value is its text, as it is for Pulumi: 2026-01-01 is no date, `yes` no truth and 8.0 not 8
    (pulumi/pulumi, sdk/go/common/resource/config/value.go).
    """
    try:
        document = yaml.load(file.read_bytes(), yaml.BaseLoader) or {}  # noqa: S506 - it makes texts, lists and maps
    except yaml.YAMLError as error:
        raise SettingsError(f"{file.name} is no YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(document, dict) or not isinstance(document.get("config") or {}, dict):
        raise SettingsError(f"{file.name} must be a mapping with the names and values of settings under config.")
    return dict(document)


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
