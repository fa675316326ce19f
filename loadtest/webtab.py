"""A tab of Locust's own page: hit rate of each cache type over time, against its target. Knows no Locust.

Locust's page shows what a table named in its template's arguments finds in `extended_stats` of `/stats/requests`:
https://github.com/locustio/locust/blob/master/examples/extend_modern_web_ui.py (read 2026-11).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from time import strftime
from typing import TYPE_CHECKING, Any, Final

from flask import request

from loadtest import texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cache import Catalog

_KEY: Final = "hit-rates"
_HARD_SPACE: Final = "\xa0"
_ROWS: Final = 120  # the oldest make room


@dataclass
class HitRates:
    """What the tab shows: (hits, lookups) by cache type, sampled again and again."""

    catalog: Catalog
    remark: str = ""  # what must be known of the figures
    _last: dict[str, tuple[int, int]] = field(default_factory=dict)
    _rows: list[dict[str, str]] = field(default_factory=list)

    def sample(self, total: Mapping[str, tuple[int, int]], when: str | None = None) -> None:
        """`total` are the sums since the start, of all workers."""
        row = {"time": when or strftime("%H:%M:%S")}
        for name in self.catalog.names():
            hits, lookups = total.get(name, (0, 0))
            before = self._last.get(name, (0, 0))
            row[name] = _rate(hits - before[0], lookups - before[1])
        self._rows = [*self._rows[-_ROWS + 1 :], row]
        self._last = dict(total)

    def clear(self) -> None:
        """For another test."""
        self.remark, self._last, self._rows = "", {}, []

    def rows(self) -> list[dict[str, str]]:
        """Targets first, then the whole run with what must be known of it, then its stretches from the newest on."""
        targets = {each.name: texts.target(each.target_hit_rate) for each in self.catalog}
        whole = {name: _rate(*self._last.get(name, (0, 0))) for name in self.catalog.names()}
        remarks = [{"time": self.remark} | dict.fromkeys(targets, "–")] if self.remark else []
        return [{"time": "target"} | targets, {"time": "since the start"} | whole, *remarks, *reversed(self._rows)]


def _rate(hits: int, lookups: int) -> str:
    """On a narrow page it breaks before "of" alone."""
    return f"{texts.percent(hits / lookups)} of {lookups:,}".replace(" ", _HARD_SPACE, 1) if lookups else "–"


def add_to(web_ui: Any, hit_rates: HitRates) -> None:
    """Puts the tab on Locust's page."""
    columns = [{"key": "time", "title": "Time"}]
    columns += [{"key": name, "title": name} for name in hit_rates.catalog.names()]
    arguments_of_locust = web_ui.update_template_args

    def update_template_args() -> None:
        arguments_of_locust()
        web_ui.template_args["extended_tabs"] = [{"title": "Hit rates", "key": _KEY}]
        web_ui.template_args["extended_tables"] = [{"key": _KEY, "structure": columns}]

    web_ui.update_template_args = update_template_args

    @web_ui.app.after_request  # type: ignore[untyped-decorator]
    def add_rows(response: Any) -> Any:
        if request.path == "/stats/requests":
            tables = {"extended_stats": [{"key": _KEY, "data": hit_rates.rows()}]}
            response.set_data(json.dumps(response.get_json() | tables))
        return response
