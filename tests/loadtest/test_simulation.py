"""Closed form and simulation beside each other, without a server; with one, see test_validate."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from loadtest import agreement, scenarios, simulation, theory
from loadtest.__main__ import main

SEEDS = range(1, 6)
FEW: dict[str, Any] = {"users": 500, "days": 2, "companies": 600, "jobs": 1_200}
# What the scenarios have too little of for a wrong closed form to show: removals, and breaks longer than a session.
MORE_MISSES: dict[str, Any] = {
    "vacancy_turnover_per_day": 0.3,
    "job_updates_per_day": 0.2,
    "company_refreshes_per_day": 0.1,
    "seconds_per_page": 150.0,
}
# Many lookups of one score by search, which lists of a hundred would hide; none is searched for twice.
SINGLE_SCORES: dict[str, Any] = {
    "list_length": 5,
    "popular_share": 0.6,
    "popular_jobs": 150,
    "days": 1,
    "search_share": 0.9,
    "popularity_exponent": 0.0,
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("expected", {}),
        ("sceptical", {}),
        ("expected", {"warming": "off", "preferences_change_share": 0.9, **MORE_MISSES}),
        ("sceptical", {"ttl_s": {"match": 2 * 86_400, "company": 7 * 86_400, "ijp": 14 * 86_400}}),
        ("expected", SINGLE_SCORES),
    ],
)
def test_closed_form_and_simulation_agree(name: str, changes: dict[str, Any]) -> None:
    scenario = scenarios.load(name).changed(**FEW | changes)
    opinions = []
    for seed in SEEDS:
        counts, people = simulation.run(scenario, seed=seed)
        opinions.append(agreement.Opinions(people, counts, None))

    rows = agreement.rows(scenario, opinions)

    assert {row.name: row.simulated.apart for row in rows if not row.agrees} == {}


def simulate(*arguments: str) -> int:
    return main(["simulate", "--scenario", "small", "--users", "200", "--days", "2", *arguments])


def test_the_command_shows_all_three(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate("--seeds", "2", "--measure", "--json") == 0

    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["rows"]] == ["match", "company", "ijp", "session"]
    for row in document["rows"]:
        assert row["measured"] == row["simulated"]
        assert row["other_hits"] == 0
        assert len(row["simulated"]["apart_by_seed"]) == 2


def test_a_wrong_closed_form_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theory, "ijp", lambda *_: 0.8)

    assert simulate("--seeds", "1") == 1

    said = capsys.readouterr()
    assert said.err == "loadtest: ijp is over 3 standard errors apart.\n"
    assert re.search(r"^ijp +80.000 % ", said.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--seeds", "0"], 2, "--seeds is 0; it must be 1 or more"),
        (["--users", "5", "--days", "1"], 1, "match: too few lookups to compare; simulate more users or days"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert simulate(*arguments) == code
    assert message in capsys.readouterr().err
