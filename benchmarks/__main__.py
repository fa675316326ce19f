"""Measures the library beside its peers: `python -m benchmarks [one_hit batch …]`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import Progress

from benchmarks import report
from benchmarks.hits import batch, in_flight, one_hit
from benchmarks.invalidation import invalidate
from benchmarks.memory import memory
from benchmarks.near import near
from benchmarks.outage import outage
from benchmarks.stampede import stampede
from benchmarks.warming import warm

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARKS: Final = {
    each.__name__: each for each in (one_hit, batch, near, in_flight, invalidate, warm, memory, stampede, outage)
}
README: Final = Path(__file__).with_name("README.md")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the cache library beside its peers, on servers of its own. All of it takes about "
        "ten minutes; let nothing else run meanwhile.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; without a name all")
    parser.add_argument("--quick", action="store_true", help="few rounds on little data: shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    parser.add_argument("--write-readme", action="store_true", help="replace the table in benchmarks/README.md")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"{', '.join(map(repr, unknown))} is no benchmark. Known: {', '.join(BENCHMARKS)}.")
    if options.write_readme and (options.names or options.quick):
        parser.error("--write-readme takes the figures of a whole run: leave out the names and --quick.")
    if options.json and not options.json.parent.is_dir():
        parser.error(f"--json {options.json}: there is no folder {options.json.parent}.")

    machine = report.machine(" ".join(["python -m benchmarks", *options.names, *["--quick"] * options.quick]))
    figures = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        names = options.names or list(BENCHMARKS)
        task = progress.add_task("", total=len(names))
        for name in names:
            progress.update(task, description=name)
            figures += BENCHMARKS[name](quick=options.quick)
            progress.advance(task)

    # A pipe has no width: a table cut to 80 columns would lose its figures.
    console = Console(width=None if sys.stdout.isatty() else 240)
    console.print(report.table(figures))
    if options.json:
        options.json.write_text(json.dumps(report.as_json(figures, machine), indent=2, ensure_ascii=False) + "\n")
    if options.write_readme:
        README.write_text(report.with_figures(README.read_text(), figures, machine))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
