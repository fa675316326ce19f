"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadtest import scenarios

if TYPE_CHECKING:
    from loadtest.scenarios import Scenario

_MOST_MEGABYTES: Final = 1e9  # a thousand terabytes


def scenario(parser: argparse.ArgumentParser, *, with_users: bool = True) -> None:
    add = parser.add_argument
    add("--scenario", default="expected", help="a scenario of scenarios.toml (default: expected)")
    add("--scenarios", type=Path, default=scenarios.FILE, metavar="FILE", help="another file of scenarios")
    if with_users:
        add("--users", type=int, help="users (default: the scenario's)")


def layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout", choices=("hash", "keys"), default="hash", help="layout of match scores (default: hash)"
    )


def virtual_run(parser: argparse.ArgumentParser) -> None:
    """What is run in virtual time; `load_scenario` takes `users`, `days` and `warming` as changes."""
    scenario(parser)
    layout(parser)
    add = parser.add_argument
    add("--days", type=int, help="virtual days (default: the scenario's)")
    add("--warming", choices=scenarios.WARMING_POLICIES, help="instead of the scenario's policy")


def report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report", type=Path, default=Path("report"), metavar="DIR", help="where to write (default: report)"
    )
    parser.add_argument("--json", action="store_true", help="print verdict.json instead of the table")


def load_scenario(options: argparse.Namespace, *changes: str) -> Scenario:
    """The scenario that the options name, with those of them that are given as changes."""
    loaded = scenarios.load(options.scenario, options.scenarios)
    given = {name: getattr(options, name) for name in changes}
    return loaded.changed(**{name: value for name, value in given.items() if value is not None})


def megabytes(text: str) -> int:
    """Bytes of a number of megabytes (10^6)."""
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 < size < _MOST_MEGABYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write megabytes, as 256.")
    return round(size * 1e6)
