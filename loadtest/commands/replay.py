"""`python -m loadtest replay FILE`: a recorded access log in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadtest import accesslog, faults, files, loglines, parallel, replay, report, terminal
from loadtest.commands import options as common
from loadtest.commands import running
from loadtest.errors import ScenarioError

if TYPE_CHECKING:
    import argparse

    from loadtest.errors import ExitCode

_PROCESSES: Final = 2  # each reads the whole file
# A file of fewer, compressed or not, is replayed before a second process would pay.
_MANY_BYTES: Final = 1_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="CSV of accesses, plain, .gz or .zst")
    common.scenario(parser, with_users=False)
    common.layout(parser)
    add(
        "--columns",
        default="",
        metavar="OURS=THEIRS,…",
        help=f"what the file's columns are called, or their numbers from 0; ours: {', '.join(loglines.COLUMNS)}, key",
    )
    add("--warm-up", metavar="DURATION", help="judge only what follows this, as 2d (default: each cache type's TTL)")
    add("--max-malformed", type=int, default=100, metavar="N", help="stop behind this many unreadable lines")
    common.report(parser)


def run(options: argparse.Namespace) -> ExitCode:
    scenario = common.load_scenario(options)
    if options.max_malformed < 0:
        raise ScenarioError(f"--max-malformed is {options.max_malformed}; it must be 0 or more.")
    log = accesslog.AccessLog(options.file, _columns(options.columns), options.max_malformed)
    warm_up = None if options.warm_up is None else faults.duration_s(options.warm_up)
    files.make_ready(options.report, report.FILES)
    with terminal.progress() as progress:
        result = replay.run(
            log,
            scenario,
            layout=options.layout,
            warm_up_s=warm_up,
            processes=_processes_for(options.file),
            progress=progress,
        )
    return running.finish(options, result)


def _processes_for(file: Path) -> int:
    is_large = file.is_file() and file.stat().st_size >= _MANY_BYTES
    return min(parallel.processors(), _PROCESSES) if is_large else 1


def _columns(text: str) -> dict[str, str]:
    columns = {}
    for pair in filter(None, text.split(",")):
        ours, separator, theirs = pair.partition("=")
        if not separator or ours not in {*loglines.COLUMNS, *loglines.TRACE_COLUMNS} or not theirs:
            raise ScenarioError(
                f"--columns {pair!r}; write OURS=THEIRS, where ours is one of "
                f"{', '.join(dict.fromkeys([*loglines.COLUMNS, *loglines.TRACE_COLUMNS]))}."
            )
        columns[ours] = theirs
    return columns
