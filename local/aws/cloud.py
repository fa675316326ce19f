"""AWS's API on this machine: moto behind an endpoint of 127.0.0.1, and what moto lacks.

Every request is judged by AWS's own model first. Moto takes what it implements; of the rest it takes nothing, and the
record of resources is all there is (`NOT_IN_MOTO`), or its own objects are changed here (`_GAPS`). Everything lives in
this process and ends with it.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from typing import TYPE_CHECKING, Any, Final, Self
from unittest import mock

import boto3
import botocore.config
from botocore.exceptions import BotoCoreError, ClientError
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.security_groups import SecurityGroup
from moto.elasticache.models import elasticache_backends
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket
from moto.server import ThreadedMotoServer
from werkzeug.routing import Rule

from infra.translations import limits
from local.errors import LocalError
from local.valkey import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.translations.base import Call

ACCOUNT: Final = DEFAULT_ACCOUNT_ID
# Whoever calls moto needs some key; it is none of anybody's.
CREDENTIALS: Final = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}

# Moto 5.2 answers these with 404 or NotImplementedError.
NOT_IN_MOTO: Final = frozenset(
    {
        ("cloudfront", "CreateCachePolicy"),
        ("cloudfront", "CreateMonitoringSubscription"),
        ("cloudfront", "CreateResponseHeadersPolicy"),
        ("cloudwatch", "PutCompositeAlarm"),
        ("elasticache", "CreateCacheParameterGroup"),
        ("elasticache", "ModifyCacheParameterGroup"),
        ("elasticache", "CreateUserGroup"),
        ("elasticache", "ModifyUserGroup"),
    }
)


class RefusedError(LocalError):
    """AWS would refuse this request, or moto did. Its text says which, and why."""

    def __init__(self, text: str, *, gone: bool = False) -> None:
        super().__init__(text)
        self.gone = gone


class Cloud:
    """`with Cloud() as cloud:` answers at `cloud.endpoint` as AWS would, for boto3 and `cloud.send` alike."""

    def __enter__(self) -> Self:
        self._patches = contextlib.ExitStack()
        self._patches.enter_context(mock.patch.object(FakeBucket, "get_permission", _permission))
        self._patches.enter_context(mock.patch.object(Rule, "compile", _one_at_a_time(Rule.compile)))
        self._server = ThreadedMotoServer(HOST, port=0, verbose=False)
        self._server.start()
        _, port = self._server.get_host_and_port()
        self.endpoint = f"http://{HOST}:{port}"
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()
        self._server.stop()
        assert self._server._server is not None
        self._server._server.server_close()
        # Moto's backends are the process's: the next one starts empty.
        BackendDict.reset()
        reset_model_data()
        self._patches.close()

    def client(self, service: str, region: str) -> Any:
        """Boto3's client; made once, since making one takes 50 ms."""
        with self._lock:  # making clients is not safe between threads
            key = (service, region)
            if key not in self._clients:
                self._clients[key] = boto3.client(
                    service,
                    region_name=region,
                    endpoint_url=self.endpoint,
                    config=botocore.config.Config(retries={"total_max_attempts": 1}, max_pool_connections=32),
                    **CREDENTIALS,
                )
            return self._clients[key]

    def send(self, call: Call, region: str) -> dict[str, Any]:
        """The answer to one request; raises RefusedError with the parameter, its value and what is allowed."""
        for problem in limits.problems(call):
            raise RefusedError(f"{problem}.")
        if (call.service, call.operation) in NOT_IN_MOTO:
            return {}
        if gap := _GAPS.get(call.operation):
            gap(elasticache_backends[ACCOUNT][region], call.parameters)
            return {}
        method = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", call.operation).lower()
        try:
            answer: dict[str, Any] = getattr(self.client(call.service, region), method)(**self._completed(call, region))
        except ClientError as error:
            told = error.response["Error"]
            raise RefusedError(f"{call.operation}: {told.get('Message')} ({told['Code']})", gone=_gone(error)) from None
        except BotoCoreError as error:
            raise RefusedError(f"{call.operation}: {error}") from None
        return answer

    def adopt_security_group(self, id_: str, *, beside: str, region: str) -> None:
        """Makes a group that a setting names and no stack declares, in the network of `beside`.

        On AWS it is the application's. Moto takes no rule about a group that it does not have.
        """
        backend = ec2_backends[ACCOUNT][region]
        own = backend.get_security_group_from_id(beside)
        if own is None or own.vpc_id is None or backend.get_security_group_from_id(id_) is not None:
            return
        # Moto itself makes groups so; the property it leaves abstract is CloudFormation's.
        group = SecurityGroup(backend, id_, id_, "Not of this stack", vpc_id=own.vpc_id)  # type: ignore[abstract]
        backend.groups[own.vpc_id][id_] = group

    def _completed(self, call: Call, region: str) -> dict[str, Any]:
        """What the API wants of the sender and not of the declaration, and what moto wants beyond the API."""
        if call.operation == "CreateBucket" and region != "us-east-1":
            return call.parameters | {"CreateBucketConfiguration": {"LocationConstraint": region}}
        if call.operation == "CreateReplicationGroup":
            # Moto counts nodes by replicas alone, and takes shards only if told that there are any.
            if "NumNodeGroups" in call.parameters:
                return call.parameters | {"ClusterMode": "enabled"}
            nodes = call.parameters.get("NumCacheClusters", 1)
            kept = {key: value for key, value in call.parameters.items() if key != "NumCacheClusters"}
            return kept | ({"ReplicasPerNodeGroup": nodes - 1} if nodes > 1 else {})
        return call.parameters


def _permission(bucket: Any, action: str, resource: str) -> PermissionResult:
    """What the bucket's policy says. Moto knows no conditions, and takes "deny without TLS" for "deny"."""
    if bucket.policy is None:
        return PermissionResult.NEUTRAL
    document = json.loads(bucket.policy)
    document["Statement"] = [statement for statement in document["Statement"] if "Condition" not in statement]
    return IAMPolicy(json.dumps(document)).is_action_permitted(action, resource)


def _one_at_a_time(compile_rule: Callable[[Rule], None]) -> Callable[[Rule], None]:
    """For Pythons below 3.12, whose parser of source does not bear two threads (python/cpython#106905).

    Moto compiles a service's routes by way of source, at the first request: two such at once were a 500 now and then.
    """
    lock = threading.RLock()

    def locked(rule: Rule) -> None:
        with lock:
            compile_rule(rule)

    return locked


def _gone(error: ClientError) -> bool:
    """Whether an error says that the resource is not there. Every service has its own word for it."""
    told = error.response["Error"]
    words = ("NotFound", "NoSuch", "NotExist", "Missing")
    return told["Code"] == "404" or any(word in told["Code"] for word in words)


def _modify_user(backend: Any, parameters: dict[str, Any]) -> None:
    user = backend.users.get(parameters["UserId"])
    if user is None:
        raise RefusedError(f"ModifyUser: user {parameters['UserId']} is not there", gone=True)
    user.access_string = parameters.get("AccessString", user.access_string)


def _modify_subnet_group(backend: Any, parameters: dict[str, Any]) -> None:
    old = _taken(backend.cache_subnet_groups, parameters["CacheSubnetGroupName"])
    backend.create_cache_subnet_group(
        old.cache_subnet_group_name,
        parameters.get("CacheSubnetGroupDescription", old.cache_subnet_group_description),
        parameters.get("SubnetIds", old.subnet_ids),
        old.tags,
    )


def _delete_subnet_group(backend: Any, parameters: dict[str, Any]) -> None:
    _taken(backend.cache_subnet_groups, parameters["CacheSubnetGroupName"])


def _delete_user(backend: Any, parameters: dict[str, Any]) -> None:
    """Moto keeps a deleted user until somebody asks for it, and its id taken."""
    _taken(backend.users, parameters["UserId"])


def _delete_replication_group(backend: Any, parameters: dict[str, Any]) -> None:
    """As with users; moto keeps it for good."""
    _taken(backend.replication_groups, parameters["ReplicationGroupId"])


def _taken(table: dict[str, Any], name: str) -> Any:
    if name not in table:
        raise RefusedError(f"{name} is not there", gone=True)
    return table.pop(name)


_GAPS: Final[dict[str, Callable[[Any, dict[str, Any]], None]]] = {
    "ModifyUser": _modify_user,
    "ModifyCacheSubnetGroup": _modify_subnet_group,
    "DeleteCacheSubnetGroup": _delete_subnet_group,
    "DeleteUser": _delete_user,
    "DeleteReplicationGroup": _delete_replication_group,
}
