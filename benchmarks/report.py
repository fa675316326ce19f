"""Figures as a table for people, JSON for machines, and the generated block of README.md. Pure, but for the machine."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis
from rich.table import Table

from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.measure import Figure

_BEGIN: Final = "<!-- figures: written by `python -m benchmarks --write-readme` -->"
_END: Final = "<!-- end of figures -->"
_PACKAGES: Final = (
    *("redis", "hiredis", "orjson", "cashews", "dogpile.cache", "django-redis", "aiocache"),
    "valkey-glide-sync",
)
_COLUMNS: Final = ("benchmark", "figure", "unit", "measured", "middle half", "must reach", "", "peers")


def table(figures: Iterable[Figure]) -> Table:
    drawn = Table(box=None, header_style="bold")
    for column in _COLUMNS:
        drawn.add_column(column, justify="right" if column in ("measured", "middle half", "must reach") else "left")
    for row in _rows(figures):
        style = {"missed": "red", "reached": "green"}.get(row[6], "")
        drawn.add_row(*row[:6], f"[{style}]{row[6]}[/]" if style else row[6], row[7])
    return drawn


def as_json(figures: Iterable[Figure], machine: Mapping[str, str]) -> dict[str, Any]:
    return {
        "machine": dict(machine),
        "figures": [asdict(figure) | {"is_reached": figure.is_reached} for figure in figures],
    }


def with_figures(readme: str, figures: Iterable[Figure], machine: Mapping[str, str]) -> str:
    """The page with its generated block replaced."""
    before, _, rest = readme.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    lines = [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", f"| {' | '.join(_COLUMNS)} |", "|---|---|---|---:|---:|---:|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(figures)]
    return before + "\n".join([_BEGIN, "", *lines, "", _END]) + after


def machine(command: str) -> dict[str, str]:
    """What the figures depend on besides the code."""
    with Valkey() as server, redis.Redis(port=server.port) as client:
        valkey = client.info("server").get("valkey_version", "unknown")
    return {
        "command": f"`{command}`",
        "machine": f"{_processor()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}",
        "load before the run": f"{os.getloadavg()[0]:.2f}",
        "Python": platform.python_version(),
        "server": f"Valkey {valkey}, on the same machine by TCP",
        "packages": ", ".join(f"{package} {version(package)}" for package in _PACKAGES),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _rows(figures: Iterable[Figure]) -> Sequence[tuple[str, ...]]:
    rows = []
    for figure in figures:
        bound = "" if figure.bound is None else f"{'≥' if figure.at_least else '≤'} {_number(figure.bound)}"
        spread = f"{_number(figure.low)} – {_number(figure.high)}" if figure.low != figure.high else ""
        peers = ", ".join(f"{name} {_number(value)}" for name, value in figure.peers.items())
        verdict = {None: "", True: "reached", False: "missed"}[figure.is_reached]
        measured = _number(figure.value)
        rows.append((figure.benchmark, figure.what, figure.unit, measured, spread, bound, verdict, peers))
    return rows


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
