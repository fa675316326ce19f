"""What a real engine once sent, sent again: `engine/*.jsonl` are its requests, one file for each command."""

from __future__ import annotations

import json
import threading
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from local.aws import wire
from local.aws.provider import ProviderServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.aws.resources import Resources
    from tests.local.aws.conftest import LocalAws

RECORDED = Path(__file__).parent / "engine"
MESSAGES = {
    "Handshake": provider_pb2.ProviderHandshakeRequest, "Attach": plugin_pb2.PluginAttach,
    "GetPluginInfo": empty_pb2.Empty, "CheckConfig": provider_pb2.CheckRequest, "DiffConfig": provider_pb2.DiffRequest,
    "Configure": provider_pb2.ConfigureRequest, "Invoke": provider_pb2.InvokeRequest,
    "Check": provider_pb2.CheckRequest, "Diff": provider_pb2.DiffRequest, "Create": provider_pb2.CreateRequest,
    "Update": provider_pb2.UpdateRequest, "Read": provider_pb2.ReadRequest, "Delete": provider_pb2.DeleteRequest,
    "Cancel": empty_pb2.Empty,
}  # fmt: skip
KNOWN = ("subnetGroup", "key:Key", "bucket", "replicationGroup", "metricAlarm")


def recorded(command: str) -> list[tuple[str, Any]]:
    (file,) = RECORDED.glob(f"*-{command}.jsonl")
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    return [
        (entry["method"], json_format.ParseDict(entry["request"], MESSAGES[entry["method"]]())) for entry in entries
    ]


@pytest.fixture
def provider(local_aws: LocalAws) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{local_aws.port}") as channel:
        yield cast("Any", provider_pb2_grpc).ResourceProviderStub(channel)


def send_all(provider: Any, command: str) -> dict[str, dict[str, Any]]:
    """Every request of a command in its order; `{method: {resource or function: answer}}`. Refusals are their text."""
    answers: dict[str, dict[str, Any]] = {}
    for method, request in recorded(command):
        key = getattr(request, "name", "") or getattr(request, "tok", "").rpartition(":")[2]
        try:
            answer = getattr(provider, method)(request)
        except grpc.RpcError as error:
            answer = cast("Any", error).details()
        answers.setdefault(method, {})[key] = answer
    return answers


def test_what_is_being_made_at_the_end_is_made_before_it() -> None:
    """Else it would be made when what ends it has ended."""
    is_asked, may_be_made = threading.Event(), threading.Event()

    class Slow:
        def create(self, *_: object) -> None:
            is_asked.set()
            may_be_made.wait(60)

    server = ProviderServer(cast("Resources", Slow()))
    server.__enter__()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel, futures.ThreadPoolExecutor(1) as thread:
        stub = cast("Any", provider_pb2_grpc).ResourceProviderStub(channel)
        asked = stub.Create.future(provider_pb2.CreateRequest(urn="urn", type="type"))
        assert is_asked.wait(10)
        ending = thread.submit(server.__exit__)
        assert isinstance(asked.exception(10), grpc.RpcError)  # nobody waits for it any more
        with pytest.raises(futures.TimeoutError):
            ending.result(0.2)
        may_be_made.set()
        ending.result(10)


def test_a_preview_is_answered_and_makes_nothing(provider: Any, local_aws: LocalAws) -> None:
    answers = send_all(provider, "preview")

    assert answers["Configure"]["default_7_51_1"].supportsPreview
    caller = wire.plain(getattr(answers["Invoke"]["getCallerIdentity"], "return"))
    assert caller["accountId"] == "123456789012"
    zones = wire.plain(getattr(answers["Invoke"]["getAvailabilityZones"], "return"))
    assert zones["names"][:2] == ["us-east-1a", "us-east-1b"]
    group = wire.plain(answers["Create"]["rg"].properties)
    assert group["kmsKeyId"] == group["primaryEndpointAddress"] == wire.UNKNOWN
    assert group["numCacheClusters"] == 2
    assert wire.plain(answers["Create"]["k"].properties)["arn"] == wire.UNKNOWN
    assert len(local_aws.resources) == 0


def test_a_type_that_no_stack_declares_is_refused_by_name(provider: Any) -> None:
    answers = send_all(provider, "preview")

    assert "'aws:secretsmanager/secret:Secret' is not known here" in answers["Check"]["sec"]


def test_what_has_no_name_gets_one_from_the_seed(provider: Any) -> None:
    answers = send_all(provider, "preview")

    name = wire.plain(answers["Check"]["static"].inputs)["bucket"]
    assert name.startswith("static-")
    assert len(name) == len("static-") + 7
    assert wire.plain(send_all(provider, "preview")["Check"]["static"].inputs)["bucket"] == name


@pytest.mark.parametrize(
    ("command", "changed", "replaced"),
    [("up-scale", {"rg": ["nodeType"]}, {}), ("noop", {}, {}), ("replace", {"sg": ["name"]}, {"sg": ["name"]})],
)
def test_differences_are_the_engines(
    command: str, changed: dict[str, list[str]], replaced: dict[str, list[str]], provider: Any
) -> None:
    answers = {
        name: answer for name, answer in send_all(provider, command)["Diff"].items() if not isinstance(answer, str)
    }

    found = {name: list(answer.diffs) for name, answer in answers.items() if answer.diffs}
    found.pop("rg" if command == "replace" else "", None)  # it follows the subnet group's name
    assert found == changed
    assert {name: list(answer.replaces) for name, answer in answers.items() if answer.replaces and name != "rg"} == (
        replaced
    )
    for name, answer in answers.items():
        if name in replaced:
            assert answer.deleteBeforeReplace, "the program chose its name"


def test_a_lower_engine_version_is_previewed_as_a_new_cache(local_aws: LocalAws) -> None:
    def difference(before: str, after: str) -> tuple[str, ...]:
        type_ = "aws:elasticache/replicationGroup:ReplicationGroup"
        return local_aws.resources.difference(type_, {"engineVersion": before}, {"engineVersion": after}).replaces

    assert difference("9.0", "9.1") == ()
    assert difference("9.1", "9.0") == ("engineVersion",)


def test_a_refresh_of_what_is_not_there_says_gone(provider: Any) -> None:
    answers = send_all(provider, "refresh")

    assert answers["Read"]["sg"].id == ""


def test_destroying_what_is_gone_is_no_error(provider: Any) -> None:
    answers = send_all(provider, "destroy")

    refused = {name: answer for name, answer in answers["Delete"].items() if isinstance(answer, str)}
    assert set(refused) == {"sec", "ver"}, refused


def test_secrets_stay_wrapped_and_out_of_messages(provider: Any) -> None:
    news = wire.message({"name": "alias/aws/hunter2", "targetKeyId": "1"}, secret=["name"])

    answer = provider.Check(
        provider_pb2.CheckRequest(urn="urn:pulumi:x", type="aws:kms/alias:Alias", name="a", news=news)
    )

    assert answer.inputs == news
    (failure,) = answer.failures
    assert failure.property == "name"
    assert "hunter2" not in failure.reason


@pytest.mark.parametrize("method", ["Construct", "Call", "GetSchema", "Parameterize"])
def test_what_is_not_offered_is_refused_by_name(method: str, provider: Any) -> None:
    requests = {
        "Construct": provider_pb2.ConstructRequest, "Call": provider_pb2.CallRequest,
        "GetSchema": provider_pb2.GetSchemaRequest, "Parameterize": provider_pb2.ParameterizeRequest,
    }  # fmt: skip

    with pytest.raises(grpc.RpcError, match=f"{method}: the local provider has resources and functions only"):
        getattr(provider, method)(requests[method]())


def test_an_unknown_function_is_refused_by_name(provider: Any) -> None:
    with pytest.raises(grpc.RpcError, match="function 'aws:ec2/getAmi:getAmi' is not known here"):
        provider.Invoke(provider_pb2.InvokeRequest(tok="aws:ec2/getAmi:getAmi"))


def test_after_cancel_nothing_is_made_until_the_next_command(provider: Any, local_aws: LocalAws) -> None:
    key = provider_pb2.CreateRequest(
        urn="urn:pulumi:x", type="aws:kms/key:Key", name="k", properties=wire.message({"description": "x"})
    )
    provider.Cancel(empty_pb2.Empty())
    with pytest.raises(grpc.RpcError, match="the command was cancelled"):
        provider.Create(key)
    assert len(local_aws.resources) == 0

    provider.Handshake(provider_pb2.ProviderHandshakeRequest())
    assert provider.Create(key).id


def test_a_name_is_taken_once_and_what_a_dead_command_left_is_made_anew(provider: Any, local_aws: LocalAws) -> None:
    def create(urn: str) -> Any:
        return provider.Create(
            provider_pb2.CreateRequest(
                urn=urn,
                type="aws:cloudwatch/dashboard:Dashboard",
                name="d",
                properties=wire.message({"dashboardName": "one", "dashboardBody": '{"widgets": []}'}),
            )
        )

    create("urn:pulumi:first")
    with pytest.raises(grpc.RpcError, match="Dashboard one exists already, as urn:pulumi:first"):
        create("urn:pulumi:second")
    assert create("urn:pulumi:first").id == "one"

    assert len(local_aws.resources) == 1
