"""What a stack declares, as plain values: runs the whole program without an engine, an account or a network."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pulumi
from pulumi.runtime import mocks

from cache.catalog import CATALOG, Catalog
from infra import program, settings

if TYPE_CHECKING:
    from infra.settings import Settings

# A made-up account: AWS's own documentation uses it.
ACCOUNT: Final = "123456789012"
_SECRET = "4dabf18193072939515e22adb298388d"  # noqa: S105 - how Pulumi marks a secret on the wire


@dataclass(frozen=True)
class Resource:
    """One declared resource: inputs as AWS would get them, whole numbers as ints, secrets unwrapped.

    `references` are the resources that each input was made from; `secrets` the inputs that Pulumi keeps encrypted.
    """

    type: str
    name: str
    inputs: dict[str, Any]
    parent: str
    dependencies: tuple[str, ...]
    references: dict[str, tuple[str, ...]]
    protect: bool
    secrets: frozenset[str]
    urn: str

    @property
    def is_component(self) -> bool:
        return self.type.startswith("roleferry:")


@dataclass(frozen=True)
class Declared:
    """A stack: its resources in the order of their names, and its outputs."""

    settings: Settings
    resources: tuple[Resource, ...]
    outputs: dict[str, Any]

    def of(self, type_: str) -> list[Resource]:
        """The resources of a type, named as in `aws:kms/key:Key` or by its last word."""
        return [resource for resource in self.resources if type_ in (resource.type, resource.type.rpartition(":")[2])]

    def one(self, type_: str, name: str | None = None) -> Resource:
        found = [resource for resource in self.of(type_) if name in (None, resource.name)]
        assert len(found) == 1, f"{type_} {name or ''}: {[resource.urn for resource in found]}"
        return found[0]


class _Monitor(mocks.MockMonitor):
    """Keeps what the engine would be told of each resource beside its inputs."""

    def __init__(self, answers: mocks.Mocks) -> None:
        super().__init__(answers)
        self.requests: list[Any] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the engine's name
        if request.type != "pulumi:pulumi:Stack":
            self.requests.append(request)
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]


class _Answers(mocks.Mocks):
    """What AWS would answer, as far as other resources build on it."""

    def __init__(self) -> None:
        self.inputs: dict[tuple[str, str], dict[str, Any]] = {}

    def call(self, args: mocks.MockCallArgs) -> Any:
        match args.token.rpartition(":")[2]:
            case "getCallerIdentity":
                return {"accountId": ACCOUNT, "id": ACCOUNT}, []
            case "getAvailabilityZones":
                return {"names": [f"us-east-1{zone}" for zone in "abc"], "id": "us-east-1"}, []
        raise AssertionError(f"unexpected call of {args.token}")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        inputs = plain(args.inputs)
        self.inputs[args.typ, args.name] = inputs
        kind = args.typ.rpartition(":")[2]
        name = inputs.get("name") or inputs.get("bucket") or inputs.get("replicationGroupId") or args.name
        outputs = inputs | {"arn": f"arn:aws:{kind.lower()}:::{name}", "name": name}
        match kind:
            case "Key":
                outputs["keyId"] = name
            case "ReplicationGroup":
                group = inputs["replicationGroupId"]
                outputs |= {
                    "primaryEndpointAddress": f"master.{group}.example",
                    "readerEndpointAddress": f"replica.{group}.example",
                    "configurationEndpointAddress": f"clustercfg.{group}.example",
                }
            case "Topic":
                outputs["arn"] = f"arn:aws:sns:{inputs['region']}:{ACCOUNT}:{name}"
            case "Bucket":
                outputs["arn"] = f"arn:aws:s3:::{name}"
                outputs["bucketRegionalDomainName"] = f"{name}.s3.us-east-1.amazonaws.com"
            case "Distribution":
                outputs["domainName"] = "d111111abcdef8.cloudfront.net"
        return name, outputs


def _is_secret(field: Any) -> bool:
    return field.HasField("struct_value") and _SECRET in field.struct_value.fields


def plain(value: Any) -> Any:
    """`value` without what the mocks' wire adds: 2.0 for 2, and envelopes around secrets."""
    if isinstance(value, dict):
        if _SECRET in value:
            return plain(value["value"])
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def declare(chosen: Settings, catalog: Catalog = CATALOG) -> Declared:
    """The program run for one stack."""
    asyncio.set_event_loop(_event_loop())
    answers = _Answers()
    monitor = _Monitor(answers)
    mocks.set_mocks(answers, project=settings.PROJECT, stack=chosen.stack, monitor=monitor)
    outputs: dict[str, Any] = {}

    @mocks.test  # type: ignore[untyped-decorator]
    def run() -> pulumi.Output[None]:
        made = program.declare(chosen, catalog)
        return pulumi.Output.all(**made).apply(lambda values: outputs.update(plain(values)))

    run()
    resources = [
        Resource(
            type=request.type,
            name=request.name,
            inputs=answers.inputs[request.type, request.name],
            parent=request.parent,
            dependencies=tuple(request.dependencies),
            references={key: tuple(found.urns) for key, found in request.propertyDependencies.items()},
            protect=request.protect,
            secrets=frozenset(key for key, field in request.object.fields.items() if _is_secret(field)),
            urn=monitor.make_urn(request.parent, request.type, request.name),
        )
        for request in monitor.requests
    ]
    return Declared(chosen, tuple(sorted(resources, key=lambda resource: (resource.type, resource.name))), outputs)


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    """For Pulumi, which asks for the thread's: `asyncio.run` takes it away, and a newer Python makes none by itself.

    One for all runs, never closed: the threads that Pulumi starts in it have loops of their own, and end with it.
    """
    return asyncio.new_event_loop()
