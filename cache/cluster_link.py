"""The way to a cluster for threads: as `link`, with a pool for each node."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from cache.cluster import Node, Router
from cache.link import DEADLINE_S
from cache.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cache.cluster import Answers, Round, Shards
    from cache.commands import Command, Reply, Unavailable
    from cache.gate import Operation
    from cache.slots import Address
    from cache.wire import Wire


class ClusterLink:
    """Sends commands to the nodes of a cluster. Safe to share between threads, none of which it starts for a send."""

    def __init__(
        self,
        connection_class: Callable[..., Any],
        options: Mapping[str, Any],
        *,
        shards: Shards,
        max_connections: int,
    ) -> None:
        """`max_connections` is for each node."""
        self._connection_class = connection_class
        self._options = options
        self._shards = shards
        self._max_connections = max_connections
        self._nodes: dict[Address, Node[Pool]] = {}
        self._router = Router(shards, lambda address: self._node(address).gate)

    def reset(self) -> None:
        """After a fork: the connections are the parent's."""
        self._shards.reset()
        for node in self._nodes.values():
            node.pool.reset()

    def close(self) -> None:
        for node in list(self._nodes.values()):
            node.pool.clear()

    def send(self, batch: Sequence[Command], operation: Operation) -> list[Reply] | Unavailable:
        """The replies, within what is left of the operation's deadline."""
        sending = self._router.sending(batch, operation)
        resume: Callable[[], Round] = partial(next, sending)
        while True:
            try:
                asked = resume()
            except StopIteration as done:
                answer: list[Reply] | Unavailable = done.value
                return answer
            try:
                resume = partial(sending.send, self._exchange(asked, operation))
            except BaseException:
                sending.close()
                raise

    def _exchange(self, asked: Round, operation: Operation) -> Answers:
        """Writes to each node, then reads from each: they work at the same time."""
        began = time.monotonic()
        give_up_at = began + DEADLINE_S - operation.spent_s
        answers: Answers = {}
        taken: dict[Address, tuple[Pool, Wire]] = {}
        try:
            for address, batch in asked.items():
                pool = self._node(address).pool
                try:
                    wire = pool.take(give_up_at - time.monotonic())
                    taken[address] = pool, wire
                    wire.send(batch, give_up_at - time.monotonic())
                except Exception as error:  # noqa: BLE001 - the node's gate decides what it means
                    answers[address] = error
            for address, (_, wire) in taken.items():
                if address not in answers:
                    try:
                        answers[address] = wire.receive(len(asked[address]), give_up_at)
                    except Exception as error:  # noqa: BLE001 - as above
                        answers[address] = error
        except BaseException:
            for pool, wire in taken.values():
                pool.drop(wire)
            raise
        for address, (pool, wire) in taken.items():
            if isinstance(answers[address], Exception):
                pool.drop(wire)
            else:
                pool.give(wire)
        operation.spent_s += time.monotonic() - began
        return answers

    def _node(self, address: Address) -> Node[Pool]:
        node = self._nodes.get(address)
        if node is None:
            self._close_those_gone()  # a new one is there as a rule because another is not
            new = Node(self._shards, address, self._connection_class, self._options, Pool, self._max_connections)
            node = self._nodes.setdefault(address, new)
        return node

    def _close_those_gone(self) -> None:
        for address in self._shards.gone(list(self._nodes)):
            if node := self._nodes.pop(address, None):  # None: another thread was faster
                node.pool.clear()
