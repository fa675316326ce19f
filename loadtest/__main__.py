"""`python -m loadtest validate`: are the hit-rate targets met, and does the data fit?"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from loadtest import faults, report, scenarios, terminal, verdict, virtual
from loadtest.errors import ExitCode, LoadTestError, ScenarioError
from local.errors import LocalError

_EXIT_CODES = (
    "exit codes: 0 every target met; 1 an error; 2 wrong usage; 3 a hit-rate target missed; 4 the data does not fit "
    "the scenario's node type; 5 too few samples for a verdict"
)


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(_validate(options))
    except (LoadTestError, LocalError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return int(getattr(error, "exit_code", ExitCode.ERROR))
    except KeyboardInterrupt:
        print("loadtest: interrupted; the server is stopped and no report was written.", file=sys.stderr)
        return int(ExitCode.ERROR)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__, epilog=_EXIT_CODES)
    commands = parser.add_subparsers(dest="command", required=True)
    validate = commands.add_parser(
        "validate", help="run a scenario in virtual time on a real server of its own", epilog=_EXIT_CODES
    )
    add = validate.add_argument
    add("--scenario", default="expected", help="a scenario of scenarios.toml (default: expected)")
    add("--scenarios", type=Path, default=scenarios.FILE, metavar="FILE", help="another file of scenarios")
    add("--days", type=int, help="virtual days (default: the scenario's)")
    add("--users", type=int, help="users (default: the scenario's)")
    add("--seed", type=int, default=1, help="one seed, one result (default: 1)")
    add("--layout", choices=("hash", "keys"), default="hash", help="layout of match scores (default: hash)")
    add("--warming", choices=scenarios.WARMING_POLICIES, help="instead of the scenario's policy")
    add(
        "--fault",
        action="append",
        default=[],
        metavar="KIND@TIME",
        help=f"what goes wrong, as flush@3d or warming-stopped@36h+12h; may be repeated ({', '.join(faults.KINDS)})",
    )
    add("--report", type=Path, default=Path("report"), metavar="DIR", help="where to write (default: report)")
    add("--json", action="store_true", help="print verdict.json instead of the table")
    return parser


def _validate(options: argparse.Namespace) -> ExitCode:
    scenario = scenarios.load(options.scenario, options.scenarios)
    changes = {name: getattr(options, name) for name in ("days", "users", "warming")}
    if options.warming == "everything" and options.users is None and scenario.users > virtual.EVERYTHING_USERS:
        changes["users"] = virtual.EVERYTHING_USERS
        print(
            f"loadtest: warming everything runs on a sample of {virtual.EVERYTHING_USERS} users; --users sets another.",
            file=sys.stderr,
        )
    scenario = scenario.changed(**{name: value for name, value in changes.items() if value is not None})
    if options.seed < 0:
        raise ScenarioError(f"--seed is {options.seed}; it must be 0 or more.")
    report.check_folder(options.report)
    with terminal.progress() as progress:
        result = virtual.run(
            scenario,
            seed=options.seed,
            layout=options.layout,
            faults=[faults.parse(text) for text in options.fault],
            progress=progress,
        )
    judgement = verdict.judge(result)
    document = report.write(options.report, result, judgement)
    if result.stopped_because:
        print(f"loadtest: {result.stopped_because} The report is partial.", file=sys.stderr)
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        terminal.show(result, judgement)
        print(f"Report: {options.report / 'report.html'}")
    return judgement.exit_code


if __name__ == "__main__":
    sys.exit(main())
