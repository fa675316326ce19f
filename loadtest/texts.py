"""What a result says in sentences and figures, for the terminal and the report alike. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtest import recovery, verdict
from loadtest.scenarios import DAY_S, HOUR_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cache import Catalog
    from loadtest.result import Result
    from loadtest.steps import Step
    from loadtest.verdict import Judgement, NodeRow, Row


def percent(rate: float | None, digits: int = 2) -> str:
    return "–" if rate is None else f"{100 * rate:.{digits}f} %"


def target(rate: float) -> str:
    """With all its digits: 99.5 % is neither 99 nor 100."""
    return f"{100 * rate:g} %"


def interval(row: Row) -> str:
    return "–" if row.ci_low is None else f"{percent(row.ci_low)} – {percent(row.ci_high)}"


def megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"


def milliseconds(latency_us: Mapping[str, int]) -> list[str]:
    """The percentiles of a live step."""
    return [f"{latency_us[point] / 1000:.2f}" for point in ("p50", "p95", "p99", "p99.9")]


def shares(of_nodes: Iterable[float]) -> str:
    """The one share, or the smallest and the greatest."""
    known = sorted(of_nodes)
    if not known:
        return percent(None)
    low, high = f"{100 * known[0]:.0f}", percent(known[-1], 0)
    return high if high.startswith(f"{low} ") else f"{low}–{high}"


def row_cells(row: Row) -> tuple[str, ...]:
    """Target, measured rate with its interval, prediction and lookups of a cache type."""
    rates = (target(row.target), percent(row.measured), interval(row), percent(row.predicted))
    return (*rates, f"{row.lookups:,}")


def node_cells(node: NodeRow) -> tuple[str, ...]:
    """What a node can use, what was used of it at most, and the share."""
    share = f"{100 * node.used_bytes / node.usable_bytes:.1f} %"
    return megabytes(node.usable_bytes), megabytes(node.used_bytes), share


def step_cells(step: Step) -> tuple[str, ...]:
    """Achieved rate, latencies, unanswered lookups, and the processors of server and load generator."""
    processors = (shares(step.server_cpu.values()), percent(step.generator_cpu, 0))
    return (f"{step.achieved:,.0f}", *milliseconds(step.latency_us), percent(step.unanswered, 1), *processors)


def plan_bytes(catalog: Catalog) -> int:
    """The caching strategy's own estimate at 10,000 users: item sizes times counts, without keys and tables."""
    return sum(cache_type.item_size_bytes * cache_type.item_count for cache_type in catalog)


def share_of_node(used_bytes: int, usable_bytes: int) -> str:
    """A share of what a node can use, and whether it fits."""
    return f"{100 * used_bytes / usable_bytes:.1f} %" + ("" if used_bytes <= usable_bytes else ", too much")


def notes(judgement: Judgement) -> list[str]:
    return [f"{row.name}: {row.note}." for row in judgement.rows if row.note]


def remarks(result: Result) -> list[str]:
    """What must be said before the verdict."""
    if not result.stopped_because:
        return result.remarks
    if result.is_live:
        return [*result.remarks, f"PARTIAL: {result.stopped_because} Nothing is judged."]
    return [
        *result.remarks,
        f"PARTIAL: {result.stopped_because} The run ended after {result.ran_s / DAY_S:.1f} of {result.scenario.days} "
        "virtual days, and nothing is judged.",
    ]


def fault_lines(result: Result) -> list[str]:
    """What each fault did, and how long it took the hit rates to come back."""
    lines = []
    dips = recovery.dips(result)
    for fault in result.faults:
        until_s = result.ran_s if fault.until_s is None else min(fault.until_s, result.ran_s)
        lasted = f" to {days(until_s)}" if until_s > fault.at_s else ""
        felt = [dip for dip in dips if (dip.fault, dip.at_s) == (str(fault), fault.at_s)]
        effects = [_dip_text(dip) for dip in felt]
        if untold := recovery.untold(result, fault):
            effects.append(f"too few lookups before or behind it to tell: {', '.join(untold)}")
        lines.append(f"{fault} at {days(fault.at_s)}{lasted}: {'; '.join(effects) or 'no dip'}.")
    return lines


def _dip_text(dip: recovery.Dip) -> str:
    back = (
        "not back before the next fault or the end"
        if dip.recovered_after_s is None
        else f"back within {100 * recovery.NEAR:.0f} points after {dip.recovered_after_s / HOUR_S:.0f} h"
    )
    amid = f" (while {dip.amid} was still felt)" if dip.amid else ""
    return f"{dip.cache_type} fell from {percent(dip.before)} to {percent(dip.lowest)} at its worst{amid}, {back}"


def days(seconds: float) -> str:
    return f"day {seconds / DAY_S:.2f}"


def warming_lines(result: Result) -> list[str]:
    if result.is_live:
        return []
    if result.population is None:
        return ["Warming: what the log itself has of it."]
    done = result.warming
    if result.scenario.warming == "off":
        return ["Warming was off."]
    everything = verdict.everything_would_compute(result)
    days = max(result.ran_s, 1) / DAY_S
    lines = [
        f"{result.warming_runs} hourly runs over {done.users / max(result.warming_runs, 1):,.0f} active users each, "
        f"policy {result.scenario.warming!r}: {done.computed / days:,.0f} scores computed a day, "
        f"{result.warming_commands:,} commands, {done.keys_read:,} keys read, counted apart from the traffic."
    ]
    if result.scenario.warming == "due" and done.computed:
        lines.append(
            f"The caching strategy's loop over everything would compute {everything / days:,.0f} scores a day: "
            f"{everything / done.computed:.0f} times as many for the same hits."
        )
    return lines


def cost_lines(result: Result) -> list[str]:
    """What the misses cost: scores computed, calls of the enrichment service and their money."""
    if not result.ran_s:
        return []
    per_day = DAY_S / result.ran_s
    scores = result.stats.counts("match").computes * per_day
    calls = result.stats.counts("company").computes * per_day
    lookups = result.stats.counts("company").lookups * per_day
    price = result.scenario.usd_per_enrichment
    warmed = result.warming.computed * per_day
    return [
        f"Misses cost {scores:,.0f} score computations a day (warming {warmed:,.0f} more) and {calls:,.0f} calls of "
        f"the enrichment service: {30 * calls * price:,.2f} USD a month at {price:g} USD each, instead of "
        f"{30 * lookups * price:,.2f} USD without a cache."
    ]


def _start(result: Result) -> str:
    if result.population is None:
        return "The cache was empty when the log began."
    return "The run began in the stationary state."


def counting_lines(result: Result) -> list[str]:
    stats = result.stats
    lookups = sum(int(counted.lookups.sum()) for counted in result.counts.types.values())
    users = int((result.counts.visits > 0).sum()) if result.is_live else result.scenario.users
    whose = (
        f"{lookups:,} lookups by {users:,} users; the interval's unit is the user, since lookups of one user are "
        "correlated."
    )
    if result.is_live:
        return [whose]
    lines = [
        whose,
        f"Time: {result.clock_note}. {_start(result)} All behaviour lies on steps of {result.scenario.resolution_s} s; "
        "nothing else is rounded.",
    ]
    if result.server_lookups:
        what = (
            "a list of scores is one key, so one hit or miss for the server"
            if result.layout == "hash"
            else "each score is a key"
        )
        lines.append(
            f"The server counted {result.server_lookups:,} key lookups: {stats.data_reads:,} for those values ({what}) "
            f"and {stats.bookkeeping_reads:,} for generations, leases and warming's stamps. The sum is exact."
        )
    return lines
