"""What a live run measured, and its file `live.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from loadtest import files
from loadtest.errors import LoadTestError
from loadtest.steps import Step, added, conclusion

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.steps import Hits

FILE = "live.json"


@dataclass(frozen=True, slots=True)
class LiveResult:
    """Steps of rising load on a server or cluster. `at` is the time of its end, ISO 8601 in UTC."""

    at: str
    host: str  # without a password
    server: str
    scenario: str
    seed: int
    layout: str
    connections: int
    generators: int
    step_s: float
    limit_ms: float
    targets: dict[str, float]  # hit rates by cache type, fractions of 1
    versions: dict[str, str]
    steps: list[Step]
    comparison: str = ""  # with single GETs over raw sockets, where it was asked for
    stopped_because: str | None = None  # where it ended before its steps did

    @property
    def hits(self) -> Hits:
        """(hits, lookups) of each cache type over all steps."""
        nothing = dict.fromkeys(self.targets, (0, 0))
        return reduce(added, (step.hits for step in self.steps), nothing)

    @property
    def conclusion(self) -> str:
        return conclusion(self.steps, self.limit_ms, self.stopped_because)

    @property
    def is_partial(self) -> bool:
        return bool(self.stopped_because)

    @property
    def when(self) -> str:
        """`at` for people, to the minute."""
        return f"{self.at[:16].replace('T', ' ')} UTC"

    @property
    def last_held(self) -> Step | None:
        return next((step for step in reversed(self.steps) if step.is_reached(self.limit_ms)), None)

    def write(self, file: Path) -> None:
        """Raises LoadTestError if it cannot be written."""
        document = asdict(self) | {"hits": self.hits, "conclusion": self.conclusion, "is_partial": self.is_partial}
        files.save(file, json.dumps(document, indent=2) + "\n")

    @classmethod
    def read(cls, file: Path) -> LiveResult:
        """Raises LoadTestError for a file of another shape, FileNotFoundError where there is none."""
        try:
            document: dict[str, Any] = json.loads(file.read_text())
            for derived in ("hits", "conclusion", "is_partial"):
                document.pop(derived)
            return cls(**document | {"steps": [Step(**step) for step in document["steps"]]})
        except (ValueError, TypeError, KeyError, AttributeError):
            raise LoadTestError(
                f"{file} is not what `python -m loadtest live` writes in this version; run it again, or move the file "
                "away."
            ) from None
