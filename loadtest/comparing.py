"""Two verdicts beside each other: what changed, and what got worse beyond the intervals. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from loadtest.errors import ScenarioError

# Memory within a run's noise; a node's share of it must not matter.
_MEMORY_NOISE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both runs; rates are fractions of 1, memory is bytes. `what` says how it changed."""

    name: str
    before: float | None
    after: float | None
    what: str  # "better", "worse", "same", or why they cannot be compared

    @property
    def is_regression(self) -> bool:
        return self.what == "worse"


def compare(before: dict[str, Any], after: dict[str, Any]) -> tuple[list[Change], list[str]]:
    """The figures of two verdict.json, and the settings in which the runs differ."""
    try:
        rows = {row["name"]: row for row in before["classes"]}
        changes = [_rate(rows[row["name"]], row) for row in after["classes"] if row["name"] in rows]
        used = [max((node["used_bytes"] for node in document["sizing"]), default=0) for document in (before, after)]
        old, new = before["assumptions"], after["assumptions"]
        different = [f"{name}: {old.get(name)} → {value}" for name, value in new.items() if old.get(name) != value]
        different += [
            f"{name}: {before.get(name)} → {after.get(name)}"
            for name in ("scenario", "layout", "seed")
            if before.get(name) != after.get(name)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ScenarioError(f"not a verdict.json of this load test: {error} is missing or of the wrong kind.") from None
    if not changes:
        raise ScenarioError("the two runs have no cache type in common.")
    return [*changes, _memory(*used)], different


def _rate(before: dict[str, Any], after: dict[str, Any]) -> Change:
    name, was, now = after["name"], before["measured"], after["measured"]
    if None in (before["ci_low"], after["ci_low"]):
        return Change(name, was, now, "too few samples to compare")
    if now < was and after["ci_high"] < before["ci_low"]:
        return Change(name, was, now, "worse")
    if now > was and after["ci_low"] > before["ci_high"]:
        return Change(name, was, now, "better")
    if before["verdict"] == "PASS" and after["verdict"] == "FAIL":
        return Change(name, was, now, "worse")
    return Change(name, was, now, "same")


def _memory(before: float, after: float) -> Change:
    if not before or not after:
        return Change("memory", before or None, after or None, "not measured in both")
    ratio = after / before
    what = "worse" if ratio > 1 + _MEMORY_NOISE else "better" if ratio < 1 - _MEMORY_NOISE else "same"
    return Change("memory", before, after, what)
