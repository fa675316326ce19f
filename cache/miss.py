"""A miss that is told from a cached None."""

from __future__ import annotations

import enum
from typing import Final


class Miss(enum.Enum):
    """The type of `MISS`: pass it as `default=` to tell a miss from a cached None."""

    MISS = enum.auto()

    def __repr__(self) -> str:
        return "MISS"


MISS: Final = Miss.MISS
