"""The way to a cluster for asyncio: as `cluster_link`, awaited."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cache.async_link import AsyncPool, Deadline, PerLoop, own_deadlines
from cache.cluster import Node, Router
from cache.link import DEADLINE_S
from cache.replies import NoConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cache.async_wire import AsyncWire
    from cache.cluster import Answers, Round, Shards
    from cache.commands import Command, Reply, Unavailable
    from cache.gate import Operation
    from cache.slots import Address


class AsyncClusterLink:
    """Sends commands to the nodes of a cluster. Each event loop has connections of its own."""

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
        self._options = own_deadlines(options)
        self._shards = shards
        self._max_connections = max_connections
        self._router = Router(shards, lambda address: self._node(address).gate)
        self._nodes: PerLoop[dict[Address, Node[AsyncPool]]] = PerLoop(dict)

    async def close(self) -> None:
        """Those of this event loop; those of another one end with it."""
        for node in list(self._nodes.here().values()):
            await node.pool.close()

    async def send(self, batch: Sequence[Command], operation: Operation) -> list[Reply] | Unavailable:
        """The replies, within what is left of the operation's deadline."""
        sending = self._router.sending(batch, operation)
        resume: Callable[[], Round] = partial(next, sending)
        try:
            while True:
                resume = partial(sending.send, await self._exchange(resume(), operation))
        except StopIteration as done:
            answer: list[Reply] | Unavailable = done.value
            return answer
        finally:
            sending.close()
            await self._close_failed()

    async def _exchange(self, asked: Round, operation: Operation) -> Answers:
        """Writes to each node, then reads from each: they work at the same time."""
        answers: Answers = {}
        taken: dict[Address, tuple[AsyncPool, AsyncWire]] = {}
        try:
            for address, batch in asked.items():
                error = await self._write(address, batch, taken, operation)
                if error is not None:
                    answers[address] = error
            for address, (_, wire) in taken.items():
                if address not in answers:
                    answers[address] = await _receive(wire, operation)
        except BaseException:
            for pool, wire in taken.values():
                await pool.drop(wire)
            raise
        to_drop = []
        for address, (pool, wire) in taken.items():
            if isinstance(answers[address], Exception) or not pool.is_current(wire):
                to_drop.append((pool, wire))
            else:
                pool.give(wire)
        for pool, wire in to_drop:
            await pool.drop(wire)
        return answers

    async def _write(
        self,
        address: Address,
        batch: Sequence[Command],
        taken: dict[Address, tuple[AsyncPool, AsyncWire]],
        operation: Operation,
    ) -> Exception | None:
        try:
            async with _Left(operation):
                pool = self._node(address).pool
                wire = await pool.take()
                taken[address] = pool, wire
                wire.send(batch)
        except TimeoutError as error:
            return error if address in taken else NoConnectionError()
        except Exception as error:  # noqa: BLE001 - the node's gate decides what it means
            return error
        return None

    def _node(self, address: Address) -> Node[AsyncPool]:
        nodes = self._nodes.here()
        node = nodes.get(address)
        if node is None:
            node = nodes[address] = Node(
                self._shards, address, self._connection_class, self._options, AsyncPool, self._max_connections
            )
        return node

    async def _close_failed(self) -> None:
        """Those of failed nodes, and of nodes that are none any more."""
        nodes = self._nodes.here()
        for address in self._shards.gone(list(nodes)):
            if node := nodes.pop(address, None):  # None: another task was faster
                await node.pool.clear()
        for node in list(nodes.values()):
            if node.pool.has_failed:
                await node.pool.clear()


class _Left(Deadline):
    """What is left of an operation's deadline. A reply that is there is read even where nothing is left."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(max(DEADLINE_S - operation.spent_s, 0.001))
        self._operation = operation

    async def __aexit__(self, *error: Any) -> None:
        self._operation.spent_s += self.spent_s
        await super().__aexit__(*error)


async def _receive(wire: AsyncWire, operation: Operation) -> list[Reply] | Exception:
    try:
        async with _Left(operation):
            return await wire.receive()
    except Exception as error:  # noqa: BLE001 - the node's gate decides what it means
        return error
