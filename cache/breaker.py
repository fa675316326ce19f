"""When to stop asking a sick server. No I/O."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Five failed operations cost callers at most half a second between them; one may be a single dead connection.
FAILURES_TO_OPEN: Final = 5
PAUSE_S: Final = 1.0


class Breaker:
    """Closed: ask. Open: do not, for `pause_s` after the last failure. Then one caller at a time may try.

    Whoever was allowed reports how it went, by `succeeded`, `failed` or `gave_up`. Safe to share between threads.
    """

    def __init__(
        self,
        *,
        failures_to_open: int = FAILURES_TO_OPEN,
        pause_s: float = PAUSE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures_to_open = failures_to_open
        self._pause_s = pause_s
        self._monotonic = monotonic
        self.reset()

    def reset(self) -> None:
        """Closed, as at the start; also after a fork, when another thread may have held the lock."""
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until: float | None = None
        self._is_probing = False

    @property
    def has_failed(self) -> bool:
        """Whether the last that was heard of was a failure."""
        return self._failures > 0

    def allows(self) -> bool:
        if self._open_until is None:  # the healthy server's path takes no lock
            return True
        with self._lock:
            if self._open_until is None:
                return True
            if self._is_probing or self._monotonic() < self._open_until:
                return False
            self._is_probing = True
            return True

    def succeeded(self) -> bool:
        """True if this closed the breaker."""
        if not self._failures:
            return False
        with self._lock:
            was_open = self._open_until is not None
            self._failures, self._open_until, self._is_probing = 0, None, False
            return was_open

    def failed(self) -> bool:
        """True if this opened the breaker."""
        with self._lock:
            self._failures += 1
            was_open = self._open_until is not None
            self._is_probing = False
            if self._failures < self._failures_to_open:
                return False
            self._open_until = self._monotonic() + self._pause_s
            return not was_open

    def gave_up(self) -> None:
        """The caller ended without learning anything, as a cancelled task does."""
        with self._lock:
            self._is_probing = False
