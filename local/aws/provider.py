"""The engine's provider protocol for `aws`: messages in, messages out. What to do stands in `resources`.

The engine sends requests for many resources at a time. A preview asks for the same as an update, with `preview` set:
nothing is made then, and what would be computed is unknown.
"""

from __future__ import annotations

import threading
from concurrent import futures
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Self, cast

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from infra.translations.base import UntranslatedError
from local.aws import functions, wire
from local.aws.resources import UnknownTypeError
from local.errors import LocalError
from local.valkey import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.struct_pb2 import Struct

    from local.aws.kinds import Record
    from local.aws.resources import Resources

# The engine's default is a resource per core at a time; more wait in line.
_THREADS: Final = 32
# Archives and policies; the engine's own limit.
_MESSAGE_BYTES: Final = 400 * 1024 * 1024
_NOT_OFFERED: Final = ("Call", "Construct", "GetMapping", "GetMappings", "GetSchema", "List", "Parameterize")


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One stack's provider; the engine attaches to it for each command and says Cancel at the command's end."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._cancelled = threading.Event()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._cancelled.clear()
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_resources=True, accept_outputs=False)

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        # The engine warns of a plugin that is older than the program's package.
        return plugin_pb2.PluginInfo(version=version("pulumi-aws"))

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        old, new = (wire.plain(message).get("region") for message in (request.old_inputs, request.news))
        changes = provider_pb2.DiffResponse
        return changes(changes=changes.DIFF_NONE if old == new else changes.DIFF_SOME)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        region = wire.plain(request.args).get("region") or request.variables.get("aws:config:region")
        if region and not wire.is_unknown(region):
            self._resources.region = region
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, acceptResources=True, acceptOutputs=False, supportsPreview=True
        )

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._answering(context, request.tok):
            answer = functions.invoke(request.tok, wire.plain(request.args), self._resources.region)
            return provider_pb2.InvokeResponse(**{"return": wire.message(answer)})

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._answering(context, request.urn):
            named, failures = self._resources.check(
                request.type,
                request.name,
                wire.plain(request.olds),
                wire.plain(request.news),
                seed=request.randomSeed,
                secret=wire.secret_names(request.news),
            )
            return provider_pb2.CheckResponse(
                inputs=wire.with_values(request.news, named),
                failures=[
                    provider_pb2.CheckFailure(property=failure.property, reason=failure.reason) for failure in failures
                ],
            )

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._answering(context, request.urn):
            old_inputs = request.old_inputs if request.HasField("old_inputs") else request.olds
            found = self._resources.difference(
                request.type, wire.plain(old_inputs), wire.plain(request.news), request.ignoreChanges
            )
            kinds = provider_pb2.PropertyDiff
            return provider_pb2.DiffResponse(
                changes=provider_pb2.DiffResponse.DIFF_SOME if found.changed else provider_pb2.DiffResponse.DIFF_NONE,
                diffs=found.changed,
                replaces=found.replaces,
                deleteBeforeReplace=found.delete_first,
                # An update leaves the computed ones alone, so that a preview knows what depends on them.
                stables=["id", *self._resources.stable_outputs(request.type)],
                hasDetailedDiff=True,
                detailedDiff={
                    key: provider_pb2.PropertyDiff(
                        kind=kinds.UPDATE_REPLACE if key in found.replaces else kinds.UPDATE, inputDiff=True
                    )
                    for key in found.changed
                },
            )

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._answering(context, request.urn):
            if request.preview:
                unknown = self._resources.unknown_outputs(request.type)
                return provider_pb2.CreateResponse(properties=wire.with_values(request.properties, unknown))
            record = self._resources.create(request.type, request.urn, wire.plain(request.properties))
            return provider_pb2.CreateResponse(id=record.id, properties=_state(request.properties, record))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._answering(context, request.urn):
            found = self._resources.read(request.type, request.id)
            if found is None:
                return provider_pb2.ReadResponse()
            inputs = request.inputs if request.HasField("inputs") else wire.message(found.record.inputs)
            inputs = wire.with_values(inputs, found.drift)
            return provider_pb2.ReadResponse(id=request.id, properties=_state(inputs, found.record), inputs=inputs)

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._answering(context, request.urn):
            if request.preview:
                olds = wire.plain(request.olds)
                outputs = {key: olds[key] for key in self._resources.unknown_outputs(request.type) if key in olds}
                return provider_pb2.UpdateResponse(properties=wire.with_values(request.news, outputs))
            record = self._resources.update(
                request.type, request.id, wire.plain(request.old_inputs), wire.plain(request.news)
            )
            return provider_pb2.UpdateResponse(properties=_state(request.news, record))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._answering(context, request.urn):
            inputs = request.old_inputs if request.HasField("old_inputs") else request.properties
            self._resources.delete(request.type, request.id, wire.plain(inputs))
            return empty_pb2.Empty()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._cancelled.set()
        return empty_pb2.Empty()

    @contextmanager
    def _answering(self, context: grpc.ServicerContext, what: str) -> Iterator[None]:
        """Turns what goes wrong into one sentence for the CLI to show against the resource."""
        if self._cancelled.is_set():
            context.abort(grpc.StatusCode.CANCELLED, f"{what}: the command was cancelled")
        try:
            yield
        except UnknownTypeError as error:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error.args[0]))
        except UntranslatedError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error.args[0]))
        except (LocalError, ValueError) as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))


def _state(inputs: Struct, record: Record) -> Struct:
    """The whole state: inputs as they were sent, secrets still wrapped, and the computed outputs."""
    return wire.with_values(inputs, record.outputs)


def _refused(method: str) -> Any:
    def answer(self: Provider, request: Any, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method}: the local provider has resources and functions only.")

    return answer


for _method in _NOT_OFFERED:
    setattr(Provider, _method, _refused(_method))


class ProviderServer:
    """`with ProviderServer(resources) as server:` answers the engine at 127.0.0.1, port `server.port`."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def __enter__(self) -> Self:
        options = [("grpc.max_receive_message_length", _MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
        self._threads = futures.ThreadPoolExecutor(_THREADS)
        self._server = grpc.server(self._threads, options=options)
        add = cast("Any", provider_pb2_grpc).add_ResourceProviderServicer_to_server
        add(Provider(self._resources), self._server)
        self.port: int = self._server.add_insecure_port(f"{HOST}:0")
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None).wait()
        self._threads.shutdown()  # what is being made is made: whoever ends this ends that too
