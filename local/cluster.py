"""A real Valkey cluster for one process, on 127.0.0.1: shards, each a primary and its replicas.

Differences from ElastiCache in cluster mode: those of `local.valkey`, and no failover by itself, so that a busy machine
promotes nobody; `promote` does it at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import redis

from local.errors import LocalError
from local.valkey import HOST, Valkey, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

SLOTS: Final = 16384
# A node that was alone at first waits this long, 500 ms at least, before it serves. Joining takes two seconds: so long
# every fresh primary waits.
_JOINING_NODE_TIMEOUT_MS: Final = 500
# From then on nobody is held for dead.
_NODE_TIMEOUT_MS: Final = 3_600_000
_JOIN_TIMEOUT_S: Final = 60


class Node:
    """One server of a cluster. `client` is a plain client of it alone."""

    def __init__(self, server: Valkey) -> None:
        self.port = server.port
        self.client = redis.Redis(port=server.port)
        self.id: str = self.cluster("MYID").decode()
        self._pid = int(self.client.info("server")["process_id"])

    def freeze(self) -> None:
        """It neither answers nor closes."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def knows(self, other: Node) -> bool:
        return other.id in self.cluster("NODES").decode()

    def epoch_of(self, other: Node) -> str:
        """Of another node's claims on slots, as far as this one has heard."""
        of_node = {line.split()[0]: line.split()[6] for line in self.cluster("NODES").decode().splitlines()}
        epoch: str = of_node[other.id]
        return epoch

    def cluster(self, *words: str | int) -> Any:
        """Sends `CLUSTER …`."""
        client: Any = self.client
        return client.execute_command("CLUSTER", *words)


class ValkeyCluster:
    """`with ValkeyCluster() as cluster:` starts one and stops it again, also when this process is killed.

    The primaries are `cluster.primaries`, with the slots in equal parts and in their order; `cluster.replicas[i]` are
    those of primary i. Raises LocalError if it does not come together.
    """

    def __init__(self, *arguments: str, shards: int = 3, replicas: int = 0) -> None:
        """`arguments` are each server's own, as `"--maxmemory", "100mb"`; `replicas` is per shard."""
        self._arguments = arguments
        self._shards = shards
        self._replicas = replicas

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            nodes = [self._start(stack) for _ in range(self._shards * (1 + self._replicas))]
            self._moved: dict[int, Node] = {}
            self.primaries, others = nodes[: self._shards], nodes[self._shards :]
            self.replicas = [others[shard :: self._shards] for shard in range(self._shards)]
            self._join(nodes)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """The address of one node; the others are found by it."""
        return f"redis://{HOST}:{self.primaries[0].port}"

    @property
    def nodes(self) -> list[Node]:
        return [*self.primaries, *(replica for replicas in self.replicas for replica in replicas)]

    def owner(self, slot: int) -> Node:
        """The primary that was given this slot, at the start or by `finish_moving`."""
        return self._moved.get(slot, self.primaries[slot * self._shards // SLOTS])

    def start_moving(self, slot: int, to: Node) -> None:
        """From now on keys that the slot's owner does not have are asked of (ASK) the other node."""
        to.cluster("SETSLOT", slot, "IMPORTING", self.owner(slot).id)
        self.owner(slot).cluster("SETSLOT", slot, "MIGRATING", to.id)

    def finish_moving(self, slot: int, to: Node) -> None:
        """Takes the slot's keys over; from now on its former owner answers MOVED."""
        owner = self.owner(slot)
        while keys := owner.cluster("GETKEYSINSLOT", slot, 1000):
            owner.client.migrate(HOST, to.port, keys, 0, timeout=5000)
        for node in (to, owner, *(set(self.primaries) - {to, owner})):
            node.cluster("SETSLOT", slot, "NODE", to.id)
        self._moved[slot] = to
        # Whoever has not heard of the new epoch would not outdo it when the slot comes back, and would lose it again.
        _until(lambda: len({node.epoch_of(to) for node in self.primaries}) == 1)

    def promote(self, replica: Node) -> None:
        """Makes a replica the primary of its shard, whether or not the old one lives; the others know it at once."""
        replica.cluster("FAILOVER", "TAKEOVER")
        _until(lambda: b"myself,master" in replica.cluster("NODES"))

    def _start(self, stack: contextlib.ExitStack) -> Node:
        server = Valkey(
            *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
            *("--cluster-node-timeout", str(_JOINING_NODE_TIMEOUT_MS), "--cluster-replica-no-failover", "yes"),
            # As ElastiCache has it: a lost shard does not stop the others.
            *("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0", *self._arguments),
        )
        stack.enter_context(server)
        node = Node(server)
        stack.callback(node.client.close)
        return node

    def _join(self, nodes: list[Node]) -> None:
        for number, node in enumerate(nodes):
            # Otherwise the nodes agree on their epochs by colliding, one after the other.
            node.cluster("SET-CONFIG-EPOCH", number + 1)
            bus_port = str(node.client.config_get("cluster-port")["cluster-port"])
            for other in nodes[:number]:  # each with each: by hearsay they would find each other in seconds
                other.cluster("MEET", HOST, node.port, bus_port)
        for shard, primary in enumerate(self.primaries):
            bounds = [-(-SLOTS * each // self._shards) for each in (shard, shard + 1)]
            primary.cluster("ADDSLOTSRANGE", bounds[0], bounds[1] - 1)
        for primary, replicas in zip(self.primaries, self.replicas, strict=True):
            for replica in replicas:
                _until(partial(replica.knows, primary))
                replica.cluster("REPLICATE", primary.id)
        _until(lambda: all(self._is_joined(node, len(nodes)) for node in nodes))
        for node in nodes:
            node.client.config_set("cluster-node-timeout", _NODE_TIMEOUT_MS)
        _until(lambda: all(self._is_joined(node, len(nodes)) for node in nodes))
        _until(lambda: all(_is_in_sync(replica) for replicas in self.replicas for replica in replicas))

    def _is_joined(self, node: Node, size: int) -> bool:
        """Whether this node serves, and knows all the others and their slots."""
        state = dict(line.split(":") for line in node.cluster("INFO").decode().split())
        if (state["cluster_state"], state["cluster_known_nodes"]) != ("ok", str(size)):
            return False
        return len(node.cluster("SLOTS")) == self._shards


def _is_in_sync(replica: Node) -> bool:
    return bool(replica.client.info("replication")["master_link_status"] == "up")


def _until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + _JOIN_TIMEOUT_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise LocalError(f"the cluster's nodes did not come together within {_JOIN_TIMEOUT_S} s.")
        time.sleep(0.01)
