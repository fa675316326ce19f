"""The settings of a stack, checked as a whole before any resource is declared. The only reader of configuration."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

import pulumi
from pulumi.runtime.config import is_config_secret
from pydantic import ValidationError

from cache.nodes import NODE_TYPES
from infra import stack_file
from infra.fields import STACK_KEY, Settings, Subscription
from infra.rules import RULES
from infra.stack_file import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

__all__ = ["PROJECT", "Settings", "SettingsError", "from_file", "from_pulumi", "read"]

PROJECT: Final = "roleferry-cache"
# ElastiCache takes replication group ids of up to 40 characters, S3 names of up to 63; the longest names here are
# `roleferry-{stack}-cache` and `roleferry-{stack}-static-{account}`.
STACK_PATTERN: Final = re.compile(r"(?=.{1,20}$)[a-z](?:-?[a-z0-9])*")


def read(stack: str, configuration: Mapping[str, str]) -> Settings:
    """The settings of `stack` from Pulumi's configuration: full names, values as strings, objects as JSON.

    Raises SettingsError with every problem at once.
    """
    problems: list[str] = []
    if not STACK_PATTERN.fullmatch(stack):
        problems.append(
            f"stack {stack!r}: a name has 1 to 20 small letters, digits and single hyphens, and starts with a letter, "
            "because it is part of every physical name. Create the stack under another name."
        )
    given: dict[str, Any] = {STACK_KEY: stack if not problems else "invalid"}
    for key, text in configuration.items():
        namespace, _, name = key.partition(":")
        if key == "aws:region":
            given[key] = text
        elif namespace == PROJECT:
            given[name] = _decoded(text)
    encrypted = [
        path
        for path in _encrypted(given)
        if path[0] in _names(Settings) and (path[0] != "alarmSubscriptions" or path[-1] != "endpoint")
    ]
    problems += [
        f"{_path(*path)} is encrypted, which only an alarm's endpoint may be. {_command(stack, *path)}"
        for path in encrypted
    ]
    bad = {str(path[0]) for path in encrypted}
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        details = [detail for detail in error.errors() if detail["loc"][0] not in bad]
        problems += [_told(stack, detail, given) for detail in details]
        bad |= {str(detail["loc"][0]) for detail in details}
        settings = Settings.model_validate(_FILLERS | {k: v for k, v in given.items() if k not in bad})
    problems += [
        f"{_path(*breach.path)} is {'not set' if breach.value is None else repr(breach.value)}; {breach.allowed} "
        f"{_command(stack, *breach.path, remove=breach.remove)}"
        for needed, rule in RULES
        if not bad & set(needed)
        for breach in rule(settings, given.keys())
    ]
    if problems:
        raise SettingsError(f"{len(problems)} problem(s) in the settings of stack {stack}:\n  " + "\n  ".join(problems))
    return settings


def from_pulumi() -> Settings:
    """The settings of the stack that Pulumi is running. Raises SettingsError."""
    config = pulumi.runtime.config.CONFIG.get() or pulumi.runtime.config.get_config_env()
    return read(
        pulumi.get_stack(),
        {
            # Pulumi tells of a setting, not of its parts.
            key: stack_file.PLACEHOLDER if is_config_secret(key) and not key.endswith(":alarmSubscriptions") else text
            for key, text in config.items()
        },
    )


def from_file(path: Path) -> Settings:
    """The settings in `Pulumi.<stack>.yaml`, without Pulumi. What is encrypted there is a placeholder.

    Raises SettingsError.
    """
    config, _ = stack_file.readable(stack_file.load(path))
    return read(
        path.name.removeprefix("Pulumi.").removesuffix(".yaml"),
        {
            # As Pulumi does: a name without a namespace is the project's own.
            key if ":" in key else f"{PROJECT}:{key}": value if isinstance(value, str) else json.dumps(value)
            for key, value in config.items()
        },
    )


# Stand-ins for required settings that are missing or wrong, so that the rules about the others can still be judged.
_FILLERS: Final = {STACK_KEY: "invalid", "aws:region": "us-east-1", "cacheNodeType": next(iter(NODE_TYPES))}


def _decoded(text: str) -> Any:
    """Objects and lists come as JSON; anything else stays a string, which pydantic turns into the field's type."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _names(model: type[Settings | Subscription]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _encrypted(value: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """Where placeholders stand."""
    if value == stack_file.PLACEHOLDER:
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from _encrypted(part, *path, name)


# What pydantic calls these in Python's words.
_SHAPES: Final = {
    "tuple_type": "it must be a list",
    "dict_type": "it must be a mapping of names to values",
    "model_type": "it must be a mapping of names to values",
}


def _told(stack: str, detail: ErrorDetails, given: Mapping[str, Any]) -> str:
    path = detail["loc"]
    key, top = _path(*path), str(path[0])
    if detail["type"] == "missing":
        return f"{key} is not set. {_command(stack, *path)}"
    if detail["type"] == "extra_forbidden":
        known = ", ".join(sorted(_names(Settings if len(path) == 1 else Subscription) - {STACK_KEY}))
        return f"{key} is no setting. Known: {known}. {_command(stack, *path, remove=True)}"
    value = given.get(top) if len(path) == 1 else detail["input"]
    may_be_secret = top == "alarmSubscriptions" and path[-1] != "protocol"
    shown = "wrong (not shown, as it may hold a password)" if may_be_secret else repr(value)
    what = _SHAPES.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    first = {"tuple_type": (0,), "dict_type": ("<name>",)}.get(detail["type"], ())
    return f"{key} is {shown}: {what}. {_command(stack, *path, *first)}"


def _path(*parts: str | int) -> str:
    """The setting as Pulumi's `--path` has it: `hitRateFloors.match`, `subnetIds[0]`, `parameterOverrides["a.b"]`."""
    written = str(parts[0])
    for part in parts[1:]:
        if isinstance(part, str) and re.fullmatch(r"[\w<>-]+", part):
            written += f".{part}"
        else:
            written += f"[{json.dumps(part)}]"
    return written


def _command(stack: str, *path: str | int, remove: bool = False) -> str:
    setting = f"--stack {stack} {'--path ' if len(path) > 1 else ''}{shlex.quote(_path(*path))}"
    if remove:
        return f"Remove it with: pulumi config rm {setting}"
    return f"Set it with: pulumi config set {setting} <value>"
