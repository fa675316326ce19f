"""What the scripts share: a stack's settings and outputs, AWS clients, and errors told in one sentence."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import redis
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from infra import settings, stack_file
from infra.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.settings import Settings

ROOT: Final = Path(__file__).parent.parent
# Adaptive would also slow down; standard backs off with jitter, which is enough for one process.
_CONFIG: Final = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=30)


class ScriptError(RuntimeError):
    """Something that a person has to look at: one sentence, exit code 1."""

    exit_code = 1


class UsageError(ScriptError):
    """Wrong usage or configuration: exit code 2, and nothing was changed."""

    exit_code = 2


def parser(name: str, description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """For `python -m scripts.<name>`; the description is the module's docstring."""
    return argparse.ArgumentParser(
        prog=f"python -m scripts.{name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def from_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """An argparse type: whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            limit = f"from {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number {limit}")
        return int(text)

    return parse


def guarded(name: str, body: Callable[[], int]) -> int:
    """The exit code of `body`; what goes wrong is told on standard error."""
    try:
        return body()
    except (ScriptError, SettingsError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return getattr(error, "exit_code", UsageError.exit_code)
    except (NoCredentialsError, PartialCredentialsError):
        print(f"{name}: no AWS credentials; sign in with `aws sso login`, or set AWS_PROFILE.", file=sys.stderr)
        return UsageError.exit_code
    except ClientError as error:
        told = error.response["Error"]
        print(f"{name}: AWS refused {error.operation_name}: {told['Code']}: {told['Message']}", file=sys.stderr)
        return ScriptError.exit_code
    except BotoCoreError as error:
        print(f"{name}: AWS could not be asked: {error}", file=sys.stderr)
        return ScriptError.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted; it is safe to run it again.", file=sys.stderr)
        return ScriptError.exit_code


def stack_settings(stack: str) -> Settings:
    """The settings in `Pulumi.<stack>.yaml`. Raises SettingsError."""
    return settings.from_file(stack_file.find(ROOT, stack))


def stack_outputs(file: Path) -> dict[str, Any]:
    """What `pulumi stack output --json` wrote into `file`."""
    try:
        outputs = json.loads(file.read_text())
    except OSError as error:
        raise UsageError(
            f"--outputs {file} cannot be read: {error.strerror}. "
            f"Write it with: pulumi stack output --json --stack <stack> > {file}"
        ) from None
    except ValueError:
        outputs = None
    if not isinstance(outputs, dict):
        raise UsageError(f"--outputs {file} must hold what `pulumi stack output --json` prints.")
    return outputs


def cache_url(name: str, url: str) -> str:
    """The cache's URL, called `name`, if redis-py can read it. Raises UsageError, which shows nothing of a password."""
    try:
        redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        raise UsageError(
            f"{name} cannot be used: it must look like rediss://user:password@host:6379 (or redis://, unix://), "
            "with %23 for #, %2F for / and %3F for ? in the password."
        ) from None
    return url


def aws(service: str, region: str) -> Any:
    """A client that retries what is worth retrying."""
    return boto3.client(service, region_name=region, config=_CONFIG)
