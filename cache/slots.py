"""Slots of a cluster: which one a command belongs to, and which node serves it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cache.commands import Command, Reply

Address: TypeAlias = tuple[str, int]  # host and port

SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS
ASK_FOR_SLOTS: Final[Command] = ("CLUSTER", "SLOTS")
ASKING: Final[Command] = ("ASKING",)


def slot_of(command: Command) -> int:
    """The slot of a command's first key; its other keys share it, those of MGET excepted."""
    return _slot(command[3 if command[0] in ("EVAL", "EVALSHA") else 1])


def _slot(key: Any) -> int:
    slot: int = key_slot(str(key).encode())
    return slot


@dataclass(frozen=True, slots=True)
class Piece:
    """A command for one slot. `index`: which command of the batch it is; `keys`: or which keys of an MGET."""

    command: Command
    slot: int
    index: int
    keys: tuple[int, ...] | None = None


def split(batch: Sequence[Command]) -> list[Piece]:
    """The batch in its order, an MGET over several slots in one piece for each of them."""
    pieces = []
    for index, command in enumerate(batch):
        if command[0] != "MGET":
            pieces.append(Piece(command, slot_of(command), index))
            continue
        by_slot: dict[int, list[int]] = {}
        for position, key in enumerate(command[1:]):
            by_slot.setdefault(_slot(key), []).append(position)
        pieces += [
            Piece(("MGET", *(command[1 + position] for position in positions)), slot, index, tuple(positions))
            for slot, positions in by_slot.items()
        ]
    return pieces


def put_together(batch: Sequence[Command], answered: Sequence[tuple[Piece, Reply]]) -> list[Reply]:
    """The replies to the batch from those to its pieces."""
    replies: list[Reply] = [[None] * (len(command) - 1) if command[0] == "MGET" else None for command in batch]
    for piece, reply in answered:
        if piece.keys is None:
            replies[piece.index] = reply
        else:
            for position, value in zip(piece.keys, reply, strict=True):
                replies[piece.index][position] = value
    return replies


def primaries(reply: Reply, asked: Address) -> list[Address | None]:
    """The primary of each slot from the reply to CLUSTER SLOTS; None for a slot that nobody serves.

    A node that does not know its own name leaves it empty: it is the host that was `asked`. Raises ValueError for a
    reply of another shape.
    """
    owners: list[Address | None] = [None] * SLOTS
    try:
        for first, last, (host, port, *_), *_replicas in reply:
            address = (host.decode() if host else asked[0], int(port))
            owners[first : last + 1] = [address] * (last + 1 - first)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"CLUSTER SLOTS was answered by {str(reply)[:200]}.") from error
    if len(owners) != SLOTS:
        raise ValueError(f"CLUSTER SLOTS named slots beyond {SLOTS - 1}: {str(reply)[:200]}.")
    return owners
