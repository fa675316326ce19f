"""That the logs of the replay benchmark are what they are said to be; their rates are no test's business."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import replay_run
from loadtest import scenarios
from loadtest.accesslog import AccessLog
from loadtest.loglines import IS_GET

if TYPE_CHECKING:
    from pathlib import Path

SMALL = scenarios.load("small").changed(users=50)


@pytest.mark.parametrize("shape", replay_run.ALL)
def test_each_log_holds_the_lookups_that_were_asked_for(shape: str, tmp_path: Path) -> None:
    log = AccessLog(replay_run.write(shape, tmp_path, 1_000, SMALL))

    lookups = sum(int(IS_GET[calls.lines.call].sum()) for calls in log.calls())

    assert log.malformed == 0
    assert 1_000 <= lookups < 1_000 + replay_run.LIST + 10  # the last page of the behaviour is whole
