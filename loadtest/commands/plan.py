"""`python -m loadtest plan`: predicted hit rates and memory, without a server."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from cache.nodes import NODE_TYPES
from loadtest import planning, scenarios, terminal
from loadtest.commands import options as common
from loadtest.errors import ExitCode
from loadtest.planning import duration
from loadtest.texts import megabytes, percent, target

if TYPE_CHECKING:
    import argparse

    from rich.console import Console
    from rich.table import Table

    from loadtest.planning import Plan


def add_options(parser: argparse.ArgumentParser) -> None:
    common.scenario(parser)
    common.layout(parser)
    parser.add_argument("--warming", choices=scenarios.WARMING_POLICIES, help="instead of the scenario's policy")
    parser.add_argument(
        "--maxmemory", type=common.megabytes, metavar="MB", help="also predict the hit rates with LRU eviction at this"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(options: argparse.Namespace) -> ExitCode:
    scenario = common.load_scenario(options, "users", "warming")
    plan = planning.plan(scenario, layout=options.layout, maxmemory_bytes=options.maxmemory)
    if options.json:
        print(json.dumps(as_json(plan), indent=2))
    else:
        _show(plan)
    if not all(row.meets_target for row in plan.rows):
        return ExitCode.TARGET_MISSED
    fits = plan.memory_bytes <= NODE_TYPES[scenario.node_type].usable_bytes
    return ExitCode.PASS if fits else ExitCode.DOES_NOT_FIT


def as_json(plan: Plan) -> dict[str, object]:
    return {
        "scenario": plan.scenario.name,
        "users": plan.scenario.users,
        "layout": plan.layout,
        "classes": [asdict(row) for row in plan.rows],
        "memory_bytes": plan.memory_bytes,
        "cells": [asdict(cell) for cell in plan.cells],
        "limited": plan.limited,
        "unused_days": plan.unused_days if plan.unused_days != float("inf") else None,
    }


def _show(plan: Plan) -> None:
    console = terminal.console()
    scenario = plan.scenario
    console.print(
        f"Scenario {scenario.name}: {scenario.users:,} users, warming {scenario.warming}, layout {plan.layout}; "
        "predicted, without a server"
    )
    console.print(_rows(plan))
    usable = NODE_TYPES[scenario.node_type].usable_bytes
    console.print(
        f"Memory: {megabytes(plan.memory_bytes)} of {megabytes(usable)} usable on {scenario.node_type} "
        f"({100 * plan.memory_bytes / usable:.1f} %), by jemalloc's size classes."
    )
    if plan.limited is not None:
        _show_limited(plan, console)
    console.print(
        "\nHit rate in % by TTL, warming and sessions per user and day; * meets the target; in brackets, memory in MB"
    )
    console.print(_cells(plan))


def _rows(plan: Plan) -> Table:
    table = terminal.table("cache type", "target:", "predicted:", "entries:", "memory:", "target", "smallest change")
    for row in plan.rows:
        table.add_row(
            *(row.name, target(row.target), percent(row.predicted), f"{row.entries:,.0f}"),
            *(megabytes(row.memory_bytes), "met" if row.meets_target else "[bold red]missed", row.change or ""),
        )
    return table


def _show_limited(plan: Plan, console: Console) -> None:
    assert plan.limited is not None
    assert plan.unused_days is not None
    if plan.unused_days == float("inf"):
        console.print("Everything fits under the limit: nothing is evicted.")
        return
    rates = ", ".join(f"{name} {percent(rate)}" for name, rate in plan.limited.items())
    console.print(
        f"Under the limit, entries unused for {24 * plan.unused_days:.1f} h are evicted (Che's approximation): {rates}."
    )


def _cells(plan: Plan) -> Table:
    columns = [f"{sessions:g} a day:" for sessions in planning.SESSIONS_PER_USER_DAY]
    table = terminal.table("cache\ntype", "TTL:", "warming", *columns)  # fits into 80 columns
    rows: dict[tuple[str, int, str], list[str]] = {}
    for cell in plan.cells:
        mark = "*" if cell.meets_target else " "
        text = f"{100 * cell.hit_rate:.1f}{mark} ({cell.memory_bytes / 1e6:,.0f})"
        rows.setdefault((cell.cache_type, cell.ttl_s, cell.warming), []).append(text)
    before = ""
    for (name, ttl_s, warming), texts in rows.items():
        if before not in ("", name):
            table.add_section()
        table.add_row("" if name == before else name, duration(ttl_s), warming if name == "match" else "", *texts)
        before = name
    return table
