"""The operations, as generators that ask for steps and are sent the answers. No I/O, no client, no clock of its own.

Theory of operation
-------------------
*Match scores.* A score may be stored only by a writer who knows the user's and the job's generation from before the
origin was read. A read brings them along; where one is missing it is installed first (`ensure_*`). Invalidating
removes the generation, so a late write is refused (user, layout hash) or hidden (user in layout keys; job). Leases of
single jobs keep two batches from computing one job twice; they are about work, not about truth.

*Single values.* Whoever misses takes the key's lease, computes, and stores with a script that checks the lease. An
invalidation deletes the lease, a plain write takes it over, in a round trip before the one that stores: so a value
computed from older data is refused, and so is a write that timed out here and arrives there after a newer one. Of
two plain writes at a time the one that took the lease last is kept.
Waiters look again when the lease is free, or when their patience ends: then they compute for themselves and store
nothing. A function that asks for what it computes itself, in the same thread or task, does so at once.

An outage is an answer (`Unavailable`): lookups miss, computes run, nothing is written. What was to be invalidated
becomes pending, and False is the answer.

*Order.* Commands of one step arrive in their order where they share a cluster slot, as a key and its lease do, and in
any order else. What must follow on another key is a step of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cache import codec, commands, keys
from cache.commands import Send, Unavailable
from cache.flows.base import LEASE_MS, PATIENCE_S
from cache.flows.scores import ScoreFlows, ids
from cache.flows.sessions import SessionFlows

if TYPE_CHECKING:
    from cache.codec import Json
    from cache.commands import Flow

__all__ = ["GENERIC", "LEASE_MS", "PATIENCE_S", "Flows", "ids"]

GENERIC: Final = "generic"  # the name under which `get_with_lock` counts


class Flows(ScoreFlows, SessionFlows):
    """The operations of one service; here those that are about several subjects, or about none."""

    def update_ijp(self, user_id: int, data: Json, *, saves: bool = False) -> Flow[bool]:
        """Write-through, and the user's match scores with it: both were computed from what is now old.

        The scores go behind the preferences: a compute that begins after that finds nothing old to compute from.
        """
        ijp, forget = self.catalog.ijp, (self._forget_scores(user_id),)
        value, ttl_s = codec.encode(data), self._shortened(ijp.ttl_s)
        return (
            yield from self._write_through(ijp.name, keys.ijp(user_id), value, ttl_s, also_forget=forget, saves=saves)
        )

    def forget_user(self, user_id: int) -> Flow[bool]:
        """Scores, preferences and session. In layout keys the scores are out of reach at once, gone with their TTL."""
        whole = [keys.ijp(user_id), keys.session(user_id)]
        return (
            yield from self._invalidate(
                self._forget_scores(user_id),
                commands.delete(keys.warm_stamp(user_id)),
                *(commands.delete(key, keys.lease(key)) for key in whole),
            )
        )

    def take_turn(self, key: str) -> Flow[bytes | Unavailable | None]:
        """Takes the lease of `key` and keeps it until `end_turn` with the token that this gives; None: another has it.

        A process that dies frees it within `LEASE_MS`.
        """
        lease, token = keys.lease(key), self.nonce()
        replies = yield Send((commands.take_lease(lease, token, LEASE_MS),))
        if isinstance(replies, Unavailable):
            return replies
        self.stats.bookkept(1)
        if not replies[0]:
            return None
        self._leases.hold(lease, token, commands.renew(lease, token, LEASE_MS))
        return token

    def end_turn(self, key: str, token: bytes) -> Flow[None]:
        yield from self._release(keys.lease(key), token)
