"""Runs Checkov and Prowler, each in an environment of its own: their pins of boto3 contradict the project's."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.audit.account import REGION, account, environment
from tests.audit.findings import Finding
from tests.audit.plan import terraform_plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.infra.stack import Declared

CHECKOV: Final = "checkov==3.3.30"
PROWLER: Final = "prowler==5.46.0"
# Both run on these.
_PYTHON: Final = ">=3.11,<3.14"
# Not `ec2`: moto's thousand images would drown the rest; the security groups are Checkov's.
_SERVICES: Final = ("cloudfront", "cloudwatch", "elasticache", "kms", "s3", "sns", "vpc")


class ToolError(RuntimeError):
    """A tool did not run, or said nothing."""


def checkov(uv: str, stacks: Mapping[str, Declared]) -> list[Finding]:
    """What Checkov says of the stacks as plans; resources are named `stack: address`."""
    with tempfile.TemporaryDirectory() as folder:
        for name, declared in stacks.items():
            plan = terraform_plan(declared)
            Path(folder, f"{name}.json").write_text(json.dumps(plan, default=lambda _: "(archive)"))
        arguments = ("-d", folder, "--framework", "terraform_plan", "--output", "json", "--skip-download", "--compact")
        said = _run(uv, CHECKOV, "checkov", *arguments, "--soft-fail")
    results: dict[str, Any] = json.loads(said)["results"]
    return [
        Finding(
            "checkov",
            found["check_id"],
            f"{Path(found['file_path']).stem}: {found['resource']}",
            found["check_result"]["result"] == "FAILED",
            found["check_name"],
        )
        for found in (*results["passed_checks"], *results["failed_checks"])
    ]


def prowler(uv: str, stacks: Sequence[Declared]) -> list[Finding]:
    """What Prowler says of an account with all `stacks` in it."""
    with tempfile.TemporaryDirectory() as folder, account(list(stacks)) as endpoint:
        arguments = [
            *("aws", "--service", *_SERVICES, "--region", REGION),
            *("--output-formats", "json-ocsf", "--output-directory", folder, "--output-filename", "audit"),
            # What moto does not implement would be asked for again and again.
            *("--aws-retries-max-attempts", "1", "--no-banner", "--ignore-exit-code-3"),
        ]
        _run(uv, PROWLER, "prowler", *arguments, environment=environment(endpoint))
        found = json.loads(Path(folder, "audit.ocsf.json").read_text())
    return [
        Finding(
            "prowler",
            finding["metadata"]["event_code"],
            finding["resources"][0]["uid"],
            finding["status_code"] == "FAIL",
            finding["status_detail"],
        )
        for finding in found
        if finding["status_code"] != "MANUAL"
    ]


def _run(uv: str, package: str, *command: str, environment: Mapping[str, str] | None = None) -> str:
    run = subprocess.run(
        [uv, "tool", "run", "--quiet", "--python", _PYTHON, "--from", package, *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise ToolError(f"{package} ended with {run.returncode}: {(run.stderr or run.stdout).strip()[-500:]}")
    return run.stdout
