"""What is kept of a resource that exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """A resource that exists: its inputs in plain form, and what was computed for it."""

    type: str
    id: str
    region: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
