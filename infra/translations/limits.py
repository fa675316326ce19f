"""What AWS's own model of its API says against a request. Reads botocore's data; sends nothing.

botocore's validator knows types and required parameters; words outside an enumeration and sizes it lets pass.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import botocore.session
from botocore.validate import ParamValidator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.translations.base import Call

_SESSION: Final = botocore.session.get_session()


@dataclass(frozen=True)
class Problem:
    """`path` starts with the operation, as in `PutMetricAlarm.AlarmDescription`; `value` is what was sent there."""

    path: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.path} is {self.value!r}: {self.reason}"


@functools.cache
def input_shape(service: str, operation: str) -> Any:
    return _SESSION.get_service_model(service).operation_model(operation).input_shape


def problems(call: Call) -> list[Problem]:
    """What AWS would refuse of this request before it looks at the account."""
    shape = input_shape(call.service, call.operation)
    report = ParamValidator().validate(call.parameters, shape)
    if report.has_errors():
        return [_told(call, line) for line in report.generate_report().splitlines()]
    return list(_outside(shape, call.parameters, call.operation))


_PARAMETER: Final = re.compile(r"parameter:? ?([\w.\[\]]+)")
_MISSING: Final = re.compile(r'Missing required parameter in (\w+)(.*): "(\w+)"')


def _told(call: Call, line: str) -> Problem:
    """A line of botocore's report, such as `Invalid type for parameter Port, value: x, type: …, valid types: …`."""
    if missing := _MISSING.search(line):
        inside = "" if missing[1] == "input" else f"{missing[1]}{missing[2]}."
        return Problem(f"{call.operation}.{inside}{missing[3]}", None, "it is required")
    named = _PARAMETER.search(line)
    path = f"{call.operation}.{named[1]}" if named else call.operation
    value = call.parameters.get(named[1].split(".")[0].split("[")[0]) if named else None
    return Problem(path, value, line)


def _outside(shape: Any, value: Any, path: str) -> Iterator[Problem]:
    match shape.type_name:
        case "structure":
            inside = [(shape.members[key], inner, f"{path}.{key}") for key, inner in value.items()]
        case "list":
            inside = [(shape.member, inner, f"{path}[]") for inner in value]
        case "map":
            inside = [(shape.value, inner, f"{path}.{key}") for key, inner in value.items()]
        case _:
            inside = []
            yield from _leaf(shape, value, path)
    for inner_shape, inner, inner_path in inside:
        yield from _outside(inner_shape, inner, inner_path)


def _leaf(shape: Any, value: Any, path: str) -> Iterator[Problem]:
    if getattr(shape, "enum", None) and value not in shape.enum:
        yield Problem(path, value, f"allowed are {', '.join(shape.enum)}")
    size = value if isinstance(value, int | float) else len(value)
    longest = shape.metadata.get("max")
    if longest is not None and size > longest:
        yield Problem(path, value, f"it is {size}; at most {longest}")
    pattern = shape.metadata.get("pattern")
    # Patterns are Java's; those with classes that Python does not know are left out.
    if pattern and isinstance(value, str) and "\\p" not in pattern and not re.search(pattern, value):
        yield Problem(path, value, f"it must match {pattern}")
