"""The rehearsal: every alarm at its edges, every fault against every alarm, and weeks in which nothing is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from scripts.alarms import declared as declared_alarms
from scripts.alarms import edges, faults, measured
from scripts.alarms import scene as scenes
from scripts.alarms.evaluation import State, evaluate, notified

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infra.recorded import Declared
    from scripts.alarms.declared import Alarms
    from scripts.alarms.expectations import Expectations, FaultExpectation
    from scripts.alarms.faults import Fault
    from scripts.alarms.measured import Run
    from scripts.alarms.scene import Scene

FALSE_ALARM_DAYS: Final = 28
# What rings on the first day lacks the history that a running stack has.
HISTORY: Final = scenes.DAY


@dataclass(frozen=True, slots=True)
class Ring:
    """One alarm in one fault. Minutes since the fault began, and since it was repaired.

    `cleared` is negative for an alarm that ended before the repair, and None for one that still rings at the end.
    """

    rang: int
    cleared: int | None
    times: int


@dataclass(frozen=True)
class Row:
    """One fault: the alarms that rang, without the stack's prefix, and what was wrong with that."""

    fault: Fault
    rings: Mapping[str, Ring]
    problems: list[str]


@dataclass
class Result:
    """What a rehearsal found. `alarms` are names without the stack's prefix, by their runbook."""

    stack: str
    seed: int
    alarms: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    edge_problems: list[str] = field(default_factory=list)
    false_alarms: dict[str, int] = field(default_factory=dict)
    weeks: int = 0

    @property
    def problems(self) -> list[str]:
        """Every mismatch, one sentence each."""
        return [
            *self.edge_problems,
            *(problem for row in self.rows for problem in row.problems),
            *(
                f"{self.weeks} ordinary weeks: {name} rang {times} time(s) and nothing was wrong."
                for name, times in self.false_alarms.items()
            ),
        ]


def rehearse(
    stack: Declared,
    expectations: Expectations,
    *,
    seed: int,
    days: int = FALSE_ALARM_DAYS,
    runs: Callable[[Fault], Run],
    progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> Result:
    """Everything. `runs` gives the load test's run of a fault that needs one.

    Raises EvaluationError for an alarm that cannot be evaluated.
    """
    alarms = declared_alarms.alarms(stack)
    prefix = stack.settings.names.of("")
    result = Result(stack.settings.stack, seed, {alarm.name.removeprefix(prefix): alarm.runbook for alarm in alarms})
    for alarm in alarms.metric:
        result.edge_problems += edges.problems(alarm, alarm.name.removeprefix(prefix), expectations.edges)
    ordinary = scenes.ordinary(stack, days=faults.DAYS, seed=seed)
    every = [fault for fault in faults.all_faults() if stack.settings.node.burstable or not fault.needs_credits]
    result.edge_problems += _unused(expectations)
    for done, fault in enumerate(every):
        progress("faults", done / len(every))
        scene = ordinary.copy()
        if fault.injected:
            measured.put(scene, runs(fault))
        fault.add_to(scene)
        result.rows.append(_row(alarms, prefix, fault, scene, expectations.faults.get(fault.name)))
    result.weeks = days // 7
    result.false_alarms = false_alarms(stack, alarms, days=days, seed=seed)
    progress("faults", 1)
    return result


def false_alarms(stack: Declared, alarms: Alarms, *, days: int, seed: int) -> dict[str, int]:
    """How often each alarm rang in ordinary weeks, by its name without the stack's prefix; those that did."""
    scene = scenes.ordinary(stack, days=days, seed=seed)
    scene.publish_baseline()
    found = _told(alarms, evaluate(alarms.metric, alarms.composite, scene.metrics, scene.minutes))
    prefix = stack.settings.names.of("")
    rang = {name.removeprefix(prefix): sum(minute >= HISTORY for minute in told) for name, told in found.items()}
    return {name: times for name, times in rang.items() if times}


def _row(alarms: Alarms, prefix: str, fault: Fault, scene: Scene, expected: FaultExpectation | None) -> Row:
    states = evaluate(alarms.metric, alarms.composite, scene.metrics, scene.minutes)
    rings, problems = {}, []
    for name, told in _told(alarms, states).items():
        short = name.removeprefix(prefix)
        after = [minute for minute in told if minute >= faults.BEGINS]
        if any(HISTORY <= minute < faults.BEGINS for minute in told):
            problems.append(f"{fault.name}: {short} rang before the fault.")
        if after:
            rings[short] = Ring(after[0] + 1 - faults.BEGINS, _cleared(states[name], fault), len(after))
    if expected is None:
        problems.append(f"{fault.name}: nothing is expected of this fault; add it to the expectations.")
    else:
        problems += _mismatches(fault.name, rings, expected)
    return Row(fault, rings, problems)


def _told(alarms: Alarms, states: Mapping[str, Sequence[State]]) -> dict[str, list[int]]:
    told = {alarm.name: notified(states[alarm.name]) for alarm in alarms.metric}
    for composite in alarms.composite:
        suppressor = states[composite.suppressor] if composite.suppressor else None
        told[composite.name] = notified(
            states[composite.name], suppressor, wait_s=composite.wait_s, extension_s=composite.extension_s
        )
    return told


def _cleared(states: Sequence[State], fault: Fault) -> int | None:
    """Minutes from the repair to the last change out of ALARM."""
    if states[-1] is State.ALARM:
        return None
    last = max(minute for minute, state in enumerate(states) if state is State.ALARM)
    # The state of a minute is known at its end, and it is the next one that is quiet.
    return last + 2 - (faults.BEGINS + fault.lasts)


def _mismatches(fault: str, rings: Mapping[str, Ring], expected: FaultExpectation) -> list[str]:
    problems = []
    for pattern, within in expected.must.items():
        rang = [ring.rang for name, ring in rings.items() if fnmatchcase(name, pattern)]
        if not rang:
            problems.append(f"{fault}: {pattern} should have rung within {within} min and did not.")
        elif min(rang) > within:
            problems.append(f"{fault}: {pattern} rang after {min(rang)} min; it must within {within}.")
    problems += [f"{fault}: {name} rang and should not have." for name in rings if not expected.allows(name)]
    return problems


def _unused(expectations: Expectations) -> list[str]:
    unknown = expectations.faults.keys() - {fault.name for fault in faults.all_faults()}
    return [f"{name}: something is expected of a fault that does not exist." for name in sorted(unknown)]


def as_json(result: Result) -> dict[str, Any]:
    """For machines."""
    return {
        "stack": result.stack,
        "seed": result.seed,
        "faults": {
            row.fault.name: {
                "what": row.fault.what,
                "lasts_min": row.fault.lasts,
                "rang": {
                    name: {"after_min": ring.rang, "cleared_min_after_repair": ring.cleared, "times": ring.times}
                    for name, ring in row.rings.items()
                },
            }
            for row in result.rows
        },
        "ordinary_weeks": result.weeks,
        "false_alarms": result.false_alarms,
        "runbooks": result.alarms,
        "problems": result.problems,
    }
