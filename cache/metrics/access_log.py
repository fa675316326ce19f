"""Every lookup and change as a line of CSV, for `python -m loadtest replay`."""

from __future__ import annotations

import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from cache import keys
from cache.flows import GENERIC
from cache.metrics.publisher import Sink
from cache.miss import MISS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cache.aio import AsyncCacheService
    from cache.flows import Flows
    from cache.metrics.report import Report
    from cache.near import Near
    from cache.service import CacheService

_log = logging.getLogger("cache")

HEADER: Final = "timestamp,cache_type,user_id,item_id,operation\n"
MAX_WAITING: Final = 50_000
# (seconds since the epoch, cache type, user or "", items, operation)
_Access = tuple[float, str, Any, tuple[Any, ...], str]
_NO_ITEM: Final = ("",)
_CLOSED: Final = -1


class AccessLog(Sink):
    """Appends to `path` what `service` is asked for from now on, one line per lookup or change.

    Columns: seconds since the epoch; cache type; user or empty; job or company or empty; `get`, `set`, `update`,
    `start`, `end` or `invalidate` (of match: with a user all of the user's scores, with a job all of the job's). Keys
    of `get_with_lock` are not logged. The publisher's thread writes; between two of its reports `MAX_WAITING`
    operations are kept, more are counted in `dropped`. `close` ends the logging. The file holds user ids: only its
    owner may read it.
    """

    def __init__(self, path: Path, service: CacheService | AsyncCacheService) -> None:
        """Raises OSError where `path` cannot be written."""
        self.dropped = 0
        self._waiting: deque[_Access] = deque()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if not os.fstat(self._file).st_size:
            os.write(self._file, HEADER.encode())
        self._service, self._flows = service, service.flows
        # Stands before the flows, so that a service without a log pays nothing for it.
        noting = _Noting(self._flows, self)
        service.flows = cast("Flows", noting)
        self._near = service.near
        if self._near is not None:
            service.near = cast("Near", _NotingNear(self._near, noting))

    def note(self, cache_type: str, operation: str, user: object = "", items: tuple[Any, ...] = _NO_ITEM) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
        else:
            self._waiting.append((self._flows.clock.now(), cache_type, user, items, operation))

    def send(self, report: Report) -> None:  # noqa: ARG002 - it comes when it is time to write
        """Writes what waits; each write is of whole lines, as another process may append to the same file."""
        for _ in range(len(self._waiting)):
            at, cache_type, user, items, operation = self._waiting.popleft()
            lines = "".join(f"{at:.3f},{cache_type},{user},{item},{operation}\n" for item in items)
            os.write(self._file, lines.encode())

    def close(self) -> None:
        """Safe to call twice, as a publisher does that was started again: the log has ended all the same."""
        if self._file == _CLOSED:
            return
        self._service.flows, self._service.near = self._flows, self._near
        if self.dropped:
            _log.warning("cache.access_log_incomplete: %d operations are missing", self.dropped)
        os.close(self._file)
        self._file = _CLOSED  # its number may soon be another file's

    def after_fork(self) -> None:
        self._waiting.clear()


class _Noting:
    """The flows of a service, each noted when it is asked for."""

    def __init__(self, flows: Flows, log: AccessLog) -> None:
        self._flows = flows
        self._note = log.note
        catalog = flows.catalog
        self._match, self._ijp, self._session = catalog.match.name, catalog.ijp.name, catalog.session.name
        self._company = catalog.company.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flows, name)

    def note_scores(self, user_id: int, job_ids: Sequence[int]) -> None:
        self._note_user(self._match, "get", user_id, tuple(job_ids))

    def get_scores(self, user_id: int, job_ids: Sequence[int]) -> Any:
        self.note_scores(user_id, job_ids)
        return self._flows.get_scores(user_id, job_ids)

    def match_scores(self, user_id: int, job_ids: Sequence[int]) -> Any:
        self.note_scores(user_id, job_ids)
        return self._flows.match_scores(user_id, job_ids)

    def set_scores(self, user_id: int, scores: Any, fences: Any = None) -> Any:
        self._note_user(self._match, "set", user_id, tuple(scores))
        return self._flows.set_scores(user_id, scores, fences)

    def invalidate_user_matches(self, user_id: int) -> Any:
        self._note_user(self._match, "invalidate", user_id)
        return self._flows.invalidate_user_matches(user_id)

    def invalidate_job_matches(self, job_id: int) -> Any:
        self._note(self._match, "invalidate", items=(keys.checked("job_id", job_id),))
        return self._flows.invalidate_job_matches(job_id)

    def get_or_compute(self, name: str, key: str, ttl_s: int, *, none_ttl_s: int | None = None) -> Any:
        if name != GENERIC:  # the caller's own keys may look like the library's
            self.note_key(key, "get")
        return self._flows.get_or_compute(name, key, ttl_s, none_ttl_s=none_ttl_s)

    def set_value(self, name: str, key: str, value: Any, ttl_s: int) -> Any:
        self.note_key(key, "set")
        return self._flows.set_value(name, key, value, ttl_s)

    def invalidate(self, key: str) -> Any:
        self.note_key(key, "invalidate")
        return self._flows.invalidate(key)

    def update_ijp(self, user_id: int, data: Any, *, saves: bool = False) -> Any:
        self._note_user(self._ijp, "update", user_id)
        return self._flows.update_ijp(user_id, data, saves=saves)

    def start_session(self, user_id: int, data: Any) -> Any:
        self._note_user(self._session, "start", user_id)
        return self._flows.start_session(user_id, data)

    def get_session(self, user_id: int, default: Any = None) -> Any:
        self._note_user(self._session, "get", user_id)
        return self._flows.get_session(user_id, default)

    def end_session(self, user_id: int) -> Any:
        self._note_user(self._session, "end", user_id)
        return self._flows.end_session(user_id)

    def forget_user(self, user_id: int) -> Any:
        self._note_user(self._match, "invalidate", user_id)
        self._note_user(self._ijp, "invalidate", user_id)
        self._note_user(self._session, "end", user_id)
        return self._flows.forget_user(user_id)

    def note_key(self, key: str, operation: str) -> None:
        entity, identifier, *_ = (*key.split(":"), "")
        if entity == self._company:
            self._note(self._company, operation, items=(identifier,))
        elif entity == self._ijp:
            self._note(self._ijp, operation, identifier)

    def _note_user(self, cache_type: str, operation: str, user_id: int, items: tuple[Any, ...] = _NO_ITEM) -> None:
        # Flows check it when they run; what is no id could hold the end of a line.
        self._note(cache_type, operation, keys.checked("user_id", user_id), items)


class _NotingNear:
    """The near cache of a service, its hits noted. What it has not is asked of the flows, and noted there."""

    def __init__(self, near: Near, noting: _Noting) -> None:
        self._near = near
        self._noting = noting

    def value(self, name: str, key: str) -> Any:
        value = self._near.value(name, key)
        if value is not MISS:
            self._noting.note_key(key, "get")
        return value

    def score(self, user_id: int, job_id: int) -> Any:
        score = self._near.score(user_id, job_id)
        if score is not None:
            self._noting.note_scores(user_id, (job_id,))
        return score

    def scores(self, user_id: int, job_ids: Sequence[int]) -> Any:
        scores = self._near.scores(user_id, job_ids)
        if scores is not None:
            self._noting.note_scores(user_id, job_ids)
        return scores
