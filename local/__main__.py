"""`python -m local up --stack prod`: the stack on this machine, by the real Pulumi and without an AWS account.

What follows `--` is for Pulumi. The stack's own settings decide everything: change them in Pulumi.<stack>.yaml and run
`up` again. Needs the command `pulumi`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from infra.stack_file import SettingsError
from local import commands, rehearsal
from local.control import DEFAULT_FOLDERS
from local.errors import LocalError, UsageError
from local.workspace import ROOT, Workspace, find_pulumi

_COMMANDS = {
    "up": "make the stack, or change it to what its settings say now",
    "preview": "show what up would do",
    "refresh": "find what has changed behind Pulumi's back",
    "destroy": "delete the stack; what is protected is refused, as on AWS",
    "outputs": "print the stack's outputs and what else one needs to use it",
    "down": "end everything of the stack at once, protected or not",
    "rehearse": "up, warm, load test, report, destroy; what follows -- is for Locust",
}


def main(argv: list[str]) -> int:
    """The exit code: Pulumi's or Locust's own, 1 for an error, 2 for wrong usage or a missing command line."""
    at = argv.index("--") if "--" in argv else len(argv)
    options = _parser().parse_args(argv[:at])
    passed_on = argv[at + 1 :]
    folder = (options.state or DEFAULT_FOLDERS / options.stack).resolve()
    workspace = Workspace(ROOT, options.stack, folder)
    try:
        match options.command:
            case "down":
                return commands.down(workspace)
            case "outputs":
                return commands.show_outputs(workspace, options.format)
            case "rehearse":
                find_pulumi()
                return rehearsal.rehearse(workspace, keep=options.keep, report=options.report, locust=passed_on)
            case command:
                return commands.pulumi(workspace, command, passed_on)
    except (UsageError, SettingsError) as error:
        print(f"local: {error}", file=sys.stderr)
        return 2
    except LocalError as error:
        print(f"local: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("local: interrupted.", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name, what in _COMMANDS.items():
        command = subparsers.add_parser(name, help=what, description=what)
        command.add_argument(
            "--stack",
            required=name != "rehearse",
            default="prod",
            help="a stack with a Pulumi.<stack>.yaml" + (" (default: prod)" if name == "rehearse" else ""),
        )
        command.add_argument(
            "--state", type=Path, metavar="DIR", help="the state folder (default: .local/<stack> in the checkout)"
        )
        if name == "outputs":
            how = command.add_mutually_exclusive_group()
            for form, told in (("json", "as one JSON object"), ("env", "boto3's environment, for a shell's eval")):
                how.add_argument(
                    f"--{form}", dest="format", action="store_const", const=form, default="table", help=told
                )
        if name == "rehearse":
            command.add_argument("--keep", action="store_true", help="leave the stack up")
            command.add_argument(
                "--report", type=Path, default=ROOT / "report" / "rehearsal", metavar="DIR",
                help="where the load test's report goes (default: report/rehearsal)",
            )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
