"""From counts to PASS, FAIL or UNDECIDED for each cache type and node type, and to the exit code. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cache.nodes import NODE_TYPES
from loadtest import flip, intervals, recovery, theory
from loadtest.errors import ExitCode
from loadtest.scenarios import DAY_S

if TYPE_CHECKING:
    from cache.nodes import NodeType
    from loadtest.intervals import Estimate
    from loadtest.result import Result


class Verdict(StrEnum):
    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"


@dataclass(frozen=True, slots=True)
class Row:
    """One cache type. Rates are fractions of 1; `verdict` is None for a row that is shown and not judged."""

    name: str
    target: float
    measured: float | None
    ci_low: float | None
    ci_high: float | None
    predicted: float | None  # None where there is no model, as for recorded traffic
    lookups: int
    verdict: Verdict | None
    flip: str | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """Whether the data fits one node type."""

    node_type: str
    usable_bytes: int
    used_bytes: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """All rows of a run, and how it ends."""

    rows: list[Row]
    sizing: list[NodeRow]
    exit_code: ExitCode


def judge(result: Result, undecided_because: str | None = None) -> Judgement:
    """`undecided_because` says why this run was not all of the scenario's traffic, so that nothing in it is a PASS."""
    scenario, people = result.scenario, result.population
    predicted = theory.predict(scenario, people) if people else {}
    # Else the prediction was of something else, and that it is missed says nothing of the closed form.
    is_as_predicted = not (result.faults or result.stopped_because or undecided_because)
    rows: list[Row] = []
    for cache_type in scenario.catalog:
        name = cache_type.name
        counted = result.counts.types[name]
        estimate = intervals.hit_rate(counted.hits, counted.lookups)
        reached = flip.smallest(scenario, people, name) if people else None
        rows.append(
            _row(
                name,
                cache_type.target_hit_rate,
                estimate,
                predicted.get(name),
                flip_text=str(reached) if reached else ("none within reason" if people else None),
                note=result.notes.get(name)
                or (_disagreement(estimate, predicted.get(name)) if is_as_predicted else ""),
            )
        )
        if name == "session" and people:
            rows.append(_first_lookup_row(result, predicted["session_first_lookup"]))
    if result.stopped_because:
        ran = "before its time" if result.is_live else f"after {result.ran_s / DAY_S:.1f} of {scenario.days} days"
        undecided_because = f"partial: the run ended {ran}"
    used = max((sample.used_bytes for sample in result.memory), default=None)
    sizing = [] if used is None else [size(node, used) for node in NODE_TYPES.values()]
    if undecided_because:
        undecided = Verdict.UNDECIDED
        rows = [replace(row, verdict=row.verdict and undecided, note=row.note or undecided_because) for row in rows]
        # More of it might not fit; what does not fit already would not either.
        sizing = [replace(node, verdict=undecided) if node.verdict is Verdict.PASS else node for node in sizing]
    code = exit_code(rows, sizing, scenario.node_type)
    if result.precision and intervals.widest(result.counts) > result.precision:
        code = ExitCode.UNDECIDED
    if result.stopped_because:
        code = ExitCode.ERROR
    return Judgement(rows, sizing, code)


def verdict_of(estimate: Estimate, target: float) -> Verdict:
    """PASS if the target lies below the interval, FAIL if above; too few samples are never a PASS."""
    if estimate.low is None or estimate.high is None:
        return Verdict.UNDECIDED
    if target < estimate.low:
        return Verdict.PASS
    return Verdict.FAIL if target > estimate.high else Verdict.UNDECIDED


def size(node: NodeType, used_bytes: int) -> NodeRow:
    fits = used_bytes <= node.usable_bytes
    return NodeRow(node.name, node.usable_bytes, used_bytes, Verdict.PASS if fits else Verdict.FAIL)


def exit_code(rows: list[Row], sizing: list[NodeRow], node_type: str) -> ExitCode:
    """The first that applies of UNDECIDED, TARGET_MISSED, DOES_NOT_FIT; no judged row at all is UNDECIDED."""
    verdicts = [row.verdict for row in rows if row.verdict]
    if not verdicts or Verdict.UNDECIDED in verdicts:
        return ExitCode.UNDECIDED
    if Verdict.FAIL in verdicts:
        return ExitCode.TARGET_MISSED
    if any(node.verdict is Verdict.FAIL for node in sizing if node.node_type == node_type):
        return ExitCode.DOES_NOT_FIT
    return ExitCode.PASS


def as_json(result: Result, judgement: Judgement, versions: dict[str, str]) -> dict[str, Any]:
    """What `verdict.json` holds."""
    return {
        "scenario": result.scenario.name,
        "seed": result.seed,
        "layout": result.layout,
        "virtual_days": result.scenario.days,
        "is_partial": bool(result.stopped_because),
        "stopped_because": result.stopped_because,
        "remarks": result.remarks,
        "users": result.scenario.users,
        "exit_code": int(judgement.exit_code),
        "classes": [asdict(row) for row in judgement.rows if row.verdict],
        "not_judged": [asdict(row) for row in judgement.rows if not row.verdict],
        "sizing": [asdict(node) for node in judgement.sizing],
        "faults": [asdict(fault) for fault in result.faults],
        "dips": [asdict(dip) for dip in recovery.dips(result)],
        "warming": asdict(result.warming)
        | {
            "policy": result.scenario.warming,
            "runs": result.warming_runs,
            "commands": result.warming_commands,
            "computed_by_everything": everything_would_compute(result),
        },
        "server": {
            "lookups": result.server_lookups,
            "data_reads": result.stats.data_reads,
            "bookkeeping_reads": result.stats.bookkeeping_reads,
            "commands": result.commands,
            "clock": result.clock_note,
        },
        "assumptions": {
            name: getattr(result.scenario, name) for name in result.scenario.__slots__ if name not in ("name", "title")
        }
        # The catalogue's too: a run that is compared with this one may have another.
        | {
            "ttl_s": {each.name: each.ttl_s for each in result.scenario.catalog},
            "targets": {each.name: each.target_hit_rate for each in result.scenario.catalog},
        },
        "versions": versions,
    }


def everything_would_compute(result: Result) -> int:
    """Scores that the strategy's own loop would have computed: every popular job of every active user, every hour."""
    return result.warming.users * result.scenario.popular_jobs


def _row(
    name: str, target: float, estimate: Estimate, predicted: float | None, *, flip_text: str | None, note: str = ""
) -> Row:
    verdict = verdict_of(estimate, target)
    # With prediction and verdict on two sides of the target, as after a fault, what flips the one leaves the other.
    opposite = Verdict.FAIL if predicted is not None and predicted >= target else Verdict.PASS
    return Row(
        name=name,
        target=target,
        measured=estimate.hit_rate,
        ci_low=estimate.low,
        ci_high=estimate.high,
        predicted=predicted,
        lookups=estimate.lookups,
        verdict=verdict,
        flip=None if verdict is opposite else flip_text,
        note=note,
    )


def _first_lookup_row(result: Result, predicted: float) -> Row:
    """The other definition of the session's hit rate: as if the login wrote nothing."""
    counted = result.counts.types["session"]
    visits = result.counts.visits
    estimate = intervals.hit_rate((counted.hits - visits).clip(min=0), counted.lookups)
    return replace(
        _row(
            "session, first lookup",
            result.scenario.catalog.session.target_hit_rate,
            estimate,
            predicted,
            flip_text=None,
            note="what the rate would be if a visit's first lookup filled the entry instead of the login",
        ),
        verdict=None,
    )


def _disagreement(estimate: Estimate, predicted: float | None) -> str:
    """Why measured and predicted differ, where they do by more than three standard errors."""
    if estimate.hit_rate is None or predicted is None or not estimate.standard_error:
        return ""
    apart = abs(estimate.hit_rate - predicted) / estimate.standard_error
    if apart <= 3:
        return ""
    return (
        f"measured and predicted are {apart:.1f} standard errors apart: the closed form leaves out visits that "
        "straddle the end of a TTL and breaks longer than a TTL within one visit"
    )
