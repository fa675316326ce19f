"""Clearbit's company API: `GET /v2/companies/find?domain=…`.

Theory of operation
-------------------
One call of `find` has one deadline, whatever happens in it. 200 is the company; 404 (unknown) and 422 (no domain to
them) are None. 202 (they are still looking), 5xx, time-outs and answers that are no JSON are tried again, with a pause
that doubles. 429 is tried again when its Retry-After has passed, by every caller of this process. What would end behind
the deadline is not begun. After five calls in a row that failed, nobody calls for half a minute; 202, 429 and a rate
that is used up are no failures, since Clearbit works.

What to do next is decided in `_Calls.find`, a generator that asks for requests and pauses; the two clients only carry
them out.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import re
import threading
import time
import weakref
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import httpx

from cache.async_link import PerLoop
from cache.breaker import Breaker
from cache.enrichment.errors import EnrichmentUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

URL: Final = "https://company.clearbit.com"
_PATH: Final = "/v2/companies/find"
KEY_VARIABLE: Final = "CLEARBIT_KEY"
# Clearbit allows 600 requests a minute (https://dashboard.clearbit.com/docs#rate-limiting).
CALLS_PER_MINUTE: Final = 600
DEADLINE_S: Final = 5.0
_TRY_TIMEOUT_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.2
_FAILURES_TO_STOP: Final = 5
_STOP_FOR_S: Final = 30.0
# The rate is per minute: whoever asks for a longer pause than a few of these means something else, or nothing.
_LONGEST_PAUSE_S: Final = 300.0
_HOST: Final = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")


_sleep, _async_sleep = time.sleep, asyncio.sleep


class _BusyError(EnrichmentUnavailableError):
    """Clearbit works; it had nothing for this caller in time."""


@dataclass(frozen=True, slots=True)
class _Request:
    domain: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class _Pause:
    wait_s: float


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_after: str | None
    body: bytes


class _Calls:
    """The decisions of one client, and what its callers share: the rate, the pause after 429, the breaker."""

    def __init__(
        self, deadline_s: float, calls_per_minute: int, monotonic: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        self._deadline_s = deadline_s
        self._between_s = 60 / calls_per_minute
        self._monotonic = monotonic
        self._jitter = jitter
        self._next_at = 0.0
        self._breaker = Breaker(failures_to_open=_FAILURES_TO_STOP, pause_s=_STOP_FOR_S, monotonic=monotonic)
        self.sent = 0
        self.reset()

    def reset(self) -> None:
        """Asks, as at the start; also after a fork, when another thread may have held the lock."""
        self._lock = threading.Lock()
        self._breaker.reset()

    def find(self, domain: str) -> Generator[_Request | _Pause, Any, dict[str, Any] | None]:
        name = domain.strip().lower()
        if not _HOST.fullmatch(name):
            raise ValueError(f"domain is {domain!r}; it must be a host name such as 'example.com'.")
        if not self._breaker.allows():
            raise EnrichmentUnavailableError(f"Clearbit failed {_FAILURES_TO_STOP} times; it is not asked for {name}.")
        try:
            company = yield from self._tries(name)
        except EnrichmentUnavailableError as error:
            if isinstance(error, _BusyError):
                self._breaker.gave_up()
            else:
                self._breaker.failed()
            raise
        except BaseException:
            self._breaker.gave_up()
            raise
        self._breaker.succeeded()
        return company

    def _tries(self, name: str) -> Generator[_Request | _Pause, Any, dict[str, Any] | None]:
        end, pause_s, reason = self._monotonic() + self._deadline_s, _FIRST_PAUSE_S, "its rate was used up"
        error: type[EnrichmentUnavailableError] = _BusyError
        while True:
            wait_s = self._turn(end)
            if wait_s is None:
                raise error(f"Clearbit has not told of {name} in {self._deadline_s:g} s: {reason}.")
            if wait_s > 0:
                yield _Pause(wait_s)
            self.sent += 1
            answer = yield _Request(name, min(_TRY_TIMEOUT_S, max(end - self._monotonic(), 0.001)))
            if isinstance(answer, _Answer) and answer.status == 429:
                reason, error = "429, too many requests", _BusyError
                self._not_before(_seconds(answer.retry_after, self._between_s))
                continue
            judged = _judge(answer)
            if not isinstance(judged, str):
                return judged
            reason = judged
            is_working = isinstance(answer, _Answer) and answer.status == 202
            error = _BusyError if is_working else EnrichmentUnavailableError
            # Somewhere in the upper half, so that many processes do not come back together.
            yield _Pause(min(pause_s * (1 + self._jitter()) / 2, max(end - self._monotonic(), 0)))
            pause_s *= 2

    def _turn(self, end: float) -> float | None:
        """Seconds until this caller may call, who is then counted in the rate; None if that is not before `end`."""
        with self._lock:
            now = self._monotonic()
            at = max(self._next_at, now)
            if at >= end:
                return None
            self._next_at = at + self._between_s
            return at - now

    def _not_before(self, wait_s: float) -> None:
        with self._lock:
            self._next_at = max(self._next_at, self._monotonic() + wait_s)


class _Client:
    """What both clients share; they differ in how a request is sent and a pause made. A client survives a fork."""

    _connect: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        key: str,
        *,
        url: str = URL,
        deadline_s: float = DEADLINE_S,
        calls_per_minute: int = CALLS_PER_MINUTE,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`deadline_s` is for one `find` with all its retries.

        Raises ValueError for no key or one that no header can hold, a URL without TLS, and limits that are not over 0.
        """
        if not (deadline_s > 0 and calls_per_minute > 0):
            raise ValueError(
                f"deadline_s is {deadline_s!r}, calls_per_minute {calls_per_minute!r}; both must be over 0."
            )
        key = key.strip()  # a key that was read from a file ends with its line
        self._calls = _Calls(deadline_s, calls_per_minute, monotonic, jitter)
        self._new = partial(
            self._connect, base_url=checked(key, url), headers=_headers(key), verify=httpx.create_ssl_context()
        )
        self._begin()
        _alive.add(self)

    def _begin(self) -> None:
        """Without connections."""
        raise NotImplementedError

    def after_fork(self) -> None:
        """In the child: the connections are the parent's, and so is what is answered on them."""
        self._calls.reset()
        self._begin()

    @classmethod
    def from_environment(cls, **options: Any) -> Self:
        """With the key in `CLEARBIT_KEY`. Raises ValueError if it is not set."""
        return cls(os.environ.get(KEY_VARIABLE, ""), **options)

    @property
    def calls(self) -> int:
        """Requests sent since the start, retries included."""
        return self._calls.sent


class Clearbit(_Client):
    """A provider for threads: `with Clearbit.from_environment() as provider:`."""

    _connect = httpx.Client

    def _begin(self) -> None:
        self._client = self._new()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def find(self, domain: str) -> dict[str, Any] | None:
        """What Clearbit knows of a company, or None.

        Raises EnrichmentUnavailableError if it cannot tell within the deadline, ValueError for what is no domain.
        """
        asking, answer = self._calls.find(domain), None
        while True:
            try:
                step = asking.send(answer)
            except StopIteration as done:
                company: dict[str, Any] | None = done.value
                return company
            answer = self._carry_out(step)

    def _carry_out(self, step: _Request | _Pause) -> Any:
        if isinstance(step, _Pause):
            _sleep(step.wait_s)
            return None
        try:
            return _answer(self._client.get(_PATH, params={"domain": step.domain}, timeout=step.timeout_s))
        except httpx.HTTPError as error:
            return error


class AsyncClearbit(_Client):
    """As `Clearbit`, for asyncio: `async with AsyncClearbit.from_environment() as provider:`.

    Each event loop has connections of its own.
    """

    _connect = httpx.AsyncClient

    def _begin(self) -> None:
        self._clients: PerLoop[httpx.AsyncClient] = PerLoop(self._new)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Those of this event loop; those of another one end with it."""
        await self._clients.here().aclose()

    async def find(self, domain: str) -> dict[str, Any] | None:
        asking, answer = self._calls.find(domain), None
        while True:
            try:
                step = asking.send(answer)
            except StopIteration as done:
                company: dict[str, Any] | None = done.value
                return company
            answer = await self._carry_out(step)

    async def _carry_out(self, step: _Request | _Pause) -> Any:
        if isinstance(step, _Pause):
            await _async_sleep(step.wait_s)
            return None
        try:
            client = self._clients.here()
            return _answer(await client.get(_PATH, params={"domain": step.domain}, timeout=step.timeout_s))
        except httpx.HTTPError as error:
            return error


def _after_fork() -> None:
    for client in list(_alive):
        client.after_fork()


_alive: weakref.WeakSet[_Client] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)


def checked(key: str, url: str) -> str:
    if not key:
        raise ValueError(f"the key is empty. Set {KEY_VARIABLE} to the secret key of the Clearbit account.")
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"the key has characters that no key has. Check {KEY_VARIABLE}.")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"url is {url!r}: {error}. It must be https:// and a host.") from None
    if parsed.scheme != "https" and parsed.host not in ("127.0.0.1", "localhost"):
        raise ValueError(f"url is {url!r}; it must begin with https://, for the key goes with every request.")
    return url


def _headers(key: str) -> httpx.Headers:
    """Of httpx's own type, which shows no key."""
    return httpx.Headers({"Authorization": f"Bearer {key}", "Accept": "application/json"})


def _answer(response: httpx.Response) -> _Answer:
    return _Answer(response.status_code, response.headers.get("Retry-After"), response.content)


def _judge(answer: _Answer | Exception) -> dict[str, Any] | str | None:
    """The company, None where there is none, or the reason to try again."""
    if isinstance(answer, Exception):
        return type(answer).__name__
    if answer.status in (404, 422):
        return None
    if answer.status in (401, 402, 403):
        raise EnrichmentUnavailableError(f"Clearbit refused the key ({answer.status}). Check {KEY_VARIABLE}.")
    if answer.status == 202:
        return "202, it is still looking"
    if answer.status != 200:
        return f"status {answer.status}"
    company = _json(answer.body)
    return "200 with something else than a JSON object" if company is None else company


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _seconds(retry_after: str | None, otherwise: float) -> float:
    """Retry-After in seconds, at most five minutes: a number or a date (RFC 9110, 10.2.3)."""
    try:
        wait_s = float(retry_after or "")
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(retry_after or "").timestamp() - time.time()
        except (ValueError, OverflowError):
            return otherwise
    return otherwise if math.isnan(wait_s) else min(max(wait_s, 0.0), _LONGEST_PAUSE_S)
