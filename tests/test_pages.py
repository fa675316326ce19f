"""The snippets of docs/metrics.md, docs/warming.md and docs/enrichment.md run, each page on servers of its own."""

from __future__ import annotations

import re
import shlex
import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from cache.stats import Counts
from cache.warming.postgres import Jobs
from local.clearbit import ClearbitServer
from local.valkey import Valkey
from scripts import warm_popular_jobs
from tests.test_structure import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import sqlalchemy

    from local.postgres import Postgres


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with Valkey() as running:
        yield running


def snippets(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def run(page: str, **addresses: str) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for snippet in snippets(page, "python"):
        for written, real in addresses.items():
            snippet = snippet.replace(written, real)
        exec(snippet, names)  # noqa: S102 - our own page


def test_metrics(valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    run("metrics.md", **{"redis://127.0.0.1:6379": valkey.url, "port=6379": f"port={valkey.port}"})


def test_the_page_on_metrics_names_every_count() -> None:
    page = (ROOT / "docs/metrics.md").read_text()

    assert [each.name for each in fields(Counts) if f"`{each.name}`" not in page] == []


def test_enrichment(valkey: Valkey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CLEARBIT_KEY", "sk_test")
    with ClearbitServer() as clearbit:
        here = f'Clearbit("sk_test", url="{clearbit.url}")'
        run("enrichment.md", **{"redis://127.0.0.1:6379": valkey.url, "Clearbit.from_environment()": here})

    assert capsys.readouterr().out.strip() in (ROOT / "docs/enrichment.md").read_text()


def test_warming(
    valkey: Valkey, postgres: Postgres, database: sqlalchemy.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE users (id bigint, last_login timestamptz)")
        connection.exec_driver_sql("CREATE TABLE job_views (job_id bigint, viewed_at timestamptz)")
        connection.exec_driver_sql(snippets("warming.md", "sql")[0])
        connection.exec_driver_sql("INSERT INTO users VALUES (1, now()); INSERT INTO job_views VALUES (5678, now())")

    run(
        "warming.md",
        **{"redis://127.0.0.1:6379": valkey.url, "postgresql://user@host/name": postgres.url},
    )

    assert capsys.readouterr().out == "1\n"


def test_the_file_of_queries_is_one_that_the_script_takes(tmp_path: Path) -> None:
    text = snippets("warming.md", "toml")[0]
    (tmp_path / "queries.toml").write_text(text)

    options = warm_popular_jobs.read_queries(tmp_path / "queries.toml")

    assert options == {"jobs": Jobs("web.clicks", "job", "at"), "users_sql": tomllib.loads(text)["users"]["sql"]}


def test_the_page_on_warming_names_every_option_of_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        warm_popular_jobs.main(["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    page = (ROOT / "docs/warming.md").read_text()

    assert {option for option in options if f"`{option}" not in page} == set()
    for line in snippets("warming.md", "console")[0].splitlines():
        if line.startswith("$ python"):
            warm_popular_jobs.parse(shlex.split(line)[4:])
