"""Values as the engine sends them, and back. Pure.

What arrives is answered by changing the message itself, so that secrets stay wrapped and archives stay archives. The
plain form beside it is for deciding: whole numbers are ints, secrets are open, what is not known yet is UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import pulumi
from google.protobuf import struct_pb2
from pulumi.provider.experimental.property_value import Computed, PropertyValue
from pulumi.runtime import rpc

if TYPE_CHECKING:
    from collections.abc import Iterable

UNKNOWN: Final = rpc.UNKNOWN


@dataclass(frozen=True)
class Elided:
    """An archive or asset of which the engine says only what was in it, by its hash: that of the state, mostly."""

    hash: str


def plain(message: struct_pb2.Struct) -> dict[str, Any]:
    """The properties in a message. Raises ValueError for what is no property value.

    Archives and assets keep the engine's `hash` of what was in them: their files may have changed since.
    """
    return {key: _hashed(value) or _plain(PropertyValue.unmarshal(value)) for key, value in message.fields.items()}


def _hashed(value: struct_pb2.Value) -> Elided | pulumi.Asset | pulumi.Archive | None:
    fields = value.struct_value.fields
    if rpc._special_sig_key not in fields or "hash" not in fields:
        return None
    hashed = fields["hash"].string_value
    if not fields.keys() & {"assets", "path", "text", "uri"}:
        return Elided(hashed)
    made: Any = PropertyValue.unmarshal(value).value
    made.hash = hashed
    return cast("pulumi.Asset | pulumi.Archive", made)


def secret_names(message: struct_pb2.Struct) -> frozenset[str]:
    """The properties that are secret or have a secret in them: their values belong into no message."""
    return frozenset(key for key, value in PropertyValue.unmarshal_map(message).items() if value.contains_secret())


def is_unknown(value: Any) -> bool:
    """Whether `value` is not known yet, or has something in it that is not."""
    if isinstance(value, Mapping):
        return any(is_unknown(inner) for inner in value.values())
    if isinstance(value, str):
        return value == UNKNOWN
    return isinstance(value, Sequence) and any(is_unknown(inner) for inner in value)


def with_values(message: struct_pb2.Struct, values: Mapping[str, Any]) -> struct_pb2.Struct:
    """A copy of the message with some properties replaced; None takes one away."""
    made = struct_pb2.Struct()
    made.CopyFrom(message)
    for key, value in values.items():
        if value is None:
            made.fields.pop(key, None)
        else:
            made.fields[key].CopyFrom(_value(value))
    return made


def message(values: Mapping[str, Any], *, secret: Iterable[str] = ()) -> struct_pb2.Struct:
    """Plain properties as a message, those named in `secret` wrapped."""
    made = with_values(struct_pb2.Struct(), values)
    for key in secret:
        if key in made.fields:
            inner = struct_pb2.Value()
            inner.CopyFrom(made.fields[key])
            envelope = made.fields[key].struct_value
            envelope.Clear()
            envelope.fields[rpc._special_sig_key].string_value = rpc._special_secret_sig
            envelope.fields["value"].CopyFrom(inner)
    return made


def _value(value: Any) -> struct_pb2.Value:
    made = struct_pb2.Struct()
    made.update({"value": value})
    return made.fields["value"]


def _plain(value: PropertyValue) -> Any:
    inner: Any = value.value
    if isinstance(inner, Computed):
        return UNKNOWN
    if isinstance(inner, bool | str | pulumi.Asset | pulumi.Archive) or inner is None:
        return inner
    if isinstance(inner, float):
        return int(inner) if inner.is_integer() else inner
    if isinstance(inner, Mapping):
        return {key: _plain(part) for key, part in inner.items()}
    if isinstance(inner, Sequence):
        return [_plain(part) for part in inner]
    raise ValueError(f"a {type(inner).__name__} is no value of a resource of AWS")
