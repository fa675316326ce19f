"""What the scripts share: a stack's settings and outputs, AWS clients, and errors told in one sentence."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import redis
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from cache.client import checked_url
from infra import baseline_function, settings, stack_file
from infra.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from infra.settings import Settings

ROOT: Final = Path(__file__).parent.parent
# Adaptive would also slow down; standard backs off with jitter, which is enough for one process.
_CONFIG: Final = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=30)
_NO_CREDENTIALS: Final = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
# What AWS's services answer to keys that are wrong or over.
_WRONG_CREDENTIALS: Final = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_SIGN_IN: Final = "sign in with `aws sso login`, or set AWS_PROFILE."


class ScriptError(RuntimeError):
    """Something that a person has to look at: one sentence, exit code 1."""

    exit_code = 1


class UsageError(ScriptError):
    """Wrong usage or configuration: exit code 2, and nothing was changed."""

    exit_code = 2


# What a script may end with. Anything else is a fault of ours, and its traceback wanted.
_ENDS: Final = (
    ScriptError,
    SettingsError,
    baseline_function.IncompleteError,
    ClientError,
    BotoCoreError,
    ResponseParserError,
    OSError,
    KeyboardInterrupt,
)


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
    """The exit code of `body`; what goes wrong is told on standard error, with what was done before it."""
    try:
        code = body()
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough, as `head`. Else the interpreter would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ScriptError.exit_code
    except _ENDS as error:
        code, told = _told(error)
        for done in getattr(error, "__notes__", ()):
            told = f"{told.rstrip('.')}. {done}"
        print(f"{name}: {told}", file=sys.stderr)
    return code


def _told(error: BaseException) -> tuple[int, str]:
    """Exit code and sentence of one of `_ENDS`."""
    match error:
        case ScriptError() | SettingsError():
            return getattr(error, "exit_code", UsageError.exit_code), str(error)
        case baseline_function.IncompleteError():
            return ScriptError.exit_code, str(error)
        case _ if isinstance(error, _NO_CREDENTIALS):
            return UsageError.exit_code, f"no AWS credentials ({error}); {_SIGN_IN}"
        case ClientError():
            code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
            if code in _WRONG_CREDENTIALS:
                return UsageError.exit_code, f"AWS does not take these credentials: {code}: {message}; {_SIGN_IN}"
            return ScriptError.exit_code, f"AWS refused {error.operation_name}: {code}: {message}"
        case BotoCoreError() | ResponseParserError():
            return ScriptError.exit_code, f"AWS could not be asked: {str(error).partition(chr(10))[0]}"
        case OSError():
            return ScriptError.exit_code, f"{error.filename or 'the output'}: {error.strerror or error}."
        case _:
            return ScriptError.exit_code, "interrupted; it is safe to run it again."


@contextlib.contextmanager
def saying(done: Callable[[], str]) -> Iterator[None]:
    """What ends the block before its time is told together with what has been done."""
    try:
        yield
    except BaseException as error:
        error.add_note(done())
        raise


def stack_settings(stack: str) -> Settings:
    """The settings in `Pulumi.<stack>.yaml`. Raises SettingsError."""
    return settings.from_file(stack_file.find(ROOT, stack))


def stack_outputs(file: Path, *needed: str) -> dict[str, Any]:
    """What `pulumi stack output --json` wrote into `file`. Raises UsageError, also where it lacks one of `needed`."""
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
    if lacking := sorted(set(needed) - outputs.keys()):
        raise UsageError(f"--outputs {file} lacks {', '.join(lacking)}.")
    return outputs


def cache_url(name: str, url: str) -> str:
    """The cache's URL, called `name`, if the library takes it. Raises UsageError, which shows nothing of a password."""
    try:
        redis.connection.parse_url(checked_url(url))  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise UsageError(f"{name} cannot be used: {str(error).rstrip('.')}.") from None
    return url


def aws(service: str, region: str) -> Any:
    """A client that retries what is worth retrying. Raises UsageError where its address is none."""
    try:
        return boto3.client(service, region_name=region, config=_CONFIG)
    except ValueError as error:  # of the variable AWS_ENDPOINT_URL, or of the user's configuration
        raise UsageError(f"AWS cannot be asked: {error}.") from None
