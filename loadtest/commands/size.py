"""`python -m loadtest size`: bytes of each cache type on the server, and how many users each node type holds."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from cache import CATALOG
from cache.nodes import NODE_TYPES
from loadtest import measuring, sizing, terminal
from loadtest.errors import ExitCode, ScenarioError
from loadtest.texts import megabytes, plan_bytes, share_of_node

if TYPE_CHECKING:
    import argparse

    from rich.table import Table

    from loadtest.measuring import Measured
    from loadtest.sizing import Projection

PROJECTED_USERS: Final = (10_000, 100_000)
# How far model and server may lie apart. Measured: below 1 % from 10,000 users on; small runs have a fixed part.
TOLERANCE: Final = 0.03
# A server's fixed needs are 3 % of what 1,000 users' data takes.
_LEAST_USERS: Final = 2_000
_MOST_USERS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """What the server took, beside what the model says for its allocator."""

    measured: Measured
    predicted: Projection
    predicted_bytes: int

    @property
    def difference(self) -> float:
        return self.measured.total / self.predicted_bytes - 1

    @property
    def agrees(self) -> bool:
        return abs(self.difference) <= TOLERANCE


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--users", type=int, default=10_000, help="how many users' data to load and measure (default: 10000)"
    )
    parser.add_argument("--layout", choices=sizing.LAYOUTS, help="load only this layout of match scores")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(options: argparse.Namespace) -> ExitCode:
    if options.users < _LEAST_USERS:
        raise ScenarioError(
            f"--users is {options.users:,}; below {_LEAST_USERS:,} the server's fixed needs hide what data takes."
        )
    if options.users > _MOST_USERS:
        raise ScenarioError(f"--users is {options.users:,}; at most {_MOST_USERS:,}, whose data takes about 10 GB.")
    with terminal.progress() as progress:
        layouts = [options.layout] if options.layout else sizing.LAYOUTS
        checks = [check(options.users, layout, progress) for layout in layouts]
    projections = [
        sizing.project(CATALOG, users, layout, allocator)
        for layout in sizing.LAYOUTS
        for users in PROJECTED_USERS
        for allocator in sizing.ALLOCATORS
    ]
    full = {layout: {node: sizing.full_at(CATALOG, node, layout) for node in NODE_TYPES} for layout in sizing.LAYOUTS}
    if options.json:
        print(json.dumps(_as_json(checks, projections, full), indent=2))
    else:
        _show(checks, projections, full)
    for each in checks:
        if not each.agrees:
            print(
                f"loadtest: layout {each.measured.layout}: the server took {megabytes(each.measured.total)}, "
                f"the model says {megabytes(each.predicted_bytes)}: {100 * each.difference:+.1f} %, more than "
                f"{100 * TOLERANCE:.0f} % apart.",
                file=sys.stderr,
            )
            return ExitCode.ERROR
    return ExitCode.PASS


def check(users: int, layout: str, progress: measuring.Progress) -> Check:
    predicted = sizing.project(CATALOG, users, layout, "libc")
    return Check(measuring.measure(CATALOG, users, layout, progress), predicted, predicted.total)


def _show(checks: list[Check], projections: list[Projection], full: dict[str, dict[str, int]]) -> None:
    console = terminal.console()
    users = checks[0].measured.users
    console.print(f"Bytes of an item on the server at {users:,} users (libc's allocator), tables and expiry included")
    console.print(_items(checks))
    console.print("\nEverything resident, by the model; jemalloc is what ElastiCache's engine uses")
    console.print(_projections(projections))
    for layout, nodes in full.items():
        texts = ", ".join(f"{node} at {count:,} users" for node, count in nodes.items())
        console.print(f"Full in layout {layout}: {texts}.")


def _items(checks: list[Check]) -> Table:
    names = ("match", "company", "ijp", "session")
    table = terminal.table("layout", *(f"{name}:" for name in names), "all, measured:", "by the model:", "apart:")
    for each in checks:
        measured = each.measured
        count = sizing.items(CATALOG, measured.users)
        bytes_each = [f"{measured.types[name] / count[name]:,.1f} B" for name in names]
        difference = f"{100 * each.difference:+.1f} %"
        table.add_row(
            measured.layout, *bytes_each, megabytes(measured.total), megabytes(each.predicted_bytes), difference
        )
    return table


def _projections(projections: list[Projection]) -> Table:
    table = terminal.table("layout", "users:", "allocator", "memory:", "plan:", *(f"{node}:" for node in NODE_TYPES))
    for each in projections:
        shares = [share_of_node(each.total, node.usable_bytes) for node in NODE_TYPES.values()]
        planned = plan_bytes(CATALOG) * each.users / CATALOG.ijp.item_count
        table.add_row(
            each.layout, f"{each.users:,}", each.allocator, megabytes(each.total), megabytes(planned), *shares
        )
    return table


def _as_json(checks: list[Check], projections: list[Projection], full: dict[str, dict[str, int]]) -> dict[str, object]:
    return {
        "measured": [
            asdict(each.measured)
            | {"total": each.measured.total, "predicted_bytes": each.predicted_bytes, "difference": each.difference}
            for each in checks
        ],
        "projected": [asdict(each) | {"total": each.total} for each in projections],
        "full_at_users": full,
    }
