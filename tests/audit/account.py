"""The declared stacks in an account of moto's, behind a server on 127.0.0.1 that Prowler can scan."""

from __future__ import annotations

import contextlib
import graphlib
import logging
import os
import re
from typing import TYPE_CHECKING, Any, Final

import boto3
from moto.cloudfront.models import Origin
from moto.server import ThreadedMotoServer

from infra.translations import TRANSLATIONS
from local.valkey import HOST
from tests.infra.stack import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from infra.translations.base import Call
    from tests.infra.stack import Declared, Resource

REGION: Final = "us-east-1"
# What moto 5 does not implement. Checkov sees these.
NOT_IN_MOTO: Final = {
    "aws:cloudfront/cachePolicy:CachePolicy",
    "aws:cloudfront/monitoringSubscription:MonitoringSubscription",
    "aws:cloudfront/responseHeadersPolicy:ResponseHeadersPolicy",
    "aws:cloudwatch/compositeAlarm:CompositeAlarm",
    "aws:elasticache/parameterGroup:ParameterGroup",
    "aws:elasticache/userGroup:UserGroup",
}


@contextlib.contextmanager
def account(stacks: list[Declared]) -> Iterator[str]:
    """The endpoint of an account in which `stacks` were made."""
    with _whole_origins():
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # what moto lacks is told by NOT_IN_MOTO
        server = ThreadedMotoServer(HOST, 0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            endpoint = f"http://{host}:{port}"
            for declared in stacks:
                Maker(endpoint).make(declared)
            yield endpoint
        finally:
            server.stop()


@contextlib.contextmanager
def _whole_origins() -> Iterator[None]:
    """moto forgets an origin's access control and empty S3 settings; Prowler would then not report on it."""
    kept = Origin.__init__

    def remember(self: Any, origin: dict[str, Any]) -> None:
        kept(self, origin)
        self.OriginAccessControlId = origin.get("OriginAccessControlId", "")
        self.S3OriginConfig = origin.get("S3OriginConfig", {})

    Origin.__init__ = remember  # type: ignore[method-assign]
    try:
        yield
    finally:
        Origin.__init__ = kept  # type: ignore[method-assign]


class Maker:
    """Makes one stack, in the order of its dependencies.

    The mocks' ids and ARNs are replaced by those that moto gave; `known` are such replacements for what is there
    already. Without `endpoint` it makes them in this process.
    """

    def __init__(self, endpoint: str | None = None, known: Mapping[str, str] | None = None) -> None:
        self._session = boto3.Session("testing", "testing", region_name=REGION)
        self._endpoint = endpoint
        self._real = dict(known or {})

    def make(self, declared: Declared) -> None:
        resources = {resource.urn: resource for resource in declared.resources if not resource.is_component}
        order = graphlib.TopologicalSorter(
            {urn: [need for need in resource.dependencies if need in resources] for urn, resource in resources.items()}
        )
        for urn in order.static_order():
            if resources[urn].type not in NOT_IN_MOTO:
                self._make_one(resources[urn])
        self._make_members(declared)

    def _make_members(self, declared: Declared) -> None:
        """moto names a group's members and does not make them; Prowler skips a group without any."""
        group = {"ReplicationGroupId": declared.settings.names.replication_group}
        described = self._send("elasticache", "DescribeReplicationGroups", group)["ReplicationGroups"][0]
        for member in sorted(set(described["MemberClusters"])):
            self._send(
                "elasticache",
                "CreateCacheCluster",
                {
                    **group,
                    "CacheClusterId": member,
                    "CacheNodeType": declared.settings.cache_node_type,
                    "Engine": "valkey",
                    "CacheSubnetGroupName": declared.settings.names.of("cache"),
                },
            )

    def _make_one(self, resource: Resource) -> None:
        kind = resource.type.rpartition(":")[2].lower()
        name = resource.inputs.get("name", resource.name)
        for call in TRANSLATIONS[resource.type].calls(resource.inputs):
            self._learn(resource, f"arn:aws:{kind}:::{name}", self._call(call))
        if kind == "loggroup":
            self._real[f"arn:aws:{kind}:::{name}"] = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}"

    def _call(self, call: Call) -> dict[str, Any]:
        return self._send(call.service, call.operation, self._replaced(call.parameters))

    def _send(self, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        client = self._session.client(service, endpoint_url=self._endpoint)
        method = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", operation).lower()
        answer: dict[str, Any] = getattr(client, method)(**parameters)
        return answer

    def _learn(self, resource: Resource, arn: str, answer: dict[str, Any]) -> None:
        for made in (answer, *(value for value in answer.values() if isinstance(value, dict))):
            for key, value in made.items():
                if key in ("VpcId", "SubnetId", "GroupId", "KeyId", "Id"):
                    self._real[f"{{{key}}}"] = self._real[resource.name] = value
                elif key in ("Arn", "ARN", "arn", "FunctionArn"):
                    self._real[arn] = value

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._replaced(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._replaced(inner) for inner in value]
        return self._real.get(value, value) if isinstance(value, str) else value


def environment(endpoint: str) -> dict[str, str]:
    """The environment in which a tool finds that account, and no other."""
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
