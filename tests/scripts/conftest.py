from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra import recorded
from scripts import common
from scripts.alarms import expectations, faults, measured, rehearsal

if TYPE_CHECKING:
    from infra.recorded import Declared
    from scripts.alarms.faults import Fault
    from scripts.alarms.measured import Run
    from scripts.alarms.rehearsal import Result


@pytest.fixture(scope="session")
def prod() -> Declared:
    return recorded.declare(common.stack_settings("prod"))


def kept_run(fault: Fault) -> Run:
    return measured.Run.load(measured.path(measured.FOLDER, fault, faults.all_faults()))


@pytest.fixture(scope="session")
def result(prod: Declared) -> Result:
    """The rehearsal of prod, with the runs that are kept."""
    return rehearsal.rehearse(prod, expectations.load(), seed=1, runs=kept_run)
