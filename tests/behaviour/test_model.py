"""No stale read among many clients and faults; and the model sees one when a guard is taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cache import codec, commands
from cache.fences import Fences
from cache.flows import Flows
from local.valkey import Valkey
from tests.behaviour.model import Model, StaleReadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cache.commands import Flow

STEPS = 3_000


def run(layout: str, seed: int, steps: int = STEPS) -> Model:
    with Valkey() as server:
        model = Model(server, seed=seed, layout=layout)
        model.run(steps)
    return model


def run_until_stale(layout: str) -> None:
    for seed in range(10):
        run(layout, seed)


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_stale_is_ever_read(layout: str, seed: int) -> None:
    model = run(layout, seed)

    assert model.done["_match_scores"] > STEPS / 10


def fill_without_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "fill", lambda key, lease, token, value, ttl_s: ("SET", key, value, "EX", ttl_s))


def invalidation_without_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    def invalidate(flows: Any, key: str) -> Any:
        return flows._invalidate(commands.delete(key))

    monkeypatch.setattr(Flows, "invalidate", invalidate)


def plain_write_in_one_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_value(flows: Any, name: str, key: str, value: Any, ttl_s: int) -> Flow[Any]:
        replies = yield commands.Send((("SET", key, codec.encode(value), "EX", ttl_s),))
        return not isinstance(replies, commands.Unavailable)

    monkeypatch.setattr(Flows, "set_value", set_value)


def scores_without_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    text = commands.SCRIPTS[commands._HASH["fill_scores"]]
    guard = "if redis.call('HGET', key, 'g') ~= ARGV[1] then return 0 end"
    assert guard in text
    monkeypatch.setitem(commands.SCRIPTS, "mutated", text.replace(guard, ""))
    monkeypatch.setitem(commands._HASH, "fill_scores", "mutated")


def plain_set_without_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fences, "take", lambda fences, caller, pair: None)


@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.parametrize(
    "take_out",
    [
        fill_without_lease,
        invalidation_without_lease,
        plain_write_in_one_round_trip,
        scores_without_generation,
        plain_set_without_fence,
    ],
)
def test_the_model_sees_a_guard_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, layout: str, take_out: Callable[[pytest.MonkeyPatch], None]
) -> None:
    take_out(monkeypatch)

    with pytest.raises(StaleReadError):
        run_until_stale(layout)
