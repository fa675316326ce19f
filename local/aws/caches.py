"""Real servers behind each declared replication group: a Valkey per node, and TLS and IAM in front of them.

`apply` makes the running servers what is declared of them, from nothing or from what runs: it is all that creating
and updating need. Differences from ElastiCache: every endpoint is 127.0.0.1, with a port of its own for each node, and
the reader endpoint is the primary's, since an address without a port cannot say more; nodes of a shard fail over on
nobody's word but their own; shards do not move, so that their number is fixed once the group is made.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis

from cache.nodes import NODE_TYPES, RESERVED_MEMORY_PERCENT, NodeType
from infra import parameters
from local.aws.cloud import RefusedError
from local.cluster import ValkeyCluster
from local.iam_token import IamAccess
from local.tls_front import TlsFront
from local.valkey import HOST, Valkey, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Set
    from pathlib import Path

    from local.aws.kinds import Record

    Of = Callable[[str], list[Record]]

# What the servers decide of the resource's state.
OUTPUTS: Final = (
    *("clusterEnabled", "configurationEndpointAddress", "memberClusters"),
    *("port", "primaryEndpointAddress", "readerEndpointAddress"),
)
_ADMINISTRATOR: Final = "local-administrator"
# Decided by the node type and by the layout of the group; no server is asked to set them.
_NOT_SET: Final = frozenset({"cluster-enabled", "reserved-memory-percent"})
# One parameter of ElastiCache is a part of one of the engine's.
_RENAMED: Final = {"client-output-buffer-limit-normal-hard-limit": ("client-output-buffer-limit", "normal {} 0 0")}
_PATIENCE_S: Final = 60
# A primary waits 5 s for more replicas otherwise.
_REPLICATES_AT_ONCE: Final = ("--repl-diskless-sync-delay", "0")


@dataclass(frozen=True)
class User:
    """A declared user: its rules, and how it signs in."""

    name: str
    rules: str
    type: str
    passwords: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Spec:
    """What is declared of one replication group and all that it refers to."""

    id: str
    region: str
    node: NodeType
    shards: int | None
    nodes_per_shard: int
    tls: bool
    parameters: Mapping[str, str]
    users: tuple[User, ...]

    @property
    def maxmemory_bytes(self) -> int:
        """What data may fill: the node type's memory less its reserve."""
        reserved = int(self.parameters.get("reserved-memory-percent", RESERVED_MEMORY_PERCENT))
        return self.node.usable_with(reserved)

    @property
    def member_ids(self) -> list[str]:
        """The nodes' ids as ElastiCache numbers them."""
        if self.shards is None:
            return [f"{self.id}-{node:03d}" for node in range(1, self.nodes_per_shard + 1)]
        return [
            f"{self.id}-{shard:04d}-{node:03d}"
            for shard in range(1, self.shards + 1)
            for node in range(1, self.nodes_per_shard + 1)
        ]


def spec(inputs: Mapping[str, Any], region: str, of: Of) -> Spec:
    """What the group's inputs mean, together with the parameter group and the users. Raises RefusedError."""
    name = inputs.get("parameterGroupName")
    values: dict[str, str] = {}
    if name and not name.startswith("default."):
        group = _named(of("aws:elasticache/parameterGroup:ParameterGroup"), name, "parameterGroupName")
        family, version = group.inputs["family"], inputs.get("engineVersion")
        if version and parameters.FAMILIES[version] != family:
            raise RefusedError(f"parameterGroupName is {name!r}: of family {family}, but engineVersion is {version}.")
        values = {p["name"]: str(p["value"]) for p in group.inputs.get("parameters", [])}
    users = []
    for group_id in inputs.get("userGroupIds", ()):
        for user_id in _named(of("aws:elasticache/userGroup:UserGroup"), group_id, "userGroupIds").inputs["userIds"]:
            user = _named(of("aws:elasticache/user:User"), user_id, "userIds").inputs
            mode = user.get("authenticationMode", {"type": "no-password-required"})
            users.append(User(user["userName"], user["accessString"], mode["type"], tuple(mode.get("passwords", ()))))
    shards = inputs.get("numNodeGroups")
    return Spec(
        id=inputs["replicationGroupId"],
        region=region,
        node=NODE_TYPES[inputs["nodeType"]],
        shards=shards,
        nodes_per_shard=inputs.get("replicasPerNodeGroup", 0) + 1 if shards else inputs.get("numCacheClusters", 1),
        tls=bool(inputs.get("transitEncryptionEnabled")),
        parameters=values,
        users=tuple(users),
    )


def _named(records: list[Record], id_: str, key: str) -> Record:
    for record in records:
        if record.id == id_:
            return record
    raise RefusedError(f"{key} names {id_!r}, which does not exist.")


class Caches:
    """Every group that runs. `access_keys` are the AWS keys whose holder may sign in by IAM."""

    def __init__(self, folder: Path, access_keys: Mapping[str, str]) -> None:
        """The certificate authority of all groups is kept in `folder`."""
        self._folder = folder
        self._access_keys = access_keys
        self._groups: dict[str, _Group] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Caches:
        return self

    def __exit__(self, *_: object) -> None:
        for id_ in list(self._groups):
            self.stop(id_)

    def apply(self, wanted: Spec) -> dict[str, Any]:
        """Starts or changes the group's servers. The outputs of the resource. Raises RefusedError."""
        with self._lock:
            group = self._groups.get(wanted.id)
            if group is None:
                group = _Group(self._folder, self._access_keys)
                try:
                    group.start(wanted)
                    group.change(wanted)
                except BaseException:
                    group.stop()
                    raise
                self._groups[wanted.id] = group
            else:
                group.change(wanted)
            return group.outputs(wanted)

    def is_running(self, id_: str) -> bool:
        """Whether every server of the group answers."""
        group = self._groups.get(id_)
        return group is not None and group.is_running()

    def stop(self, id_: str) -> None:
        """Ends the group's servers, and its data with them. Safe to call for one that does not run."""
        with self._lock:
            if group := self._groups.pop(id_, None):
                group.stop()

    def endpoints(self) -> dict[str, dict[str, Any]]:
        """For each group the ports of its nodes and the certificate authority to trust, as clients need them."""
        # Not under the lock, which is held while servers start; a list, because one may be added meanwhile.
        return {id_: group.endpoints() for id_, group in list(self._groups.items())}


@dataclass(frozen=True)
class _Replica:
    """A node that was added to a running group, and goes by itself."""

    port: int
    front: TlsFront | None
    stack: contextlib.ExitStack


class _Group:
    """The servers of one group. In a shard the first node is the primary."""

    def __init__(self, folder: Path, access_keys: Mapping[str, str]) -> None:
        self._folder = folder
        self._access_keys = access_keys
        self._password = secrets.token_urlsafe(32)
        self._user_passwords: dict[str, str] = {}
        self._stack = contextlib.ExitStack()
        self._replicas: list[_Replica] = []
        self._front: TlsFront | None = None
        self._front_ports: dict[int, int] = {}
        self._engine_defaults: dict[str, str] = {}
        self.ports: list[int] = []

    def start(self, wanted: Spec) -> None:
        self._shards = wanted.shards
        if wanted.shards is None:
            self.ports = [self._stack.enter_context(Valkey(*_REPLICATES_AT_ONCE)).port]
        else:
            replicas = wanted.nodes_per_shard - 1
            cluster = self._stack.enter_context(ValkeyCluster(shards=wanted.shards, replicas=replicas))
            self._replicas_per_shard = replicas
            self.ports = [node.port for node in cluster.nodes]
        self._front = self._open(self.ports, wanted, self._stack)

    def change(self, wanted: Spec) -> None:
        """Sets what is declared: how many nodes, their memory and parameters, who may do what."""
        self._resize(wanted)
        for port in self.ports:
            with self._administrator(port) as client:
                self._set_memory(client, wanted)
                self._set_parameters(client, wanted)
                self._set_users(client, wanted)
        for front in (self._front, *(replica.front for replica in self._replicas)):
            if front:
                front.admit(self._access(wanted))

    def outputs(self, wanted: Spec) -> dict[str, Any]:
        address = {"primaryEndpointAddress": HOST, "readerEndpointAddress": HOST}
        if self._shards is not None:
            address = {"configurationEndpointAddress": HOST}
        return {
            **address,
            "clusterEnabled": self._shards is not None,
            "memberClusters": wanted.member_ids,
            "port": self._public(self.ports[0]),
        }

    def endpoints(self) -> dict[str, Any]:
        authority = str(self._front.ca_file) if self._front else None
        return {"ports": [self._public(port) for port in self.ports], "ca_file": authority}

    def is_running(self) -> bool:
        try:
            for port in self.ports:
                with self._administrator(port) as client:
                    client.ping()
        except redis.RedisError:
            return False
        return True

    def stop(self) -> None:
        for replica in self._replicas:
            replica.stack.close()
        self._stack.close()

    def _public(self, port: int) -> int:
        return self._front_ports.get(port, port)

    def _open(self, ports: list[int], wanted: Spec, stack: contextlib.ExitStack) -> TlsFront | None:
        """Gives new servers their administrator, closes them to everybody else, and puts TLS before them."""
        for port in ports:
            with redis.Redis(port=port) as client:
                rules = ("on", f">{self._password}", "~*", "&*", "+@all")
                client.execute_command("ACL", "SETUSER", _ADMINISTRATOR, *rules)
                client.config_set("primaryuser", _ADMINISTRATOR)
                client.config_set("primaryauth", self._password)
        if not wanted.tls:
            return None
        public = {free_port(): port for port in ports}
        front = stack.enter_context(TlsFront(public, self._access(wanted), folder=self._folder))
        self._front_ports |= {port: front_port for front_port, port in public.items()}
        if self._shards is not None:
            for front_port, port in public.items():
                with self._administrator(port) as client:
                    client.config_set("cluster-announce-client-port", str(front_port))
            for port in ports:
                with self._administrator(port) as client:
                    _wait_for(
                        partial(_knows, client, public.keys()),
                        "a node of the cluster did not learn the others' ports",
                    )
        return front

    def _administrator(self, port: int) -> Any:
        return redis.Redis(
            port=port, username=_ADMINISTRATOR, password=self._password, decode_responses=True, socket_timeout=30
        )

    def _resize(self, wanted: Spec) -> None:
        if wanted.shards != self._shards:
            raise RefusedError(
                f"numNodeGroups is {wanted.shards}: the group runs with {self._shards}, and shards do not move here. "
                "Run destroy and up."
            )
        if self._shards is not None:
            if wanted.nodes_per_shard - 1 != self._replicas_per_shard:
                raise RefusedError(
                    f"replicasPerNodeGroup is {wanted.nodes_per_shard - 1}: the shards run with "
                    f"{self._replicas_per_shard}, which is fixed here. Run destroy and up."
                )
            return
        while len(self.ports) > wanted.nodes_per_shard:
            gone = self._replicas.pop()
            self.ports.remove(gone.port)
            self._front_ports.pop(gone.port, None)
            gone.stack.close()
        while len(self.ports) < wanted.nodes_per_shard:
            self._add_replica(wanted)

    def _add_replica(self, wanted: Spec) -> None:
        with contextlib.ExitStack() as stack:
            port = stack.enter_context(Valkey(*_REPLICATES_AT_ONCE)).port
            front = self._open([port], wanted, stack)
            with self._administrator(port) as client:
                client.execute_command("REPLICAOF", HOST, self.ports[0])
                _wait_for(partial(_is_in_sync, client), "a replica did not get the primary's data")
            self._replicas.append(_Replica(port, front, stack.pop_all()))
            self.ports.append(port)

    def _set_memory(self, client: Any, wanted: Spec) -> None:
        info: Any = client.info("memory")
        if info["used_memory"] > wanted.maxmemory_bytes:
            raise RefusedError(
                f"nodeType is {wanted.node.name!r}: the data, {info['used_memory']:,} bytes, does not fit into the "
                f"{wanted.maxmemory_bytes:,} that it leaves for data."
            )
        client.config_set("maxmemory", wanted.maxmemory_bytes)

    def _set_parameters(self, client: Any, wanted: Spec) -> None:
        """What is declared no more goes back to what the engine had."""
        values = {}
        for name, value in wanted.parameters.items():
            if name not in _NOT_SET:
                engines_name, form = _RENAMED.get(name, (name, "{}"))
                values[engines_name] = form.format(value)
        for name in values.keys() - self._engine_defaults.keys():
            found: Any = client.config_get(name)
            self._engine_defaults[name] = found.get(name, "")
        for name, value in (self._engine_defaults | values).items():
            try:
                client.config_set(name, value)
            except redis.ResponseError as error:
                raise RefusedError(f"parameters has {name} = {value!r}: the server says {error}.") from None

    def _set_users(self, client: Any, wanted: Spec) -> None:
        """With a group of users nobody gets in without a name."""
        for user in wanted.users:
            try:
                client.execute_command(
                    "ACL", "SETUSER", user.name, "reset", *self._credentials(user), *user.rules.split()
                )
            except redis.ResponseError as error:
                raise RefusedError(f"accessString of user {user.name!r} is {user.rules!r}: {error}.") from None
        known: Any = client.acl_users()
        for name in {*known} - {user.name for user in wanted.users} - {_ADMINISTRATOR, "default"}:
            client.acl_deluser(name)
        if not any(user.name == "default" for user in wanted.users):
            client.execute_command("ACL", "SETUSER", "default", "off" if wanted.users else "on")

    def _credentials(self, user: User) -> list[str]:
        """How the server knows the user. One that signs in by IAM gets a password that only the front knows."""
        if user.type == "iam":
            return [f">{self._user_passwords.setdefault(user.name, secrets.token_urlsafe(32))}"]
        return [f">{password}" for password in user.passwords] or ["nopass"]

    def _access(self, wanted: Spec) -> IamAccess:
        users = {
            user.name: self._user_passwords.setdefault(user.name, secrets.token_urlsafe(32))
            for user in wanted.users
            if user.type == "iam"
        }
        return IamAccess(wanted.id, wanted.region, self._access_keys, users)


def _knows(client: Any, ports: Set[int]) -> bool:
    """Whether this node of a cluster sends its clients to just these ports."""
    slots: Any = client.execute_command("CLUSTER", "SLOTS")
    return {node[1] for _first, _last, *nodes in slots for node in nodes} == ports


def _is_in_sync(client: Any) -> bool:
    return bool(client.info("replication").get("master_link_status") == "up")


def _wait_for(condition: Callable[[], bool], otherwise: str) -> None:
    """Nodes tell each other by their own timers, and nobody of it: there is no event to wait for."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise RefusedError(f"{otherwise} within {_PATIENCE_S} s.")
        time.sleep(0.01)
