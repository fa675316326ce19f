"""A function that asks for what it computes itself gets it at once: it would wait for its own lease."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

import cache

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "report:7"

# Asked again from inside the function that computes it, or that saves it.
_AGAIN: dict[str, Callable[[Any, Callable[..., Any]], Any]] = {
    "value": lambda service, function: service.get_with_lock(KEY, function, 60),
    "scores": lambda service, function: service.match_scores(1, [2, 3], function),
    "preferences": lambda service, function: service.get_ijp(1, function),
}


@pytest.mark.parametrize("shell", ["sync"])
@pytest.mark.parametrize("what", [*_AGAIN, "save"])
def test_a_function_that_asks_for_what_it_computes_does_not_wait(connect: Callable[..., Any], what: str) -> None:
    service = connect(patience_s=60)
    again = _AGAIN["preferences" if what == "save" else what]
    began = time.monotonic()

    def inner(*jobs: list[int]) -> Any:
        return {job: {"s": 1} for job in jobs[0]} if jobs else "value"

    if what == "save":
        assert service.update_ijp(1, "new", save=lambda: again(service, inner))
        assert again(service, inner) == "new"
    else:
        value = again(service, lambda *_: again(service, inner))
        assert value == again(service, never) == ({2: {"s": 1}, 3: {"s": 1}} if what == "scores" else "value")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("layout", ["hash"])
@pytest.mark.parametrize("shell", ["sync"])
def test_scores_that_need_each_other_are_computed_at_once(connect: Callable[..., Any]) -> None:
    """Of those that are computed further out, none is waited for."""
    service = connect(patience_s=60)
    began = time.monotonic()

    def first(_: list[int]) -> Any:
        return {2: {"s": 1}, **service.match_scores(1, [3], second)}

    def second(_: list[int]) -> Any:
        return {3: service.match_scores(1, [2], lambda _: {2: {"s": 2}})[2]}

    assert service.match_scores(1, [2], first) == {2: {"s": 1}}
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("place", ["standalone"])
@pytest.mark.usefixtures("raw")
def test_a_task_does_not_wait_for_itself(app_url: str) -> None:
    async def use() -> tuple[Any, float]:
        service = cache.AsyncCacheService.from_url(app_url, patience_s=60)

        async def inner() -> str:
            return "value"

        async def outer() -> Any:
            return await service.get_with_lock(KEY, inner, 60)

        try:
            return await service.get_with_lock(KEY, outer, 60), time.monotonic()
        finally:
            await service.close()

    began = time.monotonic()
    value, ended = asyncio.run(use())

    assert value == "value"
    assert ended - began < 30


def never(*_: object) -> Any:
    raise AssertionError("computed although the value is cached")
