"""Sessions: each lookup extends one, and none outlives its greatest lifetime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cache import codec, commands, keys, stats
from cache.catalog import SESSION_MAX_LIFETIME_S
from cache.commands import Send, Unavailable
from cache.flows.values import ValueFlows

if TYPE_CHECKING:
    from cache.catalog import CacheType
    from cache.codec import Json
    from cache.commands import Flow


class SessionFlows(ValueFlows):
    """A user's session."""

    def start_session(self, user_id: int, data: Json) -> Flow[bool]:
        session, key = self._session, keys.session(user_id)
        value = codec.encode_session(data, int(self.clock.now()) + SESSION_MAX_LIFETIME_S)
        return (yield from self._write_through(session.name, key, value, session.ttl_s, keeps_old=True))

    def get_session(self, user_id: int, default: Json = None) -> Flow[Json]:
        session = self._session
        replies = yield Send((commands.get_and_extend(keys.session(user_id), session.ttl_s),))
        if isinstance(replies, Unavailable):
            self.stats.lookup(session.name, misses={stats.UNAVAILABLE: 1})
            return default
        raw = replies[0]
        decoded = None if raw is None else codec.decode_session(raw)
        if decoded and decoded[0] > self.clock.now():
            self.stats.lookup(session.name, hits=1, data_reads=1)
            return decoded[1]
        reason = stats.ABSENT if raw is None or decoded else stats.UNDECODABLE
        self.stats.lookup(session.name, misses={reason: 1}, data_reads=1)
        return default

    def end_session(self, user_id: int) -> Flow[bool]:
        return (yield from self.invalidate(keys.session(user_id)))

    @property
    def _session(self) -> CacheType:
        return self.catalog.session
