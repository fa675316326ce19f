"""A cluster: which node to ask for what, and what becomes of the answers. Decisions only; links send and wait.

Theory of operation
-------------------
*Routing.* A batch is split by slot and grouped by the slot's primary; what goes to different nodes is written to all of
them before the first reply is read, so that a batch costs one round trip however many shards it is about. Commands for
one slot keep their order; between shards there is none. That is safe because no flow relies on it:

* a list of scores asks `match:{user}` and `job:generations`, on two shards as a rule. Each of the two generations is
  read within the read, so after every invalidation that was confirmed before it began, and before the compute that the
  answer leads to. Which of the two is read first does not matter;
* a lease, its key and what is read behind taking it share a slot, and so do the fill of a user's hash and the release
  of its leases. In layout keys the scores lie anywhere: the flow releases once they are answered;
* preferences are stored before the user's scores are forgotten: two steps of the flow;
* deletions may come in any order, and any number of times.

If one shard does not answer, the whole batch counts as unanswered: a score without its job's generation is none. What
the other shards did remains, and is what an operation that ends early leaves behind anyway. The generations of all jobs
lie on one shard: while that one is away, match scores miss, and everything else goes on.

*Trouble.* Each node has a breaker of its own. Invalidations that are pending hold up the slots that they are about.

*Topology.* MOVED names a slot's new primary: it is asked at once, within the deadline, and the whole map is read again.
So it is after any failure, at most every `REFRESH_EVERY_S`, by one command that goes along with an operation; until a
failed shard has a new primary, its reads miss. ASK leads one command to the node that a slot is moving to. A slot that
has a new primary is told the invalidations of the last seconds again, before it is asked for anything.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar

from redis.exceptions import AskError, MovedError

from cache import commands, slots
from cache.breaker import Breaker
from cache.commands import Unavailable
from cache.gate import Gate, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence

    from cache.commands import Command, Reply
    from cache.gate import Sending
    from cache.pending import Pending
    from cache.slots import Address, Piece

    # What is to be sent to each node in one round trip; the replies of each, or what went wrong with it.
    Round: TypeAlias = dict[Address, Sequence[Command]]
    Answers: TypeAlias = dict[Address, list[Reply] | Exception]
    Routing: TypeAlias = Generator[Round, Answers, list[Reply] | Unavailable]

REFRESH_EVERY_S: Final = 0.25
# A slot that has moved is found by one redirection, one that has moved and moves on by two.
_MOST_ROUNDS: Final = 3
_MOST_SEEDS: Final = 3

_LOST: Final = Unavailable("lost")
_UNKNOWN: Final = Unavailable("no node told the slots")
_NOT_SERVED: Final = Unavailable("slot not served")
_REDIRECTED: Final = Unavailable("redirected too often")


class _Pool(Protocol):
    def failed(self) -> None:
        """No connection is to be used again: the next one may lead to another primary."""


AnyPool = TypeVar("AnyPool", bound=_Pool)


class Shards:
    """What is known of the cluster: the primary of each slot, and each node's breaker. Safe to share between threads.

    `seeds` are the addresses that the client was given. `remap` turns an address as the cluster names it into one that
    can be reached from here.
    """

    def __init__(
        self,
        seeds: Iterable[Address],
        pending: Pending,
        *,
        remap: Callable[[Address], Address] | None = None,
    ) -> None:
        self.seeds = tuple(seeds)
        self.pending = pending
        self._remap = remap or (lambda address: address)
        self._primaries: list[Address | None] = [None] * slots.SLOTS
        self._breakers: dict[Address, Breaker] = {}
        self.nodes: frozenset[Address] = frozenset()
        self._is_suspect = False
        self._refreshed_at = -REFRESH_EVERY_S
        self._lock = threading.Lock()

    def reset(self) -> None:
        """After a fork, when another thread may have held the lock."""
        self._lock = threading.Lock()
        for breaker in self._breakers.values():
            breaker.reset()

    @property
    def is_known(self) -> bool:
        return bool(self.nodes)

    def primary(self, slot: int) -> Address | None:
        return self._primaries[slot]

    def breaker(self, address: Address) -> Breaker:
        with self._lock:
            return self._breakers.setdefault(address, Breaker())

    def gate(self, address: Address, on_failure: Callable[[], None]) -> Gate:
        """A gate for the connections of one link to this node."""
        return Gate(
            self.breaker(address),
            self.pending,
            on_failure,
            serves=lambda slot: self._primaries[slot] == address,
            in_cluster=True,
        )

    def gone(self, addresses: Iterable[Address]) -> list[Address]:
        """Those of them that are no nodes any more."""
        return [address for address in addresses if address not in self.nodes and address not in self.seeds]

    def redirected(self, error: AskError, by: Address) -> Address:
        """Where a redirection leads to; one for good is taken note of."""
        address = self._remap((error.host or by[0], error.port))
        with self._lock:
            self.nodes |= {address}  # before it is asked for anything: the near cache listens to all of them
        if isinstance(error, MovedError) and self._primaries[error.slot_id] != address:
            self._change({error.slot_id: address})
            self.suspect()
        return address

    def learn(self, reply: Reply, asked: Address) -> None:
        """Takes over the reply to CLUSTER SLOTS. One of another shape, or of a node that knows no slots, is ignored."""
        try:
            told = slots.primaries(reply, asked)
        except ValueError:
            return
        primaries = [address and self._remap(address) for address in told]
        nodes = frozenset(address for address in primaries if address is not None)
        if nodes:
            self._change({slot: address for slot, address in enumerate(primaries) if self._primaries[slot] != address})
            with self._lock:
                self.nodes = nodes

    def suspect(self) -> None:
        """Something spoke against what is known: the cluster is to be asked again."""
        self._is_suspect = True

    def to_refresh_from(self, asked: Collection[Address]) -> Address | None:
        """Whom to ask for the slots now, best one that is `asked` for something anyway; None if there is no need."""
        if not self._is_suspect:
            return None
        with self._lock:
            now = time.monotonic()
            if not self._is_suspect or now - self._refreshed_at < REFRESH_EVERY_S:
                return None
            self._is_suspect, self._refreshed_at = False, now
        first, *others = self.candidates()
        alike = (each for each in (first, *others) if each in asked and self._is_sick(each) == self._is_sick(first))
        return next(alike, first)

    def candidates(self) -> list[Address]:
        """Whom to ask for the slots: the healthy nodes first, in an order that varies, so that each has its turn."""
        addresses = list({*self.nodes, *self.seeds})
        random.shuffle(addresses)
        return sorted(addresses, key=self._is_sick)

    def _is_sick(self, address: Address) -> bool:
        return self.breaker(address).has_failed

    def _change(self, primaries: dict[int, Address | None]) -> None:
        if not primaries:
            return
        lost_theirs = {slot for slot in primaries if self._primaries[slot] is not None}
        self.pending.primary_may_have_changed(lost_theirs.__contains__)
        for slot, address in primaries.items():
            self._primaries[slot] = address
        # Again: until now the old primary may have been told, and have confirmed.
        self.pending.primary_may_have_changed(lost_theirs.__contains__)


class Node(Generic[AnyPool]):
    """The connections of one link to one server, and the gate before them."""

    def __init__(
        self,
        shards: Shards,
        address: Address,
        connection_class: Callable[..., Any],
        options: Mapping[str, Any],
        new_pool: Callable[[Callable[[], Any], int, Callable[[], bool]], AnyPool],
        max_connections: int,
    ) -> None:
        make = partial(connection_class, **{**options, "host": address[0], "port": address[1]})
        self.gate = shards.gate(address, on_failure=self._failed)
        self.pool = new_pool(make, max_connections, self.gate.is_safe_to_reconnect)

    def _failed(self) -> None:
        self.pool.failed()


@dataclass(slots=True)
class _Group:
    """What goes to one node: commands, the place of each piece's reply, and the slots that it is about."""

    commands: list[Command] = field(default_factory=list)
    places: list[tuple[Piece, int]] = field(default_factory=list)
    slots: set[int] = field(default_factory=set)

    def add(self, piece: Piece, *, asking: bool) -> None:
        command = piece.command
        if asking:
            self.commands.append(slots.ASKING)
            if command[0] == "EVALSHA":  # where it is not known it could not be sent again: ASKING holds once
                command = commands.with_text(command)
        self.places.append((piece, len(self.commands)))
        self.commands.append(command)
        self.slots.add(piece.slot)


@dataclass(frozen=True, slots=True)
class _Errand:
    """A piece on its way to its slot's primary, or to where a redirection leads."""

    piece: Piece
    to: Address | None
    asking: bool = False


class Router:
    """Sends batches to the nodes of a cluster, each through its own `gate`. One for each link."""

    def __init__(self, shards: Shards, gate: Callable[[Address], Gate]) -> None:
        self._shards = shards
        self._gate = gate

    def sending(self, batch: Sequence[Command], operation: Operation) -> Routing:
        """Yields what is to be sent to each node in one round trip. An empty batch applies what is pending."""
        if operation.is_lost:
            return _LOST
        if not self._shards.is_known and not (yield from self._find_slots()):
            operation.is_lost = True
            return _UNKNOWN
        if not batch:
            return (yield from self._apply_pending(operation))
        answered: list[tuple[Piece, Reply]] = []
        errands = [_Errand(piece, self._shards.primary(piece.slot)) for piece in slots.split(batch)]
        for _ in range(_MOST_ROUNDS):
            groups = _grouped(errands)
            done = yield from self._together(groups, operation, refresh_from=self._shards.to_refresh_from(groups))
            failure = _NOT_SERVED if any(errand.to is None for errand in errands) else _failure(done)
            if failure:
                self._shards.suspect()
                return failure
            errands = []
            for address, group in groups.items():
                for piece, place in group.places:
                    reply = done[address][place]
                    if isinstance(reply, AskError):
                        to = self._shards.redirected(reply, by=address)
                        errands.append(_Errand(piece, to, asking=not isinstance(reply, MovedError)))
                    else:
                        answered.append((piece, reply))
            if not errands:
                return slots.put_together(batch, answered)
        return _REDIRECTED

    def _find_slots(self) -> Generator[Round, Answers, bool]:
        for address in self._shards.candidates()[:_MOST_SEEDS]:
            yield from self._together({}, Operation(), refresh_from=address)
            if self._shards.is_known:
                return True
        return False

    def _apply_pending(self, operation: Operation) -> Routing:
        groups: dict[Address, _Group] = {}
        for slot in self._shards.pending.parts():
            address = self._shards.primary(slot)
            if address is not None:
                groups.setdefault(address, _Group()).slots.add(slot)
        done = yield from self._together(groups, operation, refresh_from=self._shards.to_refresh_from(groups))
        failure = _failure(done)
        if failure or not groups:
            self._shards.suspect()
        return failure or []

    def _together(
        self, groups: dict[Address, _Group], operation: Operation, *, refresh_from: Address | None
    ) -> Generator[Round, Answers, dict[Address, Any]]:
        """The replies of each group, or Unavailable; what is asked besides is which node serves which slots."""
        asked = dict(groups)
        if refresh_from is not None:
            asked.setdefault(refresh_from, _Group()).commands.append(slots.ASK_FOR_SLOTS)
        operations = {address: Operation() for address in asked}
        done = yield from _in_step(
            {
                address: self._gate(address).sending(group.commands, operations[address], group.slots)
                for address, group in asked.items()
            }
        )
        operation.is_lost = any(operations[address].is_lost for address in groups)
        if refresh_from is not None:
            replies = done[refresh_from]
            if isinstance(replies, Unavailable):
                self._shards.suspect()
            else:
                self._shards.learn(replies[-1], asked=refresh_from)
        return {address: done[address] for address in groups}


def _grouped(errands: Iterable[_Errand]) -> dict[Address, _Group]:
    groups: dict[Address, _Group] = {}
    for errand in errands:
        if errand.to is not None:
            groups.setdefault(errand.to, _Group()).add(errand.piece, asking=errand.asking)
    return groups


def _failure(done: dict[Address, Any]) -> Unavailable | None:
    return next((each for each in done.values() if isinstance(each, Unavailable)), None)


def _in_step(sendings: dict[Address, Sending]) -> Generator[Round, Answers, dict[Address, Any]]:
    """What each of them returns; what they ask for at one time goes out in one round."""
    done: dict[Address, Any] = {}
    resumes: dict[Address, Callable[[], Sequence[Command]]] = {
        address: partial(next, sending) for address, sending in sendings.items()
    }
    try:
        while resumes:
            asked: Round = {}
            for address, resume in resumes.items():
                try:
                    asked[address] = resume()
                except StopIteration as end:
                    done[address] = end.value
            answers = (yield asked) if asked else {}
            resumes = {address: _resume(sendings[address], answer) for address, answer in answers.items()}
    finally:  # whoever is not done learns that nothing comes any more
        for sending in sendings.values():
            sending.close()
    return done


def _resume(sending: Sending, answer: list[Reply] | Exception) -> Callable[[], Sequence[Command]]:
    if isinstance(answer, Exception):
        return partial(sending.throw, answer)
    return partial(sending.send, answer)
