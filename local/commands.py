"""The commands of `python -m local`, one function each; each gives the exit code."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from local import control
from local.errors import LocalError
from local.workspace import find_pulumi

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from local.control import Running
    from local.workspace import Workspace


def pulumi(
    workspace: Workspace, command: str, arguments: Sequence[str] = (), changes: Mapping[str, Any] | None = None
) -> int:
    """Runs one of Pulumi's commands on the stack; nothing here costs anything, so that it asks no questions.

    `changes` are settings that the copy has otherwise than the checkout.
    """
    cli = find_pulumi()
    _ = workspace.settings  # a wrong one is told before anything is started
    with _running(workspace) as running:
        for key in workspace.prepare(changes):
            print(f"local: {key} is encrypted; a placeholder stands for it.", file=sys.stderr)
        environment = workspace.environment(running)
        selected = _run(
            [cli, "stack", "select", workspace.stack, "--create", "--non-interactive"], workspace, environment
        )
        if selected:
            return selected
        if _is_left_locked(workspace):
            print("local: a command was killed; the lock that it left on the stack is taken away.", file=sys.stderr)
            _run([cli, "cancel", "--stack", workspace.stack, "--yes"], workspace, environment)
        unasked = [] if command == "preview" else ["--yes"]
        return _run([cli, command, "--stack", workspace.stack, *unasked, *arguments], workspace, environment)


def outputs(workspace: Workspace) -> dict[str, Any]:
    """The stack's outputs, and under `local` what only this machine has. Raises LocalError if the stack is not up."""
    running = control.find(workspace.folder)
    if running is None:
        raise LocalError(f"stack {workspace.stack} is not up here. Run: python -m local up --stack {workspace.stack}")
    asked = subprocess.run(  # noqa: S603
        [find_pulumi(), "stack", "output", "--stack", workspace.stack, "--json", "--show-secrets"],
        cwd=workspace.project,
        env=workspace.environment(running),
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise LocalError(f"pulumi stack output: {asked.stderr.strip()}")
    found: dict[str, Any] = json.loads(asked.stdout)
    group = running.endpoints().get(found.get("replication_group_id", ""), {})
    return found | {"local": {"environment": {**running.environment, "AWS_REGION": found.get("region")}, **group}}


def show_outputs(workspace: Workspace, form: str) -> int:
    """Prints them as a table, as JSON, or as lines that a shell can evaluate."""
    found = outputs(workspace)
    if form == "json":
        print(json.dumps(found, indent=2))
        return 0
    local = found.pop("local")
    if form == "env":
        print("unset AWS_PROFILE AWS_SESSION_TOKEN")  # they would win over the keys, or spoil them
        for name, value in local["environment"].items():
            print(f"export {name}={shlex.quote(value)}")
        return 0
    table = Table(box=None, header_style="bold")
    for column in ("output", "value"):
        table.add_column(column, overflow="fold")  # a name that is cut short is of no use
    shown = {**found, "node_ports": local.get("ports"), "ca_file": local.get("ca_file")}
    shown["AWS_ENDPOINT_URL"] = local["environment"]["AWS_ENDPOINT_URL"]
    for name, value in shown.items():
        table.add_row(name, value if isinstance(value, str) else json.dumps(value))
    Console().print(table)
    return 0


def down(workspace: Workspace) -> int:
    """Ends the daemon with all that it holds, and removes the state folder. Raises UsageError if it is none."""
    running = control.find(workspace.folder)
    if running is None and not workspace.folder.exists():
        print(f"Stack {workspace.stack} is not up here.")
        return 0
    if running is not None:
        running.down()
    control.remove(workspace.folder)
    print(f"Stack {workspace.stack} is down; nothing of it is left.")
    return 0


@contextlib.contextmanager
def _running(workspace: Workspace) -> Iterator[Running]:
    """The stack's daemon while a command uses it, started where none lives."""
    running = control.find(workspace.folder)
    if running is None:
        if (workspace.folder / "backend").exists():
            print(
                f"local: what stood in for AWS under stack {workspace.stack} has ended, and the stack with it. "
                "This starts from nothing.",
                file=sys.stderr,
            )
        running = control.start(workspace.folder, workspace.environment(None))
    with running.command():
        yield running


def _is_left_locked(workspace: Workspace) -> bool:
    """Whether the stack's lock is one that nobody gives back: there is one command at a time."""
    return any((workspace.folder / "backend" / ".pulumi" / "locks").rglob("*.json"))


def _run(command: list[str], workspace: Workspace, environment: Mapping[str, str]) -> int:
    """The exit code, as in a shell. Ctrl-C reaches Pulumi too, which finishes what is under way; we wait for it."""
    with subprocess.Popen(command, cwd=workspace.project, env=dict(environment)) as child:  # noqa: S603
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                code = child.wait()
                return code if code >= 0 else 128 - code
