"""Two verdicts beside each other: what changed, and what got worse beyond the intervals. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from loadtest.errors import ScenarioError

# Memory that grew by more than both is worse. Five seeds of a few hundred users lie 0.2 MB apart, a tenth of all that
# they have; at 10,000 users, the share counts.
_MEMORY_NOISE: Final = 0.05
_MEMORY_NOISE_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of both runs; rates are fractions of 1, memory is bytes. `what` says how it changed."""

    name: str
    before: float | None
    after: float | None
    # "better", "same", "new", "worse" with the reason if it is not the figure, or why they cannot be compared
    what: str

    @property
    def is_regression(self) -> bool:
        return self.what.startswith("worse")

    @property
    def is_known(self) -> bool:
        """Whether it says that nothing got worse."""
        return self.what in ("better", "same", "new")


def compare(before: dict[str, Any], after: dict[str, Any]) -> tuple[list[Change], list[str]]:
    """The figures of two verdict.json, and the settings in which the runs differ."""
    try:
        rows = {row["name"]: row for row in after["classes"]}
        is_partial = any(document.get("is_partial") for document in (before, after))
        changes = [_rate(row, rows.pop(row["name"], None), is_partial=is_partial) for row in before["classes"]]
        changes += [Change(name, None, row["measured"], "new") for name, row in rows.items()]
        fits = {node["node_type"]: node["verdict"] for node in after["sizing"]}
        full = [
            Change(node["node_type"], None, None, "worse: the data does not fit any more")
            for node in before["sizing"]
            if node["verdict"] == "PASS" and fits.get(node["node_type"]) == "FAIL"
        ]
        used = [max((node["used_bytes"] for node in document["sizing"]), default=0) for document in (before, after)]
        old, new = _settings(before), _settings(after)
        different = [
            f"{name}: {old.get(name)} → {new.get(name)}" for name in {**old, **new} if old.get(name) != new.get(name)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ScenarioError(f"not a verdict.json of this load test: {error} is missing or of the wrong kind.") from None
    if not changes:
        raise ScenarioError("the run before has judged no cache type; there is nothing to compare with.")
    return [*changes, _memory(*used), *full], different


def _settings(document: dict[str, Any]) -> dict[str, Any]:
    """What a run was of and with: it may be why a figure changed."""
    described = {name: document.get(name) for name in ("scenario", "layout", "seed", "faults")}
    return {**described, **document["assumptions"], **document.get("versions", {})}


def _rate(before: dict[str, Any], after: dict[str, Any] | None, *, is_partial: bool) -> Change:
    name, was = before["name"], before["measured"]
    if after is None:
        return Change(name, was, None, "worse: it is not judged any more")
    now = after["measured"]
    if is_partial:
        return Change(name, was, now, "a run that ended early cannot be compared")
    if None in (before["ci_low"], after["ci_low"]):
        return Change(name, was, now, "too few samples to compare")
    if after["ci_high"] < before["ci_low"]:
        return Change(name, was, now, "worse")
    if after["ci_low"] > before["ci_high"]:
        return Change(name, was, now, "better")
    if before["verdict"] == "PASS" and after["verdict"] == "FAIL":
        return Change(name, was, now, "worse")
    if before["verdict"] == "PASS" and after["verdict"] == "UNDECIDED":
        return Change(name, was, now, "not decided any more")
    return Change(name, was, now, "same")


def _memory(before: float, after: float) -> Change:
    if not before or not after:
        return Change("memory", before or None, after or None, "not measured in both")
    is_noise = abs(after - before) <= max(_MEMORY_NOISE * before, _MEMORY_NOISE_BYTES)
    return Change("memory", before, after, "same" if is_noise else "worse" if after > before else "better")
