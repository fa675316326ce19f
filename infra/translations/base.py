"""What a translation is, and the pieces that most of them share. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Inputs: TypeAlias = Mapping[str, Any]
    Convert: TypeAlias = Callable[[Any], Any]
    Table: TypeAlias = Mapping[str, str | tuple[str, Convert]]


@dataclass(frozen=True)
class Call:
    """One request: boto3's name of the service, the API's name of the operation."""

    service: str
    operation: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Translation:
    """How one resource type is made. `calls` are in the order in which they are sent; `{KeyId}` and `{VpcId}` in one
    stand for what AWS answered to the one before, which the sender puts in.

    `names` are the API's parameters by property, where they are known one by one. A change of what is in `replaces`
    makes a new resource; so does a lower version in `replaces_if_lower`.
    """

    calls: Callable[[Inputs], list[Call]]
    replaces: frozenset[str]
    update: str | None
    names: Mapping[str, str] = field(default_factory=dict)
    replaces_if_lower: frozenset[str] = frozenset()

    def replacing(self, olds: Inputs, news: Inputs) -> frozenset[str]:
        """The properties of which a change from `olds` to `news` makes a new resource."""
        both = self.replaces_if_lower & olds.keys() & news.keys()
        return self.replaces | {key for key in both if _version(news[key]) < _version(olds[key])}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


class UntranslatedError(LookupError):
    """A declared property that the table does not know."""


def pascal(value: Any) -> Any:
    """Keys in Pascal case all the way down, as most of AWS's APIs have them."""
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: pascal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [pascal(inner) for inner in value]
    return value


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


TAGS: Final = {"tags": ("Tags", tag_list)}
# Properties that only the provider reads, for all types.
_PROVIDERS_OWN: Final = frozenset({"region", "forceDestroy", "applyImmediately", "deletionWindowInDays"})


def renamed(inputs: Inputs, table: Table, *, elsewhere: frozenset[str]) -> dict[str, Any]:
    """The parameters that `table` names, converted. Properties `elsewhere` are for another call."""
    parameters = {}
    for key, value in inputs.items():
        if key in _PROVIDERS_OWN or key in elsewhere:
            continue
        if key not in table:
            raise UntranslatedError(f"property {key!r} has no translation. Known: {', '.join(table)}.")
        entry = table[key]
        name, convert = entry if isinstance(entry, tuple) else (entry, _same)
        parameters[name] = convert(value)
    return parameters


def renaming(
    service: str,
    operation: str,
    table: Table,
    *,
    replaces: str,
    update: str | None,
    fixed: Inputs | None = None,
    then: Callable[[Inputs], list[Call]] | None = None,
    elsewhere: str = "",
    replaces_if_lower: str = "",
) -> Translation:
    """One call with renamed properties, `fixed` parameters beside them, and further calls for what is `elsewhere`."""

    def calls(inputs: Inputs) -> list[Call]:
        parameters = {**renamed(inputs, table, elsewhere=frozenset(elsewhere.split())), **(fixed or {})}
        return [Call(service, operation, parameters), *(then(inputs) if then else [])]

    names = {key: entry if isinstance(entry, str) else entry[0] for key, entry in table.items()}
    return Translation(calls, frozenset(replaces.split()), update, names, frozenset(replaces_if_lower.split()))


def _same(value: Any) -> Any:
    return value
