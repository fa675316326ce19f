"""Does to a provider what Pulumi's engine does: the same requests in the same order, over real gRPC.

The program is run by Pulumi's own SDK. What it registers goes through Check, Diff, Create or Update as it comes, many
resources at a time; what it registers no more is deleted. Left out: aliases, imports, parallel deletes, plugins.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import pickle
import threading
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import pulumi
import yaml
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime import mocks, rpc
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, resource_pb2

from infra import program, recorded, settings
from tests.infra import stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SEED = b"0123456789abcdef"


class EngineError(AssertionError):
    """What the CLI would show of a failed command: one line for each resource."""


@dataclass(frozen=True)
class State:
    """One resource in the stack's state."""

    urn: str
    type: str
    name: str
    id: str
    inputs: Any
    outputs: Any
    ignored: tuple[str, ...]
    trigger: Any


class Engine:
    """One stack on one provider. `steps` are what the last command did: (operation, name), previews left out."""

    def __init__(self, port: int, stack_name: str, settings_file: Path | None = None) -> None:
        self.stack_name = stack_name
        self._settings_file = settings_file or stack.ROOT / f"Pulumi.{stack_name}.yaml"
        self.state: dict[str, State] = {}
        self.outputs: dict[str, Any] = {}
        self.previewed: dict[str, Any] = {}
        self.steps: list[tuple[str, str]] = []
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._provider = cast("Any", provider_pb2_grpc).ResourceProviderStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def save(self, file: Path) -> None:
        """The state and outputs, for another process to go on from."""
        file.write_bytes(pickle.dumps((self.state, self.outputs)))

    def load(self, file: Path) -> None:
        if file.exists():
            self.state, self.outputs = pickle.loads(file.read_bytes())  # noqa: S301 - our own

    def up(self, changes: Mapping[str, Any] | None = None) -> None:
        """As `pulumi up --skip-preview`. Raises EngineError; what was made stays in the state."""
        self._run(changes, preview=False)

    def preview(self, changes: Mapping[str, Any] | None = None) -> list[tuple[str, str]]:
        """What `up` would do."""
        kept = dict(self.state)
        try:
            return self._run(changes, preview=True)
        finally:
            self.state = kept

    def refresh(self) -> dict[str, list[str]]:
        """Takes over what has become of the resources. `{name: properties that drifted}`; gone ones are `["gone"]`."""
        drifted: dict[str, list[str]] = {}
        with self._command("us-east-1", new=False):
            for urn, state in list(self.state.items()):
                answer = self._provider.Read(
                    provider_pb2.ReadRequest(
                        id=state.id, urn=urn, name=state.name, type=state.type, inputs=_elided(state.inputs),
                        properties=_elided(state.outputs),
                    )
                )  # fmt: skip
                if not answer.id:
                    drifted[state.name] = ["gone"]
                    del self.state[urn]
                    continue
                diff = self._diff(state, answer.inputs)
                if diff.changes == provider_pb2.DiffResponse.DIFF_SOME:
                    drifted[state.name] = list(diff.diffs)
                self.state[urn] = replace(
                    state,
                    inputs=_restored(answer.inputs, state.inputs),
                    outputs=_restored(answer.properties, state.inputs),
                )
        return drifted

    def destroy(self) -> None:
        """Deletes what the state has, the last made first, protected or not."""
        self.steps = []
        with self._command("us-east-1", new=False):
            for state in reversed(list(self.state.values())):
                self._delete(state)
        self.outputs = {}

    def of(self, type_: str, name: str | None = None) -> State:
        """The only resource of a type, or the one of that name."""
        (found,) = [
            state for state in self.state.values()
            if state.type.endswith(f":{type_}") and name in (None, state.name)
        ]  # fmt: skip
        return found

    def _run(self, changes: Mapping[str, Any] | None, *, preview: bool) -> list[tuple[str, str]]:
        self.steps = []
        document = yaml.safe_load(self._settings_file.read_text())
        config = document["config"] | {f"{settings.PROJECT}:{key}": value for key, value in (changes or {}).items()}
        chosen = settings.read(
            self.stack_name,
            {
                key: value if isinstance(value, str) else json.dumps(value)
                for key, value in config.items()
                if value is not None
            },
        )
        with self._command(chosen.region, new=not self.state):
            run = _Run(self, preview=preview)
            run.execute(chosen)
            if run.errors:
                raise EngineError("\n".join(run.errors))
            for state in reversed(list(self.state.values())):
                if state.urn not in run.registered:
                    self.steps.append(("delete", state.name))
                    if not preview:
                        self._delete(state)
            for old in reversed(run.replaced):
                self._delete(old, from_state=False)
        if preview:
            self.previewed = run.outputs
        else:
            self.outputs = run.outputs
        return self.steps

    @contextmanager
    def _command(self, region: str, *, new: bool) -> Iterator[None]:
        provider, urn = self._provider, f"urn:pulumi:{self.stack_name}::x::pulumi:providers:aws::default"
        provider.Handshake(provider_pb2.ProviderHandshakeRequest(engine_address="127.0.0.1:0"))
        provider.Attach(plugin_pb2.PluginAttach(address="127.0.0.1:0"))
        provider.GetPluginInfo(empty_pb2.Empty())
        config = _struct({"region": region, "version": "7.51.1"})
        provider.CheckConfig(provider_pb2.CheckRequest(urn=urn, news=config))
        if not new:
            provider.DiffConfig(provider_pb2.DiffRequest(urn=urn, olds=config, old_inputs=config, news=config))
        configured = provider.Configure(provider_pb2.ConfigureRequest(args=config, acceptSecrets=True))
        assert configured.supportsPreview
        try:
            yield
        finally:
            provider.Cancel(empty_pb2.Empty())

    def _diff(self, state: State, news: Any) -> Any:
        return self._provider.Diff(
            provider_pb2.DiffRequest(
                id=state.id, urn=state.urn, olds=_elided(state.outputs), old_inputs=_elided(state.inputs),
                news=_elided(news), name=state.name, type=state.type, ignoreChanges=state.ignored,
            )
        )  # fmt: skip

    def _delete(self, state: State, *, from_state: bool = True) -> None:
        try:
            self._provider.Delete(
                provider_pb2.DeleteRequest(
                    id=state.id, urn=state.urn, properties=_elided(state.outputs), old_inputs=_elided(state.inputs),
                    name=state.name, type=state.type,
                )
            )  # fmt: skip
        except grpc.RpcError as error:
            raise EngineError(f"{state.urn}: {error.details()}") from None
        self.steps.append(("deleted", state.name))
        if from_state:
            del self.state[state.urn]


class _Run(mocks.MockMonitor):
    """One run of the program. The SDK calls it as it calls the engine, from many threads."""

    def __init__(self, engine: Engine, *, preview: bool) -> None:
        super().__init__(cast("Any", None))
        self._engine = engine
        self._preview = preview
        self._lock = threading.Lock()
        self.registered: set[str] = set()
        self.replaced: list[State] = []
        self.errors: list[str] = []
        self.outputs: dict[str, Any] = {}
        self._is_over = False

    def execute(self, chosen: settings.Settings) -> None:
        """In a thread of its own: the SDK takes the thread's event loop, which here has to end with the run."""
        with futures.ThreadPoolExecutor(1) as thread:
            thread.submit(self._execute, chosen).result()

    def _execute(self, chosen: settings.Settings) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        mocks.set_mocks(
            cast("Any", None), project=settings.PROJECT, stack=chosen.stack, preview=self._preview, monitor=self
        )

        @mocks.test  # type: ignore[untyped-decorator]
        def run() -> pulumi.Output[None]:
            made = program.declare(chosen)
            return pulumi.Output.all(**made).apply(lambda values: self.outputs.update(recorded.plain(values)))

        try:
            run()
        except Exception as error:  # noqa: BLE001 - the SDK wraps it in whatever it was doing
            if not self.errors:
                self.errors.append(repr(error))
        finally:
            self._close(loop)

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        """After a failure requests are still under way; the engine waits for them and starts no more."""
        self._is_over = True
        loop.run_until_complete(loop.shutdown_default_executor())
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        # `errors` has what failed. The SDK leaves futures unread, which would be told by the thousand at exit.
        loop.set_exception_handler(lambda _loop, _context: None)
        loop.close()

    def Invoke(self, request: Any) -> Any:  # noqa: N802
        answer = self._engine._provider.Invoke(
            provider_pb2.InvokeRequest(tok=request.tok, args=request.args, preview=self._preview)
        )
        return resource_pb2.ResourceInvokeResponse(**{"return": getattr(answer, "return")})

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802
        urn = self.make_urn(request.parent, request.type, request.name)
        if not request.custom:
            return resource_pb2.RegisterResourceResponse(urn=urn, object=request.object)
        if self._is_over:
            raise EngineError(f"{urn}: the command has failed before its turn")
        with self._lock:
            self.registered.add(urn)
        try:
            made = self._step(urn, request)
        except grpc.RpcError as error:
            self.errors.append(f"{urn}: {cast('Any', error).details()}")
            raise
        return resource_pb2.RegisterResourceResponse(urn=urn, id=made.id, object=made.outputs)

    def _step(self, urn: str, request: Any) -> State:
        engine, old = self._engine, self._engine.state.get(urn)
        news = _with_hashes(request.object)
        checked = engine._provider.Check(
            provider_pb2.CheckRequest(
                urn=urn, olds=old.inputs if old else None, news=news, randomSeed=_SEED, name=request.name,
                type=request.type,
            )
        )  # fmt: skip
        if checked.failures:
            self.errors += [f"{urn}: {failure.property}: {failure.reason}" for failure in checked.failures]
            raise EngineError(self.errors[-1])
        trigger = json_format.MessageToDict(request.replacement_trigger)
        new = State(urn, request.type, request.name, "", checked.inputs, None, tuple(request.ignoreChanges), trigger)
        if old is None:
            return self._create(new, "create")
        diff = engine._diff(old, checked.inputs)
        causes = list(diff.replaces)
        if None not in (trigger, old.trigger) and trigger != old.trigger:
            causes.append("its trigger")
        if causes:
            if request.protect:
                self.errors.append(f"{urn}: it is protected, and {', '.join(causes)} would replace it")
                raise EngineError(self.errors[-1])
            asked = request.deleteBeforeReplaceDefined
            return self._replace(old, new, first=request.deleteBeforeReplace if asked else diff.deleteBeforeReplace)
        if diff.changes == provider_pb2.DiffResponse.DIFF_SOME:
            return self._update(old, new)
        return old

    def _create(self, new: State, what: str) -> State:
        made = self._engine._provider.Create(
            provider_pb2.CreateRequest(
                urn=new.urn, properties=new.inputs, preview=self._preview, name=new.name, type=new.type
            )
        )
        return self._kept(replace(new, id=made.id or rpc.UNKNOWN, outputs=made.properties), what)

    def _replace(self, old: State, new: State, *, first: bool) -> State:
        if self._preview:
            return self._create(new, "replace")
        if first:
            self._engine._delete(old)
        else:
            self.replaced.append(old)
        return self._create(new, "replace")

    def _update(self, old: State, new: State) -> State:
        made = self._engine._provider.Update(
            provider_pb2.UpdateRequest(
                id=old.id, urn=new.urn, olds=_elided(old.outputs), old_inputs=_elided(old.inputs), news=new.inputs,
                name=new.name, type=new.type, preview=self._preview, ignoreChanges=new.ignored,
            )
        )  # fmt: skip
        return self._kept(replace(new, id=old.id, outputs=made.properties), "update")

    def _kept(self, state: State, what: str) -> State:
        with self._lock:
            self._engine.state[state.urn] = state
            self._engine.steps.append((what, state.name))
        return state


def _struct(values: dict[str, Any]) -> Any:
    made = struct_pb2.Struct()
    made.update(values)
    return made


def _archives(message: Any) -> Iterator[tuple[str, Any]]:
    """The properties of the message that are archives with their contents, and what is in them."""
    for key, value in message.fields.items():
        fields = value.struct_value.fields
        if rpc._special_sig_key in fields and "assets" in fields:
            yield key, fields


def _with_hashes(message: Any) -> Any:
    """As the engine does it: beside every archive the hash of what is in it now."""
    made = copy.deepcopy(message)
    for _, archive in _archives(made):
        digest = hashlib.sha256()
        for _, asset in sorted(archive["assets"].struct_value.fields.items()):
            digest.update(Path(asset.struct_value.fields["path"].string_value).read_bytes())
        archive["hash"].string_value = digest.hexdigest()
    return made


def _elided(message: Any) -> Any:
    """As the engine sends a state, and both sides of a Diff: of an archive there is only the hash."""
    made = copy.deepcopy(message)
    for _, archive in _archives(made):
        del archive["assets"]
    return made


def _restored(message: Any, inputs: Any) -> Any:
    """As the engine takes over what was read: the archives are those of the state."""
    made = copy.deepcopy(message)
    for key, _ in _archives(inputs):
        made.fields[key].CopyFrom(inputs.fields[key])
    return made
