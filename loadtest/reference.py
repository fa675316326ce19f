"""What the library's batches are worth: keys a second through it, beside single GETs over raw sockets.

The yardstick is a driver without a client library: fifty connections, each with one GET under way, replies not even
parsed. Both run in turns in one process against the same server, so that the machine's moods hit both.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlparse

import hiredis

from cache import CacheService
from cache.keys import ijp
from loadtest.errors import LoadTestError, ScenarioError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    if address.scheme != "redis" or address.password:
        raise ScenarioError("--reference needs a server without TLS and password: the yardstick is a plain socket.")
    try:
        service = CacheService.from_url(url)
        users = range(_FIRST_USER, _FIRST_USER + _USERS)
        try:
            _fill(service, users)
            raw, library = [], []
            for _ in range(_ROUNDS):
                raw.append(_raw_gets(address.hostname or "127.0.0.1", address.port or 6379, round_s))
                library.append(_lists(service, users, round_s))
        finally:
            for user in users:
                service.forget_user(user)
            service.close()
    except OSError as error:
        raise LoadTestError(f"no server answers at {url}: {error.strerror or error}.") from None
    return Comparison(statistics.median(raw), statistics.median(library))


def _fill(service: CacheService, users: Sequence[int]) -> None:
    service.update_ijp(users[0], {"titles": ["engineer"]})
    for user in users:
        service.match_scores(user, range(BATCH), lambda jobs: dict.fromkeys(jobs, _SCORE))


def _lists(service: CacheService, users: Sequence[int], round_s: float) -> float:
    """Keys a second, list after list, every one decoded."""
    ends = time.perf_counter() + round_s
    done = 0
    while time.perf_counter() < ends:
        for user in users:
            service.match_scores(user, range(BATCH), lambda jobs: dict.fromkeys(jobs, _SCORE))
        done += len(users) * BATCH
    return done / (time.perf_counter() - ends + round_s)


def _raw_gets(host: str, port: int, round_s: float) -> float:
    """GETs a second over all connections."""
    pack: Any = hiredis.pack_command  # its stub wants a narrower tuple
    ask: bytes = pack(("GET", ijp(_FIRST_USER)))
    selector = selectors.DefaultSelector()
    connections = [socket.create_connection((host, port), timeout=5) for _ in range(CONNECTIONS)]
    try:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
            connection.sendall(ask)
        began = time.perf_counter()
        done = 0
        while time.perf_counter() < began + round_s:
            for ready, _ in selector.select(timeout=5):
                connection = ready.fileobj  # type: ignore[assignment]
                if not connection.recv(4096):
                    raise LoadTestError("the server closed a connection.")
                connection.sendall(ask)
                done += 1
        return done / (time.perf_counter() - began)
    finally:
        for connection in connections:
            connection.close()
        selector.close()
