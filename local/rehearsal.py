"""`python -m local rehearse`: the whole way of a release on one machine, with one exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from local import commands
from local.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from local.workspace import Workspace

_TRAFFIC = ("--scenario", "rehearsal", "--users", "1000", "--spawn-rate", "100", "--run-time", "120s")
# A rehearsal ends with nothing left; what is protected could not be deleted.
_UNPROTECTED = {"roleferry-cache:protectData": False}


def rehearse(workspace: Workspace, *, keep: bool, report: Path, locust: Sequence[str]) -> int:
    """Up, warm, load test as the application's user, report, destroy. The load test's exit code, or 1 for an error.

    The stationary start is the warming: it writes what weeks of traffic and of the hourly warming would have left.
    `locust` are further options of Locust's. With `keep` the stack stays up, whatever came out.
    """
    try:
        if commands.pulumi(workspace, "up", changes=_UNPROTECTED):
            print("local: the stack did not come up; there was no load test.", file=sys.stderr)
            return 1
        code = _load_test(workspace, report, locust)
    finally:
        left = not keep and commands.pulumi(workspace, "destroy", changes=_UNPROTECTED) != 0
    return code or int(left)


def _load_test(workspace: Workspace, report: Path, locust: Sequence[str]) -> int:
    found = commands.outputs(workspace)
    ca_file = found["local"].get("ca_file")
    if ca_file is None:
        raise LocalError(f"stack {workspace.stack} has no cache with TLS to test.")
    report.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "locust", "-f", str(workspace.root / "loadtest" / "locustfile.py"), "--headless"),
        *("--host", f"rediss://{found['cache_endpoint']}:{found['port']}?ssl_ca_certs={ca_file}"),
        *("--iam", ":".join((found["app_user_name"], found["replication_group_id"], found["region"]))),
        *("--only-summary", "--stationary-start", "--html", str(report / "load-test.html")),
        *_TRAFFIC,
        *locust,
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    tested = subprocess.run(  # noqa: S603
        command, cwd=workspace.root, env=environment | found["local"]["environment"], check=False
    )
    print(f"Report: {report / 'load-test.html'}")
    return tested.returncode
