"""Which part of a run's traffic one process drives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Share:
    """Every `of`-th user and company, from `index` on. Nothing of one of them depends on another's."""

    index: int = 0
    of: int = 1

    def owns(self, identifier: int) -> bool:
        """Whether a user or a company is of this share."""
        return identifier % self.of == self.index

    @property
    def is_first(self) -> bool:
        return self.index == 0


ALL: Final = Share()
