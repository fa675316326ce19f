"""`python -m local`, with a command line of Pulumi's that only looks like it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import redis
import yaml

from infra.stack_file import PLACEHOLDER
from local import control
from local.errors import LocalError
from local.workspace import Workspace
from tests.infra.stack import ROOT
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator

STAND_IN = Path(__file__).with_name("pulumi_stand_in.py")


class Machine:
    """A user's machine: a command `pulumi` on PATH, keys of a real account in the environment, a state folder."""

    def __init__(self, folder: Path) -> None:
        self.root = ROOT
        self.log = folder / "calls"
        self.state = folder / "state"
        commands = folder / "bin"
        commands.mkdir()
        self.pulumi = commands / "pulumi"
        self.pulumi.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "{self.log}" "$@"\n')
        self.pulumi.chmod(0o700)
        self.environment = {
            **os.environ,
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "AWS_PROFILE": "production",
            "AWS_ACCESS_KEY_ID": "AKIAREAL",
            "PULUMI_ACCESS_TOKEN": "pul-real",
        }

    def local(self, *arguments: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        run = subprocess.run(
            [sys.executable, "-m", "local", *arguments, "--state", str(self.state)]
            if "--" not in arguments
            else [
                *(sys.executable, "-m", "local", *arguments[: arguments.index("--")], "--state", str(self.state)),
                *arguments[arguments.index("--") :],
            ],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert check in (None, run.returncode), run.stdout + run.stderr
        return run

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def environment_without_keys(self) -> dict[str, str]:
        return Workspace(ROOT, "prod", self.state).environment(None)

    def daemon_pid(self) -> int:
        return int(json.loads((self.state / "daemon.json").read_text())["pid"])


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    if running := control.find(made.state):
        running.down()


def check_out(to: Path) -> Path:
    """Another checkout with the same files: in the one that the tests are in, somebody may be at work."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    for name in listed:
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
    return to


def files(folder: Path) -> dict[str, str]:
    """Every file by what is in it; what Python leaves behind aside."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_a_stack_is_rehearsed_used_and_goes(machine: Machine, tmp_path: Path) -> None:
    machine.root = check_out(tmp_path / "checkout")
    before = files(machine.root)

    # So few people are too few for a verdict: exit code 5, every time.
    short = ("-u", "40", "-r", "40", "-t", "2s")
    report = ("--report", str(tmp_path / "report"))
    rehearsed = machine.local("rehearse", "--stack", "scale-up", "--keep", *report, "--", *short, check=5)
    assert "40 of the scenario's 1000 users took part" in rehearsed.stdout
    assert "next_operation" in (tmp_path / "report" / "load-test.html").read_text()
    outputs = json.loads(machine.local("outputs", "--stack", "scale-up", "--json").stdout)
    local = outputs.pop("local")
    keys = local["environment"]
    s3 = boto3.client(
        "s3",
        endpoint_url=keys["AWS_ENDPOINT_URL"],
        region_name=keys["AWS_REGION"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
    )
    s3.put_object(Bucket=outputs["static_bucket"], Key="index.html", Body=b"x", CacheControl="max-age=60")
    assert s3.head_object(Bucket=outputs["static_bucket"], Key="index.html")["CacheControl"] == "max-age=60"
    s3.close()
    run_the_page(machine, keys)
    nobody = redis.Redis.from_url(f"rediss://127.0.0.1:{outputs['port']}?ssl_ca_certs={local['ca_file']}")
    with contextlib.closing(nobody), pytest.raises(redis.AuthenticationError):
        nobody.ping()
    machine.local("destroy", "--stack", "scale-up")

    assert not machine.state.exists()
    assert files(machine.root) == before
    with pytest.raises(redis.ConnectionError):
        nobody.ping()
    nobody.close()


def test_a_cluster_is_rehearsed_and_goes(machine: Machine, tmp_path: Path) -> None:
    short = ("-u", "40", "-r", "40", "-t", "2s")
    report = ("--report", str(tmp_path / "report"))

    rehearsed = machine.local("rehearse", "--stack", "scale-out", *report, "--", *short, check=5)

    assert "cluster of 3 shards" in rehearsed.stdout
    assert "40 of the scenario's 1000 users took part" in rehearsed.stdout
    assert not machine.state.exists()


def test_a_stack_that_does_not_come_up_is_no_verdict_of_the_load_test(machine: Machine) -> None:
    """Pulumi has exit codes of its own, and 5 would mean too few samples."""
    machine.pulumi.write_text("#!/bin/sh\nexit 5\n")

    rehearsed = machine.local("rehearse", "--stack", "scale-up", check=1)

    assert "the stack did not come up; there was no load test." in rehearsed.stderr
    assert not machine.state.exists()


def run_the_page(machine: Machine, keys: dict[str, str]) -> None:
    """The snippet of docs/local.md, with this test's state folder, reaches the cache."""
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "local.md").read_text(), re.DOTALL)
    assert snippet
    ours = snippet[1].replace('"--json"', f'"--json", "--state", {str(machine.state)!r}')
    reaches = 'while cache.get_match_score(1, 2) is None:\n    cache.set_match_score(1, 2, {"score": 1})\n'

    environment = {name: value for name, value in machine.environment.items() if name != "AWS_PROFILE"} | keys

    subprocess.run([sys.executable, "-c", ours + reaches], cwd=machine.root, env=environment, check=True, timeout=120)


def test_every_command_is_in_the_page() -> None:
    page = (ROOT / "docs" / "local.md").read_text()
    shown = subprocess.run(
        [sys.executable, "-m", "local", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    for command in ("up", "preview", "refresh", "destroy", "outputs", "down"):
        assert f"python -m local {command} --stack scale-up" in page
        assert command in shown


def test_pulumi_gets_a_copy_its_own_state_and_no_account(machine: Machine) -> None:
    machine.local("preview", "--stack", "prod", "--", "--diff", "--target", "x")

    selected, previewed = machine.calls()
    assert selected["arguments"] == ["stack", "select", "prod", "--create", "--non-interactive"]
    assert previewed["arguments"] == ["preview", "--stack", "prod", "--diff", "--target", "x"]
    environment = previewed["environment"]
    assert environment["PULUMI_BACKEND_URL"] == f"file://{machine.state / 'backend'}"
    assert environment["PULUMI_DEBUG_PROVIDERS"].startswith("aws:")
    real = {"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "PULUMI_ACCESS_TOKEN"}
    assert not real & environment.keys()
    project = yaml.safe_load(previewed["files"]["Pulumi.yaml"])
    assert Path(project["main"]).samefile(ROOT / "infra")
    assert Path(project["runtime"]["options"]["virtualenv"]).samefile(ROOT / ".venv")
    assert "encryptionsalt" in previewed["files"]["Pulumi.prod.yaml"]
    assert not machine.state.exists(), "a preview makes nothing, so nothing stays"


def test_a_command_that_dies_leaves_nothing(machine: Machine) -> None:
    running = control.start(machine.state, machine.environment_without_keys())
    dying = subprocess.Popen(
        [sys.executable, "-c", _STAYS_IN_A_COMMAND, str(machine.state)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert dying.stdout is not None
    with dying.stdout as said:
        assert said.readline() == b"in it\n"
        with pytest.raises(LocalError, match="another command runs on this stack"), running.command():
            pass
        dying.kill()
    dying.wait()

    until(lambda: not machine.state.exists())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.provider_port))


_STAYS_IN_A_COMMAND = """
import pathlib, signal, sys
from local import control
with control.find(pathlib.Path(sys.argv[1])).command():
    print("in it", flush=True)
    signal.pause()
"""


def test_the_lock_of_a_pulumi_that_was_killed_is_taken_away(machine: Machine) -> None:
    control.start(machine.state, machine.environment_without_keys())
    lock = machine.state / "backend" / ".pulumi" / "locks" / "organization" / "roleferry-cache" / "prod" / "1.json"
    lock.parent.mkdir(parents=True)
    lock.touch()
    machine.pulumi.write_text(f'#!/bin/sh\n[ "$1" != cancel ] || rm {lock}\n[ "$1" != up ] || ls {lock.parent}\n')

    run = machine.local("up", "--stack", "prod")

    assert run.stderr == "local: a command was killed; the lock that it left on the stack is taken away.\n"
    assert run.stdout == ""


def test_a_pulumi_that_is_killed_has_the_exit_code_that_a_shell_gives(machine: Machine) -> None:
    machine.pulumi.write_text('#!/bin/sh\n[ "$1" = stack ] || kill -KILL $$\n')

    machine.local("up", "--stack", "prod", check=137)


def test_what_a_killed_daemon_left_is_no_hindrance(machine: Machine) -> None:
    control.start(machine.state, machine.environment_without_keys())
    (machine.state / "backend").mkdir()
    os.kill(machine.daemon_pid(), signal.SIGKILL)
    while control.find(machine.state):
        os.sched_yield()

    again = machine.local("preview", "--stack", "scale-up")

    assert "has ended, and the stack with it. This starts from nothing." in again.stderr
    assert not machine.state.exists()


def test_an_interruption_ends_nothing_and_down_everything_at_once(machine: Machine) -> None:
    running = control.start(machine.state, machine.environment_without_keys())
    (machine.state / "project").mkdir()
    machine.pulumi.write_text("#!/bin/sh\nkill -INT $PPID\n")
    assert machine.local("outputs", "--stack", "prod", check=1).stderr == "local: interrupted.\n"

    told = machine.local("down", "--stack", "prod").stdout

    assert told == "Stack prod is down; nothing of it is left.\n"
    assert not machine.state.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.provider_port))
    assert machine.local("down", "--stack", "prod").stdout == "Stack prod is not up here.\n"


def test_what_a_pulumi_that_outlived_its_command_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "DEFAULT_FOLDERS", tmp_path)
    (tmp_path / "prod" / "backend" / ".pulumi").mkdir(parents=True)

    control.remove(tmp_path / "prod")

    assert not (tmp_path / "prod").exists()


def test_an_ending_daemon_s_folder_is_not_the_next_one_s(machine: Machine) -> None:
    machine.state.mkdir()
    with (machine.state / control.LOCK).open("w") as lock:  # as one that waits for what is being made
        fcntl.flock(lock, fcntl.LOCK_EX)

        refused = machine.local("up", "--stack", "prod", check=1).stderr
        assert machine.local("down", "--stack", "prod", check=1).stderr == refused

    assert refused.endswith("is starting or ending. Try again in a moment.\n")
    assert machine.local("down", "--stack", "prod").stdout.startswith("Stack prod is down")


@pytest.mark.parametrize("command", ["down", "up"])
def test_a_folder_of_somebodys_files_is_left_alone(machine: Machine, command: str) -> None:
    """A mistyped --state must not cost a home directory."""
    machine.state.mkdir()
    (machine.state / "thesis").write_text("years")

    run = machine.local(command, "--stack", "prod", check=2)

    assert run.stderr == (
        f"local: {machine.state} is no state folder, and would be removed. Give --state one that is new or empty.\n"
    )
    assert (machine.state / "thesis").read_text() == "years"


def test_a_state_folder_may_be_a_link(machine: Machine) -> None:
    (target := machine.state.with_name("target")).mkdir()
    (target / control.LOCK).touch()
    machine.state.symlink_to(target)

    assert "nothing of it is left" in machine.local("down", "--stack", "prod").stdout
    assert not target.exists()


def test_a_state_folder_that_cannot_be_made_is_told_in_a_sentence(machine: Machine) -> None:
    machine.state.parent.joinpath("file").touch()
    machine.state = machine.state.parent / "file" / "state"

    run = machine.local("up", "--stack", "prod", check=2)

    assert run.stderr == (
        f"local: the state folder {machine.state} cannot be made: Not a directory. Give another --state.\n"
    )


def test_without_the_command_line_it_says_where_to_get_it(machine: Machine) -> None:
    machine.environment["PATH"] = "/nowhere"

    run = machine.local("up", "--stack", "prod", check=2)

    assert run.stderr == (
        "local: the command `pulumi` is not on PATH. Get it from https://www.pulumi.com/docs/install/\n"
    )
    assert not machine.state.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("up", "--stack", "prd"), 2, "stack 'prd' has no Pulumi.prd.yaml. Known: prod, scale-out, scale-up."),
        (("outputs", "--stack", "prod"), 1, "is not up here. Run: python -m local up --stack prod"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments: tuple[str, ...], code: int, told: str, machine: Machine) -> None:
    run = machine.local(*arguments, check=code)

    assert told in run.stderr
    assert run.stderr.count("\n") == 1
    assert not machine.state.exists()


def test_encrypted_settings_get_named_placeholders(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text(
        yaml.safe_dump(
            {
                "secretsprovider": "awskms://alias/x",
                "encryptedkey": "abc",
                "config": {
                    "aws:region": "us-east-1",
                    "roleferry-cache:owner": {"secure": "v1:cipher"},
                    "roleferry-cache:alarmSubscriptions": {
                        "ops": {"protocol": "email", "endpoint": {"secure": "v1:cipher"}}
                    },
                    "roleferry-cache:domainNames": [{"secure": "v1:cipher"}],
                },
            }
        )
    )
    workspace = Workspace(tmp_path, "dev", tmp_path / "state")

    named = workspace.prepare()

    assert named == [
        "roleferry-cache:alarmSubscriptions.ops.endpoint",
        "roleferry-cache:domainNames[0]",
        "roleferry-cache:owner",
    ]
    copy = yaml.safe_load((workspace.project / "Pulumi.dev.yaml").read_text())
    assert copy["config"]["roleferry-cache:owner"] == PLACEHOLDER
    assert copy.keys() == {"config"}
