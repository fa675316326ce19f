"""What a log says, operation by operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from loadtest import loglines
from loadtest.accesslog import AccessLog

if TYPE_CHECKING:
    from pathlib import Path

    from loadtest.loglines import Group


def groups(log: Path | AccessLog, **options: object) -> list[Group]:
    if not isinstance(log, AccessLog):
        log = AccessLog(log, **options)  # type: ignore[arg-type]
    return [
        view
        for calls in log.calls()
        for group in calls.groups(np.arange(len(calls.first)))
        for view in loglines.list_views(group)
    ]
