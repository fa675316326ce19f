"""Stands in for the command `pulumi`, which is on no package index: `python pulumi_stand_in.py LOG COMMAND …`.

Notes in LOG with which arguments, environment and files it was run, and does what the command means by `Engine`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path


def main(log: Path, *arguments: str) -> int:
    here = Path.cwd()
    called = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "files": {path.name: path.read_text() for path in here.iterdir() if path.is_file()},
        "folder": str(here),
    }
    with log.open("a") as out:
        out.write(json.dumps(called) + "\n")
    state = Path(os.environ["PULUMI_BACKEND_URL"].removeprefix("file://")) / "state"
    if arguments[:2] == ("stack", "select"):
        with next(here.glob("Pulumi.*.yaml")).open("a") as settings:  # as the real one does with a new stack
            settings.write("encryptionsalt: v1:of-this-folder\n")
        return 0
    sys.path.insert(0, str(Path(__file__).parents[3]))
    from tests.local.aws.engine import Engine, EngineError  # seconds, so only where it is needed

    stack = arguments[arguments.index("--stack") + 1]
    port = int(os.environ["PULUMI_DEBUG_PROVIDERS"].removeprefix("aws:"))
    with contextlib.closing(Engine(port, stack, here / f"Pulumi.{stack}.yaml")) as engine:
        engine.load(state)
        if arguments[0] == "stack":
            print(json.dumps(engine.outputs))
            return 0
        try:
            getattr(engine, arguments[0])()
        except EngineError as error:
            print(error, file=sys.stderr)
            return 255
        finally:
            engine.save(state)
    print(f"{arguments[0]}: {len(engine.steps)} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
