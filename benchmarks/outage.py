"""A server that is gone, or frozen: what a read with its compute takes beyond the compute."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import redis

from benchmarks.measure import Figure, figure, settle
from benchmarks.peers import having
from benchmarks.peers.library import NAME
from cache import CacheService
from cache.breaker import FAILURES_TO_OPEN
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable

# Peers that wait longer are told as "more than".
_PATIENCE_S: Final = 10.0
_CALLS_ONCE_OPEN: Final = 200


def outage(*, quick: bool) -> list[Figure]:
    """The longest of the calls until the breaker opens, and a usual one after that."""
    logging.disable(logging.CRITICAL)  # peers log an outage with each call's traceback
    try:
        return _outage(rounds=1, with_peers=False) if quick else _outage(rounds=5, with_peers=True)
    finally:
        logging.disable(logging.NOTSET)


def _outage(*, rounds: int, with_peers: bool) -> list[Figure]:
    figures = []
    for what, sign, bound_ms in (("gone", signal.SIGKILL, 50), ("frozen", signal.SIGSTOP, 150)):
        longest, once_open, exceptions = [], [], []
        for _ in range(rounds):
            first, later, raised = _ours(sign)
            longest.append(max(first))
            once_open += later
            exceptions.append(raised)
        peers = _peers(sign) if with_peers else {}
        figures += [
            figure("outage", f"server {what}", "ms over the compute", longest, bound=bound_ms, peers=peers),
            figure("outage", f"server {what}: breaker open", "ms over the compute", once_open, bound=1),
            figure("outage", f"server {what}: exceptions", "", exceptions, bound=0),
        ]
    return figures


def _ours(sign: signal.Signals) -> tuple[list[float], list[float], int]:
    """(ms of the first calls, ms of those once the breaker is open, exceptions)."""
    raised = 0

    def read() -> float:
        nonlocal raised
        began = time.perf_counter()
        try:
            service.get_company_enrichment(101, dict)
        except Exception:  # noqa: BLE001 - what is counted here
            raised += 1
        return (time.perf_counter() - began) * 1000

    with Valkey() as server, closing(CacheService.from_url(server.url)) as service:
        read()
        os.kill(_process(server), sign)
        first = [read() for _ in range(FAILURES_TO_OPEN)]
        later = [read() for _ in range(_CALLS_ONCE_OPEN)]
    return first, later, raised


def _peers(sign: signal.Signals) -> dict[str, float | str]:
    """What one call of each peer came to, all of them at once: they do little but wait."""
    told: dict[str, float | str] = {}

    def call(peer_class: Any, connected: threading.Barrier) -> None:
        asyncio.run(_one(peer_class, server.port, connected, tell=lambda said: told.setdefault(peer_class.name, said)))

    classes = having("get_or_compute")
    classes = [peer for peer in classes if not peer.name.startswith(NAME)]
    with Valkey() as server:
        process = _process(server)
        connected = threading.Barrier(len(classes) + 1, timeout=30)
        threads = [threading.Thread(target=call, args=(peer, connected)) for peer in classes]
        for thread in threads:
            thread.start()
        connected.wait()
        os.kill(process, sign)
        connected.wait()
        give_up_at = time.monotonic() + _PATIENCE_S
        for thread in threads:
            thread.join(max(give_up_at - time.monotonic(), 0))
        for peer in classes:
            told.setdefault(peer.name, f"> {_PATIENCE_S * 1000:,.0f}")
        if sign == signal.SIGSTOP:
            os.kill(process, signal.SIGCONT)
        for thread in threads:
            thread.join()
    return told


async def _one(peer_class: Any, port: int, connected: threading.Barrier, tell: Callable[[str], object]) -> None:
    async def compute_later() -> dict[str, Any]:
        return {}

    peer = peer_class(port)
    compute: Any = compute_later if peer_class.is_async else dict
    await settle(peer.get_or_compute(f"ready:{peer.name}", compute))
    connected.wait()  # everybody is connected
    connected.wait()  # the server is in trouble
    began = time.perf_counter()
    try:
        await settle(peer.get_or_compute(f"key:{peer.name}", compute))
        outcome = ""
    except Exception as error:  # noqa: BLE001 - what it raises is the finding
        outcome = f", {type(error).__name__}"
    tell(f"{(time.perf_counter() - began) * 1000:,.0f}{outcome}")
    await settle(peer.close())


def _process(server: Valkey) -> int:
    with redis.Redis(port=server.port) as client:
        return int(client.info("server")["process_id"])
