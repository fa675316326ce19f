"""The scenarios of `scenarios.toml`: every assumption of the load test, checked before anything starts."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cache import CATALOG, Catalog
from cache.layouts import MAX_SCORES_PER_USER
from cache.nodes import NODE_TYPES
from loadtest.errors import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE: Final = Path(__file__).with_name("scenarios.toml")
WARMING_POLICIES: Final = ("due", "everything", "off")
DAY_S: Final = 86_400
HOUR_S: Final = 3_600
MINUTE_S: Final = 60
MAX_DAYS: Final = 1_000
MAX_USERS: Final = 1_000_000
NIGHT_HOURS: Final = 8
DAY_STARTS_AT_HOUR: Final = 7


@dataclass(frozen=True, slots=True)
class Scenario:
    """One set of assumptions; `scenarios.toml` says what each means and where it comes from."""

    name: str
    title: str
    node_type: str
    users: int
    days: int
    sessions_per_user_day: float
    session_rate_shape: float
    night_share: float
    pages_per_visit: float
    seconds_per_page: float
    page_time_sigma: float
    list_page_share: float
    job_page_share: float
    preferences_page_share: float
    preferences_change_share: float
    logout_share: float
    list_length: int
    popular_share: float
    popular_jobs: int
    jobs: int
    companies: int
    popularity_exponent: float
    search_share: float
    vacancy_turnover_per_day: float
    job_updates_per_day: float
    company_refreshes_per_day: float
    warming: str
    warming_active_days: int
    resolution_s: int
    usd_per_enrichment: float
    ttl_s: dict[str, int] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise ScenarioError(f"scenario {self.name!r}: " + "; ".join(problems) + ".")

    @property
    def catalog(self) -> Catalog:
        """The catalogue with this scenario's own TTLs and targets."""
        return CATALOG.changed(ttl_s=self.ttl_s, targets=self.targets)

    @property
    def popular_in_list(self) -> int:
        return round(self.list_length * self.popular_share)

    @property
    def personal_in_list(self) -> int:
        return self.list_length - self.popular_in_list

    @property
    def continues(self) -> float:
        """Probability that another page follows: pages in a visit are geometric."""
        return 1 - 1 / self.pages_per_visit

    def changed(self, **changes: Any) -> Scenario:
        return replace(self, **changes)


_SHARES: Final = (
    *("night_share", "list_page_share", "job_page_share", "preferences_page_share", "preferences_change_share"),
    *("logout_share", "popular_share", "search_share"),
)
# From the least to the greatest value that a run can make something of: farther out, floats lose what is small beside
# what is large, a visit never ends, or the machine's memory does.
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "users": (1, MAX_USERS),
    "days": (1, MAX_DAYS),
    "sessions_per_user_day": (0.001, 100_000),
    "session_rate_shape": (0.01, 10_000),
    "pages_per_visit": (1.01, 1_000),
    "seconds_per_page": (0.1, DAY_S),
    "page_time_sigma": (0.01, 5),
    "list_length": (1, MAX_SCORES_PER_USER),
    "popular_jobs": (1, MAX_SCORES_PER_USER),
    "jobs": (1, 1_000_000),
    "companies": (1, 1_000_000),
    "popularity_exponent": (0, 10),
    "vacancy_turnover_per_day": (0, 100),
    "job_updates_per_day": (0, 100),
    "company_refreshes_per_day": (0, 100),
    "warming_active_days": (1, 1_000),
    "resolution_s": (1, 10),
    "usd_per_enrichment": (0, 1_000_000),
}


def _problems(scenario: Scenario) -> Iterator[str]:
    # Values that are out of range contradict each other, too.
    yield from list(_out_of_range(scenario)) or _contradictions(scenario)
    if scenario.warming not in WARMING_POLICIES:
        yield f"warming is {scenario.warming!r}; allowed are {', '.join(WARMING_POLICIES)}"
    if scenario.node_type not in NODE_TYPES:
        yield f"node_type {scenario.node_type!r} is unknown; known are {', '.join(NODE_TYPES)}"
    try:
        CATALOG.changed(ttl_s=scenario.ttl_s, targets=scenario.targets)
    except (KeyError, ValueError) as error:
        yield str(error.args[0]).rstrip(".")


def _out_of_range(scenario: Scenario) -> Iterator[str]:
    for name in _SHARES:
        if not 0 <= (value := getattr(scenario, name)) <= 1:
            yield f"{name} is {value!r}; a share lies between 0 and 1"
    for name, (least, greatest) in _BOUNDS.items():
        if not least <= (value := getattr(scenario, name)) <= greatest:
            yield f"{name} is {value!r}; it must be from {least:,} to {greatest:,}"


def _contradictions(scenario: Scenario) -> Iterator[str]:
    shares = scenario.list_page_share + scenario.job_page_share + scenario.preferences_page_share
    if abs(shares - 1) > 1e-9:
        yield f"list_page_share, job_page_share and preferences_page_share add up to {shares:g}; they must to 1"
    if scenario.job_page_share == 0:
        yield "job_page_share is 0; without job pages nothing asks for a company, and its target cannot be judged"
    if HOUR_S % scenario.resolution_s:
        yield f"resolution_s is {scenario.resolution_s!r}; it must divide an hour"
    if scenario.popular_in_list > scenario.popular_jobs:
        yield f"the list takes {scenario.popular_in_list} popular jobs, but popular_jobs is {scenario.popular_jobs}"
    if (scores := scenario.personal_in_list + scenario.popular_jobs) > MAX_SCORES_PER_USER:
        yield f"a user would have {scores} scores, the list's and popular_jobs; the cache takes {MAX_SCORES_PER_USER}"
    if scenario.personal_in_list + scenario.popular_jobs > scenario.jobs:
        yield f"jobs is {scenario.jobs}; the popular and a user's personal ones need more"


def check_seed(seed: int) -> None:
    """Raises ScenarioError for a negative one."""
    if seed < 0:
        raise ScenarioError(f"--seed is {seed}; it must be 0 or more.")


def names(path: Path = FILE) -> list[str]:
    return list(_read(path))


def load(name: str, path: Path = FILE) -> Scenario:
    """The scenario called `name`. Raises ScenarioError for a file, a name, a key or a value that is wrong."""
    tables = _read(path)
    if name not in tables:
        raise ScenarioError(f"there is no scenario {name!r} in {path.name}. There are: {', '.join(tables)}.")
    settings = _inherited(name, tables, path)
    known = {item.name: item for item in fields(Scenario) if item.name != "name"}
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ScenarioError(f"scenario {name!r}: {', '.join(unknown)} is no setting. Known: {', '.join(known)}.")
    missing = [key for key in known if key not in settings and key not in ("ttl_s", "targets")]
    if missing:
        raise ScenarioError(f"scenario {name!r} lacks {', '.join(missing)}; set it, or name a scenario in based_on.")
    for key, value in settings.items():
        settings[key] = _typed(name, key, value, str(known[key].type))
    return Scenario(name=name, **settings)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        read = tomllib.loads(path.read_text())
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}.") from None
    except ValueError as error:  # of the text, its encoding, or a number of thousands of digits
        raise ScenarioError(f"{path} is not TOML: {error}.") from None
    return {name: table for name, table in read.items() if isinstance(table, dict)}


def _inherited(name: str, tables: dict[str, dict[str, Any]], path: Path) -> dict[str, Any]:
    chain = [name]
    while base := tables[chain[-1]].get("based_on"):
        if not isinstance(base, str) or base not in tables or base in chain:
            raise ScenarioError(
                f"scenario {chain[-1]!r} is based_on {base!r}, which is no other scenario of {path.name}."
            )
        chain.append(base)
    merged: dict[str, Any] = {}
    for link in reversed(chain):
        merged |= tables[link]
    merged.pop("based_on", None)
    return merged


def _typed(scenario: str, key: str, value: Any, kind: str) -> Any:
    wanted, described = _KINDS.get(kind, (dict, "a table of numbers"))
    is_endless = isinstance(value, (int, float)) and not -_ENDLESS < value < _ENDLESS  # or no number at all
    if isinstance(value, bool) or not isinstance(value, wanted) or is_endless:
        raise ScenarioError(f"scenario {scenario!r}: {key} is {value!r}; it must be {described}.")
    if isinstance(value, dict):
        inner = "int" if "int" in kind else "float"
        return {name: _typed(scenario, f"{key}.{name}", number, inner) for name, number in value.items()}
    return float(value) if kind == "float" else value


_ENDLESS: Final = 1e300
_KINDS: Final[dict[str, tuple[Any, str]]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "str": (str, "a text"),
}
