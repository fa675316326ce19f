"""What the operations of all subjects share: their surroundings, invalidating, giving leases back."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from cache import codec, commands
from cache.commands import Send, Unavailable
from cache.fences import Fences
from cache.layouts import JOB_INVALIDATIONS, LAYOUTS, JobGenerations
from cache.pending import Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from cache.catalog import Catalog
    from cache.clock import Clock
    from cache.codec import Json
    from cache.commands import Command, Compute, Flow, Reply
    from cache.stats import Stats

# Renewed while its holder lives; a dead holder's key is free after this at the latest.
LEASE_MS: Final = 1_500
LEASE_LOOK_AGAIN_S: Final = 0.01
PATIENCE_S: Final = 10.0


def nonce() -> bytes:
    return secrets.token_bytes(codec.GENERATION_BYTES)


class Leases(Protocol):
    """Whoever keeps the leases that this process holds from running out."""

    def hold(self, lease: str, token: bytes, renewal: Command) -> None: ...
    def drop(self, lease: str, token: bytes) -> None: ...
    def is_wanted(self, key: str) -> bool:
        """Whether somebody in this process asks for the lease of this key, holds it or waits for it."""

    def want(self, key: str) -> bool:
        """False: others in this process want it already. To be followed by `leave`."""

    def leave(self, key: str) -> None: ...


class NearCache(Protocol):
    """Where values of earlier reads lie; `cache.near`."""

    def begin(self, name: str, key: str) -> Any: ...
    def keep(self, entry: Any, values: Mapping[int, Json], left_s: float) -> None: ...
    def keep_one(self, entry: Any, value: Json, *, left_ms: int) -> None: ...
    def forget(self, key: str) -> None: ...


class Unkept:
    """Leases run out by themselves: right where a compute takes no time, as in a simulation."""

    def hold(self, lease: str, token: bytes, renewal: Command) -> None: ...
    def drop(self, lease: str, token: bytes) -> None: ...
    def is_wanted(self, key: str) -> bool:  # noqa: ARG002 - each asks for itself
        return False

    def want(self, key: str) -> bool:  # noqa: ARG002
        return True

    def leave(self, key: str) -> None: ...


class Base:
    """The operations of one service: what they share is the catalogue, the layout, the clock and the counts.

    `caller` names who calls (a thread or task), `jitter` gives numbers from 0 to 1 that shorten TTLs.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        layout: str,
        job_invalidation: str = "exact",
        clock: Clock,
        counts: Stats,
        new_nonce: Callable[[], bytes] = nonce,
        leases: Leases | None = None,
        pending: Pending | None = None,
        caller: Callable[[], Hashable] = lambda: None,
        jitter: Callable[[], float] = lambda: 0.0,
        patience_s: float = PATIENCE_S,
        near: NearCache | None = None,
    ) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"layout {layout!r} is unknown. Known: {', '.join(LAYOUTS)}.")
        if job_invalidation not in JOB_INVALIDATIONS:
            raise ValueError(
                f"job_invalidation {job_invalidation!r} is unknown. Known: {', '.join(JOB_INVALIDATIONS)}."
            )
        self.catalog = catalog
        self.clock = clock
        self.stats = counts
        self.layout = LAYOUTS[layout](JobGenerations(are_exact=job_invalidation == "exact"))
        self.pending = Pending(clock) if pending is None else pending
        self.fences = Fences(clock)
        self._leases = leases or Unkept()
        self._caller = caller
        self._jitter = jitter
        self.nonce = new_nonce
        self._patience_s = patience_s
        self._near = near
        self._under_way: dict[tuple[Hashable, str], frozenset[int]] = {}

    def _invalidate(self, *deletions: Command) -> Flow[bool]:
        """True when the server has confirmed; else they are pending."""
        try:
            replies = yield Send(deletions)
        except BaseException:  # cancelled: nobody knows whether they arrived
            self.pending.add(deletions)
            raise
        else:
            if isinstance(replies, Unavailable):
                self.pending.add(deletions)
                return False
            self.pending.confirmed(deletions)
            return True
        finally:  # behind the server's answer, or behind what is pending now: who reads from here on sees it
            self.forget_near(str(deletion[1]) for deletion in deletions)

    def forget_near(self, changed: Iterable[str]) -> None:
        """For whoever writes these keys: called when the server has answered."""
        if self._near is not None:
            for key in changed:
                self._near.forget(key)

    def _timed(self, name: str, compute: Compute) -> Flow[tuple[Any, float]]:
        """The answer and the seconds that it took; what the caller's function raises is counted."""
        began_s = self.stats.monotonic()
        try:
            value = yield compute
        except Exception:
            self.stats.failed(name)
            raise
        return value, self.stats.monotonic() - began_s

    @contextmanager
    def _computing(self, lease: str, jobs: Iterable[int] = ()) -> Iterator[None]:
        """While the caller's function runs under this lease. Asking for the same, it does not wait for itself."""
        mine = self._caller(), lease
        outer = self._under_way.get(mine)
        self._under_way[mine] = frozenset(jobs).union(outer or ())
        try:
            yield
        finally:
            if outer is None:
                del self._under_way[mine]
            else:
                self._under_way[mine] = outer

    def _computed_by_caller(self, lease: str) -> frozenset[int] | None:
        """The jobs that the caller itself computes under this lease; None where it computes nothing under it."""
        return self._under_way.get((self._caller(), lease))

    def _release(self, lease: str, token: bytes) -> Flow[None]:
        try:
            replies = yield Send((commands.release(lease, token),))
        finally:  # cancelled once more, as anyio cancels each await of a scope: at least nobody renews it any more
            self._leases.drop(lease, token)
        if not isinstance(replies, Unavailable):
            self.stats.bookkept(1)


def in_order(first: tuple[Command, ...], then: tuple[Command, ...]) -> Flow[list[Reply] | Unavailable]:
    """Two round trips: in a cluster the commands of one may arrive in any order, those of two keys at two shards."""
    replies: list[Reply] | Unavailable = (yield Send(first)) if first else []
    if isinstance(replies, Unavailable) or not then:
        return replies
    more = yield Send(then)
    return more if isinstance(more, Unavailable) else [*replies, *more]
