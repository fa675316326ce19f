"""One run of warming over all active users: paged, at a bounded rate, resumable, by one process at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from cache import commands, keys
from cache.commands import Send, Unavailable
from cache.flows import LEASE_MS
from cache.link import CONNECT_TIMEOUT_S
from cache.warming import CHUNK_USERS, CHUNKS_AT_ONCE, INTERVAL_S, Warmer, WarmingCounts
from cache.warming.overlap import run_overlapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cache import CacheService
    from cache.codec import Json
    from cache.commands import Command, Flow, Reply
    from cache.warming.lists import Target

    # `score(user_id, job_ids)` gives `{job_id: score}`, as the `compute` of `match_scores` does.
    Score = Callable[[int, list[int]], Mapping[int, Mapping[str, Json]]]

POPULAR_JOBS: Final = 100
ACTIVE_WITHIN: Final = timedelta(days=7)
# 50 users a second, each of whom holds the server for 0.13 ms: so a page's read seldom meets one, less than one in a
# hundred. And enough: 100,000 users are renewed within 34 minutes, once a day.
SCORES_PER_S: Final = 5_000.0
# Readers are served between the chunks of a bounded run. So it makes them small, as much as it may write in this time:
# at the default rate one user, whose scores hold the server for a tenth of a millisecond.
_CHUNK_S: Final = 0.005
# So many chunks in a row without an answer: the server is gone, and the next run is soon enough.
_GIVE_UP_AFTER: Final = 5
_SHOWN_FAILURES: Final = 10
_ASK_AGAIN_S: Final = 0.05


class WarmingError(RuntimeError):
    """The run could not begin, or not go on. What was warmed stays, and the next run goes on from there."""


class AlreadyRunningError(WarmingError):
    """Another process is warming."""


@dataclass(frozen=True, slots=True)
class ActiveUser:
    """A user, and where they stand in the order in which a source gives them."""

    user_id: int
    last_seen: datetime


class Source(Protocol):
    """Where the jobs and users come from. Raises WarmingError if it cannot be read."""

    def popular_jobs(self, limit: int) -> Sequence[int]: ...
    def count_users(self, since: datetime, after: ActiveUser | None) -> int: ...
    def pages(self, since: datetime, after: ActiveUser | None) -> Iterator[Sequence[ActiveUser]]:
        """Users seen since then, by (last_seen, user_id), from behind `after` on; some at a time."""


@dataclass(slots=True)
class Summary:
    """What a run did. `failures` shows what the score function raised for the first users it failed for."""

    counts: WarmingCounts = field(default_factory=WarmingCounts)
    jobs: int = 0
    total_users: int = 0
    resumed: bool = False
    failed_users: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    took_s: float = 0.0


class Run:
    """`Run(cache, source, score).run()`."""

    def __init__(
        self,
        service: CacheService,
        source: Source,
        score: Score,
        *,
        jobs: int = POPULAR_JOBS,
        scores_per_s: float | None = SCORES_PER_S,
        dry_run: bool = False,
        progress: Callable[[Summary], None] = lambda _summary: None,
    ) -> None:
        """`scores_per_s` bounds what is written in a second, None does not. `dry_run` only counts what is due.

        `progress` is told after each chunk. Raises ValueError for a number under 1 of jobs, or not over 0 of scores.
        """
        if jobs < 1 or not (scores_per_s is None or scores_per_s > 0):
            raise ValueError(
                f"jobs is {jobs!r}, scores_per_s {scores_per_s!r}; they must be at least 1, and over 0 or None."
            )
        self._service = service
        self._source = source
        self._score = score
        self._jobs = jobs
        self._pause_s_per_score, self._chunk_users = 0.0, CHUNK_USERS
        if scores_per_s is not None and not dry_run:
            self._pause_s_per_score = 1 / scores_per_s
            self._chunk_users = min(max(int(scores_per_s * _CHUNK_S / jobs), 1), CHUNK_USERS)
        self._dry_run = dry_run
        self._progress = progress
        self._warmer = Warmer(service.flows, dry_run=dry_run, skipped=self._failed)
        self._next_write_at = 0.0
        self._unanswered_chunks = 0
        self.summary = Summary()

    def run(self) -> Summary:
        """Raises AlreadyRunningError while another process warms, WarmingError if cache or source cannot be read."""
        began = time.monotonic()
        try:
            if not self._recall():
                raise WarmingError("The cache does not answer. Nothing was warmed.")
            if self._dry_run:
                self._warm()
            else:
                self._warm_alone()
        finally:
            self.summary.took_s = time.monotonic() - began
        return self.summary

    def _recall(self) -> bool:
        """Asks for as long as connecting may take: a cluster's first connections, by TLS, outlast an operation."""
        give_up_at = time.monotonic() + CONNECT_TIMEOUT_S
        while not self._service.run(self._warmer.recall()):
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(_ASK_AGAIN_S)
        return True

    def _warm_alone(self) -> None:
        token = self._take_turn()
        try:
            self._warm()
        finally:
            self._service.run(self._service.flows.end_turn(keys.WARMING_RUN, token))

    def _take_turn(self) -> bytes:
        """The token. Asks again where there was no answer, since the lease may be on a shard not connected to yet.

        What was not answered may have been taken all the same: then it looks like another's until it ends.
        """
        give_up_at = time.monotonic() + CONNECT_TIMEOUT_S + LEASE_MS / 1_000
        was_unanswered = False
        while True:
            token = self._service.run(self._service.flows.take_turn(keys.WARMING_RUN))
            if isinstance(token, bytes):
                return token
            was_unanswered |= token is not None
            is_late = time.monotonic() >= give_up_at
            if token is None and (is_late or not was_unanswered):
                raise AlreadyRunningError("Another process is warming; it does the work of this one too.")
            if is_late:
                raise WarmingError("The cache does not answer. Nothing was warmed.")
            time.sleep(_ASK_AGAIN_S)

    def _warm(self) -> None:
        jobs = self._source.popular_jobs(self._jobs)
        self.summary.jobs = len(jobs)
        if not jobs:
            return
        since, after = self._begin()
        self.summary.total_users = self._source.count_users(since, after)
        target = self._service.run(self._warmer.begin(jobs, self.summary.counts))
        if target is None:
            raise WarmingError("The cache does not answer. Nothing was warmed.")
        if not self._dry_run:
            self._service.run(self._warmer.remember())
        for page in self._source.pages(since, after):
            chunks = self._chunks([user.user_id for user in page], target)
            if self._pause_s_per_score:
                for chunk in chunks:
                    self._service.run(chunk, self._compute)
            else:
                run_overlapping(self._service, chunks, self._compute, at_once=CHUNKS_AT_ONCE)
            self._reached(since, page[-1])
        self._ended()

    # -- chunks ------------------------------------------------------------------------------------------------

    def _chunks(self, users: Sequence[int], target: Target) -> Iterator[Flow[None]]:
        for start in range(0, len(users), self._chunk_users):
            left_s = self._next_write_at - time.monotonic()
            if left_s > 0:
                time.sleep(left_s)
            yield self._chunk(users[start : start + self._chunk_users], target)

    def _chunk(self, users: Sequence[int], target: Target) -> Flow[None]:
        began, counts = time.monotonic(), WarmingCounts()
        for chunk in self._warmer.chunks(users, target, counts):
            yield from chunk
        self.summary.counts.add(counts)
        # What was not used is not saved up: a burst would hurt the readers that the rate is there for.
        self._next_write_at = max(self._next_write_at, began) + counts.computed * self._pause_s_per_score
        self._unanswered_chunks = self._unanswered_chunks + 1 if counts.users_unanswered else 0
        if self._unanswered_chunks >= _GIVE_UP_AFTER:
            raise WarmingError("The cache does not answer any more. The next run goes on from here.")
        self._progress(self.summary)

    def _compute(self, wanted: Mapping[int, list[int]]) -> dict[int, Mapping[int, Mapping[str, Json]]]:
        computed = {}
        for user, jobs in wanted.items():
            try:
                scores = self._score(user, jobs)
                if not isinstance(scores, Mapping):
                    raise TypeError(f"the function gave {type(scores).__name__}; it must give {{job_id: score}}")  # noqa: TRY301
                computed[user] = scores
            except Exception as error:  # noqa: BLE001 - the caller's own function; the other users are not to suffer
                self._failed(user, error)
        return computed

    def _failed(self, user: int, error: Exception) -> None:
        self.summary.failed_users += 1
        if len(self.summary.failures) < _SHOWN_FAILURES:
            self.summary.failures[user] = f"{type(error).__name__}: {error}"

    # -- going on after a kill ---------------------------------------------------------------------------------

    def _begin(self) -> tuple[datetime, ActiveUser | None]:
        """Since when users count as active, and the last one that an unfinished run has reached."""
        now = datetime.fromtimestamp(self._service.flows.clock.now(), UTC)
        stored = None if self._dry_run else self._ask(commands.get(keys.WARMING_RUN))
        try:
            reached: dict[str, Any] = json.loads(stored or b"")
            since = datetime.fromisoformat(reached["since"])
            after = ActiveUser(int(reached["user_id"]), datetime.fromisoformat(reached["last_seen"]))
        except (TypeError, ValueError, KeyError):  # nothing, or nothing of ours
            return now - ACTIVE_WITHIN, None
        self.summary.resumed = True
        return since, after

    def _reached(self, since: datetime, user: ActiveUser) -> None:
        if not self._dry_run:
            reached = {
                "since": since.isoformat(),
                "user_id": user.user_id,
                "last_seen": user.last_seen.isoformat(),
            }
            self._ask(commands.set_for(keys.WARMING_RUN, json.dumps(reached).encode(), INTERVAL_S))

    def _ended(self) -> None:
        if not self._dry_run:
            self._ask(commands.delete(keys.WARMING_RUN))

    def _ask(self, command: Command) -> Reply:
        """The reply; None where there is none. Whoever starts from the beginning only looks again."""

        def flow() -> Flow[Reply]:
            replies = yield Send((command,))
            return None if isinstance(replies, Unavailable) else replies[0]

        return self._service.run(flow())
