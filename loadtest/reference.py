"""What the library's batches are worth: keys a second through it, beside single GETs over raw sockets.

The yardstick is a driver without a client library: fifty connections, each with one GET under way, replies not even
parsed; on a cluster they are spread over its primaries, each asked for a key of its own. The library has fifty callers
too, as asyncio tasks. Both run in turns in one process against the same server, so that the machine's moods hit both.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import statistics
import time
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlparse

import hiredis

from cache import AsyncCacheService, CacheService
from cache.keys import ijp
from loadtest.errors import LoadTestError, ScenarioError
from loadtest.server import Server

if TYPE_CHECKING:
    from cache.slots import Address

CONNECTIONS: Final = 50
BATCH: Final = 100
_ROUNDS: Final = 3
# Nobody's: what the comparison writes is removed behind it.
_FIRST_USER: Final = 2_000_000_000
_USERS: Final = 20
_SCORE: Final = {
    "score": 87.25,
    "skills": 90,
    "title": 80,
    "location": 70,
    "salary": 60,
    "seniority": 50,
    "at": 1_767_571_200,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of keys a second."""

    raw_gets: float
    library: float

    @property
    def ratio(self) -> float:
        return self.library / self.raw_gets

    def __str__(self) -> str:
        return (
            f"Lists of {BATCH} through the library: {self.library:,.0f} keys a second, {self.ratio:.1f} times the "
            f"{self.raw_gets:,.0f} of single GETs over {CONNECTIONS} raw sockets in the same run."
        )


def compare(url: str, *, round_s: float = 1.0) -> Comparison:
    """Raises LoadTestError where no server answers, ScenarioError for a URL that needs more than a plain socket."""
    address = urlparse(url)
    if address.scheme != "redis" or address.password or address.path.strip("/") not in ("", "0"):
        raise ScenarioError(
            "--reference needs a server without TLS, password and database number: the yardstick is a plain socket."
        )
    server = Server(url)
    service = CacheService.from_url(url, cluster=server.is_cluster)
    try:
        gets = _fill(service, server, (address.hostname or "127.0.0.1", address.port or 6379))
        raw, library = [], []
        for _ in range(_ROUNDS):
            raw.append(_raw_gets(gets, round_s))
            library.append(asyncio.run(_lists(url, round_s, cluster=server.is_cluster)))
    except OSError as error:
        raise LoadTestError(f"{server.name} went away: {error.strerror or error}.") from None
    finally:
        for user in range(_FIRST_USER, _FIRST_USER + _USERS):
            service.forget_user(user)
        service.close()
    return Comparison(statistics.median(raw), statistics.median(library))


def _fill(service: CacheService, server: Server, alone: Address) -> dict[Address, str]:
    """Writes what both sides read. Returns a key of each primary, or of the one server, which is `alone`."""
    gets = {}
    for user in range(_FIRST_USER, _FIRST_USER + _USERS):
        service.update_ijp(user, {"titles": ["engineer"]})
        service.match_scores(user, range(BATCH), lambda jobs: dict.fromkeys(jobs, _SCORE))
        gets[server.primary_of(ijp(user)) or alone] = ijp(user)
    return gets


async def _lists(url: str, round_s: float, *, cluster: bool) -> float:
    """Keys a second, list after list by each caller, every one decoded."""
    service = AsyncCacheService.from_url(url, cluster=cluster)
    began = time.perf_counter()
    done = 0

    async def read() -> None:
        nonlocal done
        for user in cycle(range(_FIRST_USER, _FIRST_USER + _USERS)):
            if time.perf_counter() > began + round_s:
                return
            found = await service.get_match_scores(user, range(BATCH))
            done += len(found)

    try:
        await asyncio.gather(*(read() for _ in range(CONNECTIONS)))
        return done / (time.perf_counter() - began)
    finally:
        await service.close()


def _raw_gets(keys: dict[Address, str], round_s: float) -> float:
    """GETs a second over all connections."""
    pack: Any = hiredis.pack_command  # its stub wants a narrower tuple
    selector = selectors.DefaultSelector()
    try:
        for address, key in islice(cycle(keys.items()), CONNECTIONS):
            connection = socket.create_connection(address, timeout=5)
            selector.register(connection, selectors.EVENT_READ, ask := pack(("GET", key)))
            connection.sendall(ask)
        began = time.perf_counter()
        done = 0
        while time.perf_counter() < began + round_s:
            for ready, _ in selector.select(timeout=5):
                connection = ready.fileobj  # type: ignore[assignment]
                reply = connection.recv(4096)
                if not reply.startswith(b"$") or reply.startswith(b"$-1"):
                    raise LoadTestError("a GET was not answered with a value.")
                connection.sendall(ready.data)
                done += 1
        return done / (time.perf_counter() - began)
    finally:
        for registered in list(selector.get_map().values()):
            registered.fileobj.close()  # type: ignore[union-attr]
        selector.close()
