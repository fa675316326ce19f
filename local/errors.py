"""What goes wrong on this machine, in one sentence each."""

from __future__ import annotations


class LocalError(RuntimeError):
    """A server of this machine could not be started, or ended before its time."""


class UsageError(LocalError):
    """What the caller can put right: a missing command, an unknown stack."""
