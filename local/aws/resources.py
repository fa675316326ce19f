"""What is made, changed, replaced, read and deleted, resource by resource. Knows no protocol.

What is made is recorded with its inputs: for what moto lacks the record is the resource. A failure while something is
made takes back what was made of it; updating and deleting can be repeated, so the next `up` mends what one left.
"""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import jmespath

from infra.translations import TRANSLATIONS, limits
from infra.translations.base import Call, tag_list
from local.aws import acts, caches, judge
from local.aws.cloud import ACCOUNT, RefusedError
from local.aws.kinds import KINDS, Record
from local.aws.wire import UNKNOWN, is_unknown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from local.aws.caches import Caches
    from local.aws.cloud import Cloud
    from local.aws.kinds import Kind

    Inputs = Mapping[str, Any]

# AWS's own default, and what decides nothing: the provider alone reads these.
_PROVIDERS_OWN: Final = frozenset(
    {"applyImmediately", "deletionWindowInDays", "forceDestroy", "forceDetachPolicies", "publish", "region",
     "reservedConcurrentExecutions", "skipDestroy"}
)  # fmt: skip

# What AWS does not delete while a cache needs it: the operation that it refuses, and the cache's property.
_NEEDED_AS: Final = {
    "aws:ec2/securityGroup:SecurityGroup": ("DeleteSecurityGroup", "securityGroupIds"),
    "aws:elasticache/parameterGroup:ParameterGroup": ("DeleteCacheParameterGroup", "parameterGroupName"),
    "aws:elasticache/subnetGroup:SubnetGroup": ("DeleteCacheSubnetGroup", "subnetGroupName"),
}


class UnknownTypeError(LookupError):
    """A resource type that is not in the tables."""


@dataclass(frozen=True)
class Difference:
    """The properties that changed; `replaces` are those among them that make a new resource."""

    changed: tuple[str, ...]
    replaces: tuple[str, ...]
    delete_first: bool


@dataclass(frozen=True)
class Found:
    """A resource as it is now: `drift` has the properties that are not as recorded, None for one that is gone."""

    record: Record
    drift: dict[str, Any] = field(default_factory=dict)


class Resources:
    """Every resource of one stack. `region` is that of what does not name one. Safe to call from many threads."""

    def __init__(self, cloud: Cloud, caches: Caches) -> None:
        self.region = "us-east-1"
        self._cloud = cloud
        self._caches = caches
        self._records: dict[tuple[str, str], Record] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._records)

    def of(self, type_: str) -> list[Record]:
        """What is recorded of one type."""
        with self._lock:
            return [record for (kind, _), record in self._records.items() if kind == type_]

    def check(
        self, type_: str, logical: str, olds: Inputs, news: Inputs, *, seed: bytes, secret: frozenset[str]
    ) -> tuple[dict[str, str], list[judge.Failure]]:
        """(names for what has none, what AWS would refuse)."""
        kind = _kind(type_)
        named: dict[str, str] = {}
        if kind.name and kind.name not in news:
            old = olds.get(kind.name)
            # As the real provider does; the same seed gives the same name.
            named[kind.name] = old or f"{logical}-{hashlib.sha256(seed or logical.encode()).hexdigest()[:7]}".lower()
        return named, judge.failures(type_, {**news, **named}, secret)

    def difference(self, type_: str, olds: Inputs, news: Inputs, ignored: Collection[str] = ()) -> Difference:
        """What changes from the old inputs to the new. What is not known yet counts as changed."""
        kind = _kind(type_)
        skipped = {path.split(".")[0].split("[")[0] for path in ignored}
        changed = tuple(key for key in sorted({*olds, *news} - skipped) if not _same(olds.get(key), news.get(key)))
        replaces = tuple(key for key in changed if key in {*TRANSLATIONS[type_].replacing(olds, news), "region"})
        # As the real provider: with a name that it could have chosen and the program did, the old one goes first, even
        # where the name changes (https://github.com/pulumi/pulumi/issues/6350); so it does here with a fixed id, which
        # stands for one that the provider chooses anew.
        is_named = kind.name is not None or kind.id.isalpha()
        return Difference(changed, replaces, bool(replaces) and is_named)

    def unknown_outputs(self, type_: str) -> dict[str, Any]:
        """The outputs of a resource that is not made yet."""
        return dict.fromkeys(self._outputs(type_), UNKNOWN)

    def stable_outputs(self, type_: str) -> list[str]:
        """The outputs that no update changes."""
        return sorted(_kind(type_).outputs)

    @staticmethod
    def _outputs(type_: str) -> set[str]:
        return {*_kind(type_).outputs, *(caches.OUTPUTS if type_ == acts.REPLICATION_GROUP else ())}

    def create(self, type_: str, urn: str, inputs: Inputs) -> Record:
        """Makes it. Raises RefusedError, and then nothing is left of it."""
        kind, region = _kind(type_), str(inputs.get("region", self.region))
        done: list[dict[str, Any]] = []
        facts: dict[str, Any] = {**inputs, "region": region, "account": ACCOUNT}
        if not kind.id.startswith("@"):
            self._make_room(type_, _text(kind.id, facts), urn)
        try:
            for call in acts.creation(self._cloud, type_, inputs, region):
                done.append(self._cloud.send(_answered(call, done), region))
                if len(done) == 1:
                    facts["id"] = self._identify(kind.id, facts, done[0])
            facts.setdefault("id", self._identify(kind.id, facts, {}))
            outputs = {key: self._identify(text, facts, (done or [{}])[0]) for key, text in kind.outputs.items()}
            self._put(Record(type_, facts["id"], urn, region, dict(inputs), outputs))
            self._changed(type_)
        except Exception:
            if "id" in facts:
                self._take_back(type_, facts["id"], inputs)
            raise
        return self._records[type_, facts["id"]]

    def _make_room(self, type_: str, id_: str, urn: str) -> None:
        """What a command made that died before it could note it, is made anew; what is another's stays."""
        with self._lock:
            record = self._records.get((type_, id_))
        if record is None:
            return
        if record.urn != urn:
            raise RefusedError(f"{type_} {id_} exists already, as {record.urn}.")
        self._remove(type_, id_, record.inputs)

    def update(self, type_: str, id_: str, olds: Inputs, news: Inputs) -> Record:
        """Changes it in place. Raises RefusedError; the same update can be tried again."""
        old = self._record(type_, id_)
        facts = {**news, **old.outputs, "id": id_, "region": old.region, "account": ACCOUNT}
        changed = self.difference(type_, olds, news).changed
        self._put(replace(old, inputs=dict(news)))
        try:
            for call in self.changes(type_, changed, facts, news):
                self._cloud.send(call, old.region)
            acts.update(self._cloud, type_, id_, news, old.region, changed)
            try:
                self._changed(type_)
            except RefusedError:  # the servers stay as they were, so what describes them does too
                acts.update(self._cloud, type_, id_, old.inputs, old.region, changed)
                raise
        except Exception:
            self._put(old)
            raise
        return self._records[type_, id_]

    def read(self, type_: str, id_: str) -> Found | None:
        """The resource as it is now; None if it is gone."""
        kind = _kind(type_)
        record = self._records.get((type_, id_))
        if record is None:
            return None
        if kind.read is None:
            return Found(record)
        now = self._seen(kind, record)
        if not now or (type_ == acts.REPLICATION_GROUP and not self._caches.is_running(id_)):
            self._remove(type_, id_, record.inputs)  # what is left of it, so that it can be made again
            return None
        drift = {}
        names = TRANSLATIONS[type_].names
        for key, path in {**{key: names[key] for key in kind.as_sent}, **kind.seen}.items():
            seen = jmespath.search(path, now)
            if not _alike(record.inputs.get(key), seen):
                drift[key] = json.dumps(seen) if isinstance(seen, dict) else seen
        return Found(record, drift)

    def _seen(self, kind: Kind, record: Record) -> Any:
        """The resource as AWS describes it; nothing if it is gone."""
        assert kind.read is not None
        facts = {**record.inputs, **record.outputs, "id": record.id, "region": record.region, "account": ACCOUNT}
        try:
            answer = self._cloud.send(_filled(kind.read, facts), record.region)
        except RefusedError as error:
            if error.gone:
                return None
            raise
        return jmespath.search(_text(kind.found, facts), answer)

    def delete(self, type_: str, id_: str, inputs: Inputs) -> None:
        """Removes it. One that is gone already is no error; raises RefusedError for one that a cache needs."""
        if type_ in _NEEDED_AS:
            operation, key = _NEEDED_AS[type_]
            for group in self.of(acts.REPLICATION_GROUP):
                used = group.inputs.get(key, ())
                if id_ in (used if isinstance(used, list) else [used]):
                    raise RefusedError(f"{operation}: {id_} is used by {group.id}.")
        self._remove(type_, id_, inputs)

    def _remove(self, type_: str, id_: str, inputs: Inputs) -> None:
        kind = _kind(type_)
        with self._lock:
            record = self._records.get((type_, id_))
        region = record.region if record else str(inputs.get("region", self.region))
        outputs = record.outputs if record else {}
        facts = {"deletionWindowInDays": 30, **inputs, **outputs, "id": id_, "region": region, "account": ACCOUNT}
        if type_ == acts.REPLICATION_GROUP:
            self._caches.stop(id_)
        try:
            acts.delete(self._cloud, type_, id_, inputs, region)
            for call in kind.delete:
                self._cloud.send(_filled(call, facts), region)
        except RefusedError as error:
            if not error.gone:
                raise
        with self._lock:
            self._records.pop((type_, id_), None)

    def _record(self, type_: str, id_: str) -> Record:
        with self._lock:
            record = self._records.get((type_, id_))
        if record is None:
            raise RefusedError(f"{type_} {id_} is not there. Run refresh first.", gone=True)
        return record

    def _put(self, record: Record) -> None:
        with self._lock:
            self._records[record.type, record.id] = record

    @staticmethod
    def _identify(template: str, facts: Inputs, answer: Inputs) -> str:
        if template == "@uuid":
            return str(uuid.uuid4())
        if template.startswith("@"):
            return str(jmespath.search(template[1:], answer))
        return _text(template, facts)

    def _take_back(self, type_: str, id_: str, inputs: Inputs) -> None:
        try:
            self._remove(type_, id_, inputs)
        except RefusedError:
            return  # the failure that led here is the one to tell

    def _changed(self, type_: str) -> None:
        """The running caches follow what is declared of them: parameters, users, size."""
        if not type_.startswith("aws:elasticache/"):
            return
        for record in self.of(acts.REPLICATION_GROUP):
            outputs = self._caches.apply(caches.spec(record.inputs, record.region, self.of))
            self._put(replace(record, outputs={**record.outputs, **outputs}))

    @staticmethod
    def changes(type_: str, changed: Iterable[str], facts: Inputs, news: Inputs) -> list[Call]:
        """The requests for the properties that changed. None for what moto lacks: the record is changed."""
        kind, translation = KINDS[type_], TRANSLATIONS[type_]
        if kind.read is None:
            return []
        calls: list[Call] = []
        rest = []
        for key in changed:
            if key == "tags" and kind.tag:
                calls.append(_filled(kind.tag, {**facts, **_tag_forms(news.get("tags", {}))}))
            elif key in kind.changes:
                if key not in news:
                    raise RefusedError(f"{key} is not set any more, which cannot be done in place. Run destroy and up.")
                calls.append(_filled(kind.changes[key], facts))
            elif key not in _PROVIDERS_OWN:
                rest.append(key)
        if rest and translation.update and not acts.updates(type_):
            made = translation.calls(news)
            repeated = [call for call in made if call.operation == translation.update]
            calls += repeated or [_restricted(made[0], translation.update)]
        return calls


def _kind(type_: str) -> Kind:
    if type_ not in KINDS or type_ not in TRANSLATIONS:
        raise UnknownTypeError(
            f"resource type {type_!r} is not known here: no stack declares it. "
            "Add it to infra/translations and local/aws/kinds.py."
        )
    return KINDS[type_]


def _same(old: Any, new: Any) -> bool:
    if is_unknown(new):
        return False
    return _alike(old, new)


def _alike(old: Any, new: Any) -> bool:
    """Equal as AWS sees it: nothing and empty are the same, and so are two spellings of one JSON document."""
    if old == new or (not old and not new and old is not False and new is not False):
        return True
    if isinstance(old, list) and isinstance(new, list) and all(isinstance(part, str) for part in (*old, *new)):
        return sorted(old) == sorted(new)
    if isinstance(old, str) and old.startswith("{"):
        try:
            return bool(json.loads(old) == (json.loads(new) if isinstance(new, str) else new))
        except ValueError:
            return False
    return hasattr(old, "hash") and old.hash == getattr(new, "hash", None)


def _tag_forms(tags: dict[str, str]) -> dict[str, Any]:
    return {
        "tag_list": tag_list(tags),
        "kms_tags": [{"TagKey": key, "TagValue": value} for key, value in sorted(tags.items())],
    }


def _answered(call: Call, done: list[dict[str, Any]]) -> Call:
    """`{KeyId}` and `{VpcId}` are what AWS answered to the first request."""
    facts: dict[str, Any] = {}
    for answer in done[:1]:
        for part in answer.values():
            if isinstance(part, dict):
                facts |= {key: value for key, value in part.items() if key in ("KeyId", "VpcId")}
    parameters = {
        key: facts.get(value[1:-1], value) if isinstance(value, str) and value in ("{KeyId}", "{VpcId}") else value
        for key, value in call.parameters.items()
    }
    return Call(call.service, call.operation, parameters)


def _restricted(call: Call, operation: str) -> Call:
    """The parameters of the creation that the update takes too."""
    taken = limits.input_shape(call.service, operation).members
    return Call(call.service, operation, {key: value for key, value in call.parameters.items() if key in taken})


def _filled(call: Call, facts: Inputs) -> Call:
    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        if isinstance(value, str) and value.startswith("{") and value.endswith("}") and value[1:-1] in facts:
            return facts[value[1:-1]]
        return _text(value, facts) if isinstance(value, str) else value

    return Call(call.service, call.operation, fill(call.parameters))


def _text(template: str, facts: Inputs) -> str:
    """`{name}`s filled in. Braces of JMESPath and JSON do not occur in the tables."""
    return template.format_map(facts) if "{" in template else template
