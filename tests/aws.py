"""AWS for tests: keys that are nobody's, and clients that answer what a test says."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.stub import Stubber

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """As moto's users have them."""
    for name in _KEYS:
        monkeypatch.setenv(name, "testing")


def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a place where they could be found."""
    for name in (*_KEYS, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@contextmanager
def stubbed(service: str) -> Iterator[tuple[Any, Stubber]]:
    """A client of botocore that checks requests and answers against AWS's model."""
    client = boto3.client(
        service,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106
    )
    with Stubber(client) as stubber:
        yield client, stubber
        stubber.assert_no_pending_responses()
