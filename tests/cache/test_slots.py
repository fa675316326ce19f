"""Which slot a command belongs to, and how a batch is split by slot and put together again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import commands, keys, slots

USER, JOB = 1234, 5678


@pytest.mark.parametrize(
    "key",
    [keys.match(USER), keys.ijp(USER), keys.session(USER), keys.company(101), "report:7", "a:{tag}:b", "ключ"],
)
def test_a_key_and_its_lease_share_a_slot(key: str) -> None:
    lease = keys.lease(key)
    fill = commands.fill(key, lease, b"token", b"value", 60)

    assert len({slots.slot_of(command) for command in (commands.get(key), commands.get(lease), fill)}) == 1
    assert slots.slot_of(commands.with_text(fill)) == slots.slot_of(fill)


@given(st.lists(st.lists(st.integers(0, 500), min_size=1, max_size=20), max_size=6))
def test_a_batch_comes_together_as_it_was_split(users: list[list[int]]) -> None:
    batch = [
        commands.mget([keys.match(user) for user in each]) if len(each) > 1 else commands.get(keys.match(each[0]))
        for each in users
    ]

    pieces = slots.split(batch)

    answered = [(piece, _echo(piece.command)) for piece in reversed(pieces)]
    assert slots.put_together(batch, answered) == [_echo(command) for command in batch]
    assert all(slots.slot_of(("GET", key)) == piece.slot for piece in pieces for key in piece.command[1:])


def _echo(command: commands.Command) -> Any:
    return list(command[1:]) if command[0] == "MGET" else command[1]


def test_the_primaries_of_all_slots_are_read_and_no_replica() -> None:
    reply = [
        [0, 99, [b"one", 7000, b"id", {}], [b"replica", 7001, b"id", {}]],
        [200, 16383, [b"", 7002, b"id"]],
    ]

    owners = slots.primaries(reply, asked=("asked", 1))

    assert len(owners) == slots.SLOTS
    assert set(owners[:100]) == {("one", 7000)}
    assert set(owners[100:200]) == {None}
    assert set(owners[200:]) == {("asked", 7002)}


@pytest.mark.parametrize(
    "reply", [None, b"nonsense", [1], [[0, 1]], [[0, 20_000, [b"one", 7000]]], [[0, 1, [7, b"x"]]]]
)
def test_nonsense_for_slots_is_refused(reply: Any) -> None:
    with pytest.raises(ValueError, match="CLUSTER SLOTS"):
        slots.primaries(reply, asked=("asked", 1))
