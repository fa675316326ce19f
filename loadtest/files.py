"""The files that a run leaves in the folder of its report."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from loadtest.errors import LoadTestError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def make_ready(folder: Path, names: Iterable[str]) -> None:
    """Removes what an earlier run left in files of these names: it would be taken for what this one found.

    Raises LoadTestError if no report can be written there: before a run, not after it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        for file in (probe, *(folder / name for name in names)):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise LoadTestError(
            f"the report cannot be written to {folder}: {error.strerror}. Choose another --report."
        ) from None


def save(file: Path, text: str) -> None:
    """Raises LoadTestError, and leaves nothing, if it cannot be written as a whole."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        raise LoadTestError(f"the report could not be written to {file}: {error.strerror}.") from None
