"""`python -m loadtest COMMAND`: are the hit-rate targets met, and does the data fit?"""

from __future__ import annotations

import argparse
import importlib
import io
import signal
import sys
from typing import Final

from loadtest.errors import EXIT_CODES, ExitCode, LoadTestError
from local.errors import LocalError

# One module of loadtest.commands each, imported only when it is asked for: `plan` needs neither server nor plots.
COMMANDS: Final = {
    "validate": "run a scenario in virtual time on a real server of its own",
    "size": "measure bytes per item on a real server, project them to 10K and 100K users and to each node type",
    "replay": "run a recorded access log in virtual time: the same verdict and sizing",
    "live": "steps of rising load on a server in real time, until latency or the achieved rate breaks",
    "compare": "show what changed between two verdict.json, and fail on what got worse",
    "plan": "predict hit rates and memory, without a server",
    "simulate": "closed form, simulation and, with --measure, measurement beside each other, on several seeds",
}


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options = _parser(arguments).parse_args(arguments)
        return int(options.run(options))
    except (LoadTestError, LocalError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return int(getattr(error, "exit_code", ExitCode.ERROR))
    except OSError as error:  # a full disk, behind standard output or under a server's own files
        print(f"loadtest: {error.filename or 'standard output'}: {error.strerror or error}.", file=sys.stderr)
        return int(ExitCode.ERROR)
    except KeyboardInterrupt:
        print("loadtest: interrupted; no report was written.", file=sys.stderr)
        return int(ExitCode.ERROR)


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__, epilog=EXIT_CODES)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=text, epilog=EXIT_CODES)
        if arguments[:1] == [name]:
            command = importlib.import_module(f"loadtest.commands.{name}")
            command.add_options(subparser)
            subparser.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows no dash gets a question mark
            stream.reconfigure(errors="replace")
    sys.exit(main())
