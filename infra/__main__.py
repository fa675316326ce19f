"""`pulumi up` runs this without arguments; `python -m infra cost` and `python -m infra picture` need no Pulumi."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from pulumi.runtime import get_root_resource

from cache.catalog import CATALOG
from infra import cost, dashboard, picture, program, settings, stack_file

ROOT = Path(__file__).parent.parent


def main(argv: list[str]) -> int:
    """The command line's exit code: 0, or 2 for wrong usage or settings."""
    parser = argparse.ArgumentParser(prog="python -m infra", description="RoleFerry's AWS stack, without Pulumi's CLI.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (
        ("cost", "print the monthly cost by resource"),
        ("picture", "print the dashboard's layout as SVG, as in docs/dashboard.svg"),
    ):
        command = commands.add_parser(name, help=does)
        command.add_argument("--stack", required=True, help="a stack with a Pulumi.<stack>.yaml, such as prod")
    arguments = parser.parse_args(argv)
    try:
        chosen = settings.from_file(stack_file.find(ROOT, arguments.stack))
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.command == "cost":
        print(cost.table(chosen.stack, cost.lines(chosen, CATALOG)))
    else:
        print(picture.svg(dashboard.body(chosen, CATALOG, distribution_id="")), end="")
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1 or get_root_resource() is None:
        if hasattr(signal, "SIGPIPE"):  # a reader who has seen enough, as `head`, ends it without a word
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        sys.exit(main(sys.argv[1:]))
    program.main()
