"""What AWS would refuse, told before anything is made: property, value, reason. Pure.

First AWS's own model of its API (types, required parameters, enumerations, limits), then the rules that stand only in
its documentation. What is not known yet is judged once it is.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cache.nodes import NODE_TYPES
from infra import parameters
from infra.translations import TRANSLATIONS, limits
from infra.translations.base import UntranslatedError
from infra.windows import DailyWindow, WeeklyWindow
from local.aws.wire import is_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from infra.translations.base import Translation

    Inputs = Mapping[str, Any]
    Rule = Callable[[Inputs], Iterator[tuple[str, str]]]

_SHOWN: Final = 100


@dataclass(frozen=True)
class Failure:
    """One property that AWS would refuse; `reason` has the value in it."""

    property: str
    reason: str


def failures(type_: str, inputs: Inputs, secret: frozenset[str] = frozenset()) -> list[Failure]:
    """Everything that is wrong with the inputs of one resource; empty if AWS would take them.

    Values of properties in `secret` are not shown.
    """
    found = [*_by_model(TRANSLATIONS[type_], inputs), *_by_rules(type_, inputs)]
    told = []
    for key, reason in dict(found).items():
        value = inputs.get(key)
        if is_unknown(value):
            continue
        if key in secret:
            told.append(Failure(key, f"{key} is a secret whose value AWS does not take."))
        elif value is None:
            told.append(Failure(key, f"{key} is not set: {reason}."))
        else:
            shown = repr(value)
            told.append(Failure(key, f"{key} is {shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}: {reason}."))
    return told


def _by_model(translation: Translation, inputs: Inputs) -> Iterator[tuple[str, str]]:
    try:
        calls = translation.calls(inputs)
    except UntranslatedError as error:
        named = re.search(r"'(\w+)'", str(error))
        yield (named[1] if named else "", str(error).rstrip("."))
        return
    except KeyError as error:
        yield str(error.args[0]), "it is required"
        return
    except (AttributeError, TypeError, ValueError):
        if not is_unknown(dict(inputs)):
            raise
        return  # a part of it is not known yet, so that there is no request to judge
    for call in calls:
        for problem in limits.problems(call):
            if not is_unknown(problem.value):
                yield _property(translation, problem.path, inputs), problem.reason


def _property(translation: Translation, path: str, inputs: Inputs) -> str:
    """The property behind a parameter such as `PutMetricAlarm.AlarmDescription`."""
    words = [re.sub(r"\W.*", "", word) for word in path.split(".")[1:]]
    by_parameter = {parameter: name for name, parameter in translation.names.items()}
    if words and words[0] in by_parameter:
        return by_parameter[words[0]]
    properties = [f"{word[:1].lower()}{word[1:]}" for word in words]
    return next((name for name in properties if name in inputs), properties[-1] if properties else "")


def _by_rules(type_: str, inputs: Inputs) -> Iterator[tuple[str, str]]:
    known = {key: value for key, value in inputs.items() if not is_unknown(value)}
    for rule in _RULES.get(type_, ()):
        yield from rule(known)


def _matches(key: str, pattern: str, what: str) -> Rule:
    compiled = re.compile(pattern)

    def rule(inputs: Inputs) -> Iterator[tuple[str, str]]:
        if key in inputs and not compiled.fullmatch(str(inputs[key])):
            yield key, what

    return rule


def _json(key: str) -> Rule:
    def rule(inputs: Inputs) -> Iterator[tuple[str, str]]:
        try:
            document = json.loads(inputs.get(key, "{}"))
        except ValueError as error:
            yield key, f"it is no JSON: {error}"
            return
        if not isinstance(document, dict):
            yield key, "it must be a JSON object"

    return rule


def _network(key: str, least: int, most: int) -> Rule:
    def rule(inputs: Inputs) -> Iterator[tuple[str, str]]:
        try:
            prefix = ipaddress.ip_network(inputs.get(key, "10.0.0.0/16")).prefixlen
        except ValueError as error:
            yield key, str(error)
            return
        if not least <= prefix <= most:
            yield key, f"a range from /{least} to /{most} is allowed"

    return rule


def _group_size(inputs: Inputs) -> Iterator[tuple[str, str]]:
    """https://docs.aws.amazon.com/AmazonElastiCache/latest/APIReference/API_CreateReplicationGroup.html"""
    nodes = inputs.get("numCacheClusters", 1)
    if "numNodeGroups" in inputs:
        if "numCacheClusters" in inputs:
            yield "numCacheClusters", "with numNodeGroups set replicasPerNodeGroup instead"
        if not inputs.get("automaticFailoverEnabled"):
            yield "automaticFailoverEnabled", "it must be true with numNodeGroups"
        if not 1 <= inputs["numNodeGroups"] <= 500:
            yield "numNodeGroups", "1 to 500 shards are allowed"
        if not 0 <= inputs.get("replicasPerNodeGroup", 0) <= 5:
            yield "replicasPerNodeGroup", "0 to 5 replicas are allowed"
        return
    if not 1 <= nodes <= 6:
        yield "numCacheClusters", "1 to 6 nodes are allowed"
    if inputs.get("automaticFailoverEnabled") and nodes < 2 and "replicasPerNodeGroup" not in inputs:
        yield "numCacheClusters", "automaticFailoverEnabled needs a node to fail over to: at least 2"


def _group(inputs: Inputs) -> Iterator[tuple[str, str]]:
    if "nodeType" in inputs and inputs["nodeType"] not in NODE_TYPES:
        yield "nodeType", f"known are {', '.join(NODE_TYPES)}"
    if inputs.get("engine", "valkey") != "valkey":
        yield "engine", "valkey is the engine that runs here"
    if "engineVersion" in inputs and inputs["engineVersion"] not in parameters.FAMILIES:
        yield "engineVersion", f"ElastiCache has {', '.join(parameters.FAMILIES)}"
    if inputs.get("multiAzEnabled") and not inputs.get("automaticFailoverEnabled"):
        yield "multiAzEnabled", "it needs automaticFailoverEnabled"
    if "transitEncryptionMode" in inputs and not inputs.get("transitEncryptionEnabled"):
        yield "transitEncryptionMode", "it needs transitEncryptionEnabled"
    if inputs.get("userGroupIds") and not inputs.get("transitEncryptionEnabled"):
        yield "userGroupIds", "users need transitEncryptionEnabled"
    if len(inputs.get("userGroupIds", [])) > 1:
        yield "userGroupIds", "one user group is allowed"


def _group_windows(inputs: Inputs) -> Iterator[tuple[str, str]]:
    windows: dict[str, Any] = {}
    for key, kind in (("maintenanceWindow", WeeklyWindow), ("snapshotWindow", DailyWindow)):
        if key in inputs:
            try:
                windows[key] = kind.parse(inputs[key])
            except ValueError as error:
                yield key, str(error)
    if len(windows) == 2 and windows["maintenanceWindow"].overlaps(windows["snapshotWindow"]):
        yield "maintenanceWindow", f"it overlaps snapshotWindow, {inputs['snapshotWindow']}"


def _parameters(inputs: Inputs) -> Iterator[tuple[str, str]]:
    if "family" in inputs and inputs["family"] not in parameters.FAMILIES.values():
        yield "family", f"known are {', '.join(sorted(set(parameters.FAMILIES.values())))}"
    values = {p["name"]: str(p["value"]) for p in inputs.get("parameters", [])}
    values.pop("cluster-enabled", None)  # a group says so for cluster mode; no setting does
    for name, value in values.items():
        if problem := parameters.problem(name, value):
            yield "parameters", f"{name!r} is {value!r}; {problem.rstrip('.')}"


def _user(inputs: Inputs) -> Iterator[tuple[str, str]]:
    """https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html"""
    mode = inputs.get("authenticationMode")
    if mode and mode.get("type") == "iam" and inputs.get("userId") != inputs.get("userName"):
        yield "userName", f"it must be the userId, {inputs.get('userId')!r}, to sign in by IAM"
    if mode and mode.get("type") not in ("iam", "password", "no-password-required"):
        yield "authenticationMode", "type must be iam, password or no-password-required"
    words = str(inputs.get("accessString", "on")).split()
    if words[:1] not in (["on"], ["off"]):
        yield "accessString", "it must start with on or off"


def _alarm(inputs: Inputs) -> Iterator[tuple[str, str]]:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"""
    queries = inputs.get("metricQueries", [])
    if len(queries) > 20:
        yield "metricQueries", "at most 20 are allowed"
    if queries and sum(bool(query.get("returnData")) for query in queries) != 1:
        yield "metricQueries", "exactly one has returnData true"
    for query in queries:
        if not re.fullmatch(r"[a-z][A-Za-z0-9_]*", query.get("id", "")):
            yield "metricQueries", f"id {query.get('id')!r} must start with a small letter"
    if inputs.get("datapointsToAlarm", 0) > inputs.get("evaluationPeriods", 0):
        yield "datapointsToAlarm", f"at most evaluationPeriods, {inputs.get('evaluationPeriods')}, are allowed"


def _ports(inputs: Inputs) -> Iterator[tuple[str, str]]:
    low, high = inputs.get("fromPort", 0), inputs.get("toPort", 65535)
    if not 0 <= low <= high <= 65535:
        yield "toPort", f"0 <= fromPort, {low}, <= toPort <= 65535 must hold"


_ELASTICACHE_NAME: Final = "small letters, digits and single hyphens are allowed, a letter first, up to {} characters"
_BUCKET: Final = "3 to 63 small letters, digits, dots and hyphens are allowed, a letter or digit first and last"

_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "aws:cloudwatch/dashboard:Dashboard": (
        _json("dashboardBody"),
        _matches("dashboardName", r"[A-Za-z0-9_-]{1,255}", "letters, digits, - and _ are allowed, up to 255"),
    ),
    "aws:cloudwatch/eventRule:EventRule": (
        _matches("scheduleExpression", r"(cron|rate)\(.+\)", "it must be cron(…) or rate(…)"),
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": (_alarm,),
    "aws:ec2/subnet:Subnet": (_network("cidrBlock", 16, 28),),
    "aws:ec2/vpc:Vpc": (_network("cidrBlock", 16, 28),),
    "aws:elasticache/parameterGroup:ParameterGroup": (
        _parameters,
        _matches("name", r"(?=.{1,255}$)[a-z](-?[a-z0-9])*", _ELASTICACHE_NAME.format(255)),
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": (
        _group,
        _group_size,
        _group_windows,
        _matches("replicationGroupId", r"(?=.{1,40}$)[a-z](-?[a-z0-9])*", _ELASTICACHE_NAME.format(40)),
    ),
    "aws:elasticache/subnetGroup:SubnetGroup": (
        _matches("name", r"(?=.{1,255}$)[a-z](-?[a-z0-9])*", _ELASTICACHE_NAME.format(255)),
    ),
    "aws:elasticache/user:User": (_user,),
    "aws:iam/policy:Policy": (_json("policy"),),
    "aws:iam/role:Role": (_json("assumeRolePolicy"),),
    "aws:iam/rolePolicy:RolePolicy": (_json("policy"),),
    "aws:kms/alias:Alias": (
        _matches("name", r"alias/(?!aws/)[A-Za-z0-9/_-]+", "it must be alias/… and not alias/aws/…"),
    ),
    "aws:kms/key:Key": (_json("policy"),),
    "aws:s3/bucket:Bucket": (_matches("bucket", r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", _BUCKET),),
    "aws:s3/bucketPolicy:BucketPolicy": (_json("policy"),),
    "aws:sns/topicPolicy:TopicPolicy": (_json("policy"),),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": (_ports,),
}
