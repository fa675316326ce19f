"""Results of runs that did not take place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cache.stats import Stats
from loadtest.counts import Counts
from loadtest.result import Result

if TYPE_CHECKING:
    from loadtest.scenarios import Scenario


def made_up(scenario: Scenario, **known: Any) -> Result:
    """A run of which nothing was counted, but for what is `known`."""
    nothing = {
        "population": None,
        "seed": 1,
        "layout": "hash",
        "counts": Counts.of(scenario.catalog.names(), scenario.users),
        "stats": Stats(),
        "clock_note": "",
        "server_version": "",
    }
    return Result(scenario=scenario, **{**nothing, **known})
