"""The deadline of asyncio: what a busy event loop adds to it, and how often."""

from __future__ import annotations

import asyncio

import pytest

from cache.async_link import Deadline


class ClockedLoop(asyncio.SelectorEventLoop):
    """Its time moves by hand."""

    now = 0.0

    def time(self) -> float:
        return self.now

    async def be_busy(self, seconds: float) -> None:
        """One long turn, then a few in which its timers run and who waits is woken."""
        self.now += seconds
        for _ in range(4):
            await asyncio.sleep(0)


@pytest.fixture
def loop() -> ClockedLoop:
    return ClockedLoop()


def test_a_busy_loop_gives_the_server_its_time_once_more_and_no_more(loop: ClockedLoop) -> None:
    turns: list[int] = []

    async def wait_for_a_frozen_server() -> None:
        async with Deadline(0.1):
            for turn in range(5):
                turns.append(turn)
                await loop.be_busy(0.13)

    with asyncio.Runner(loop_factory=lambda: loop) as runner, pytest.raises(TimeoutError, match="no reply in time"):
        runner.run(wait_for_a_frozen_server())

    assert turns == [0, 1]


def test_a_loop_that_is_not_busy_gives_it_once(loop: ClockedLoop) -> None:
    async def wait_for_a_frozen_server() -> None:
        async with Deadline(0.1):
            await loop.be_busy(0.101)

    with asyncio.Runner(loop_factory=lambda: loop) as runner, pytest.raises(TimeoutError, match="no reply in time"):
        runner.run(wait_for_a_frozen_server())
