"""The pages on the load test show what there is."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import pytest
import yaml

from cache import CATALOG, CacheService
from cache.metrics import AccessLog, Publisher
from cache.nodes import NODE_TYPES
from loadtest import accesslog, faults, planning, scenarios, sizing, texts
from loadtest.__main__ import COMMANDS, main
from local.valkey import Valkey
from tests.loadtest.logs import groups

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/loadtest.md").read_text()


def test_the_page_names_every_command_and_fault() -> None:
    assert [name for name in COMMANDS if f"python -m loadtest {name}" not in PAGE] == []
    assert [kind for kind in faults.KINDS if f"`{kind}" not in PAGE] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])

    assert "exit codes: 0 every target met" in " ".join(capsys.readouterr().out.split())


def test_the_options_of_the_page_exist(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"^\$ (?:\.venv/bin/)?python -m loadtest (\w+)(.*)$", PAGE, re.MULTILINE)
    assert len(shown) > 4
    for command, rest in shown:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        for word in shlex.split(rest, comments=True):
            assert not word.startswith("--") or word in text, (command, word)
    for text in re.findall(r"\| `([a-z:-]+@\S+)` \|", PAGE):
        faults.parse(text)


def test_the_nodes_of_the_page_are_full_where_the_model_says() -> None:
    found = re.findall(r"^Full in layout (\w+): (.*)\.$", PAGE, re.MULTILINE)

    assert [layout for layout, _ in found] == list(sizing.LAYOUTS)
    for layout, said in found:
        full = [f"{node} at {sizing.full_at(CATALOG, node, layout):,} users" for node in NODE_TYPES]
        assert said == ", ".join(full)


def test_the_projections_of_the_page_are_the_model_s() -> None:
    rows = re.findall(r"^(hash|keys) +([\d,]+) +(jemalloc|libc) +(.*)$", PAGE, re.MULTILINE)

    assert len(rows) == 8
    for layout, users, allocator, said in rows:
        total = sizing.project(CATALOG, int(users.replace(",", "")), layout, allocator).total
        shares = [texts.share_of_node(total, node.usable_bytes) for node in NODE_TYPES.values()]
        memory, _plan, *shown = re.split(r"  +", said)
        assert [memory, *shown] == [texts.megabytes(total), *shares], (layout, users, allocator)


def workflows() -> dict[str, Any]:
    """Those of the page on CI, by name."""
    blocks = re.findall(r"```yaml\n(name: .*?)```", (ROOT / "docs/ci.md").read_text(), re.DOTALL)
    return {found["name"]: found for found in map(yaml.safe_load, blocks)}


def test_the_commands_of_the_workflows_exist(capsys: pytest.CaptureFixture[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    jobs = [job for flow in workflows().values() for job in flow["jobs"].values()]
    runs = [step["run"] for job in jobs for step in job["steps"] if "run" in step]

    assert runs
    for run in runs:
        if run.startswith("make "):
            assert run.split()[1] in targets
        elif "loadtest" in run:
            assert main_has(run.split("-m loadtest ")[1], capsys), run
        else:
            assert run == 'cat report/summary.md >> "$GITHUB_STEP_SUMMARY"'


def test_what_a_workflow_shows_is_there_or_left_out() -> None:
    """A run that did not begin has no report, and one that failed has."""
    steps = workflows()["validate"]["jobs"]["validate"]["steps"]

    shows = [step for step in steps if "report/" in step.get("run", "") + str(step.get("with", {}))]
    assert len(shows) == 2
    assert {step["if"] for step in shows} == {"${{ !cancelled() && hashFiles('report/summary.md') != '' }}"}


def main_has(command: str, capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether a command of the load test has the options that are given to it."""
    name, *words = shlex.split(command, comments=True)
    with pytest.raises(SystemExit):
        main([name, "--help"])
    text = capsys.readouterr().out
    return all(word in text for word in words if word.startswith("--"))


@pytest.mark.parametrize("line", re.findall(r"^\$ aws (.*)$", PAGE, re.MULTILINE))
def test_the_commands_of_aws_exist(line: str) -> None:
    """By the models that the command line itself is made from."""
    service, name, *words = shlex.split(line)
    model = botocore.session.Session().get_service_model(service)
    operations = {botocore.xform_name(each, "-"): each for each in model.operation_names}
    members = model.operation_model(operations[name]).input_shape.members

    known = {f"--{botocore.xform_name(each, '-')}" for each in members}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_outputs_and_settings_of_the_page_are_the_stack_s() -> None:
    section = PAGE[PAGE.index("### Against ElastiCache") :]
    program, infra = (ROOT / "infra/program.py").read_text(), (ROOT / "docs/infra.md").read_text()

    outputs = re.findall(r"(?:output|of) `([a-z_]+)`", section)
    settings = re.findall(r"pulumi config set (?:--path ')?([a-zA-Z]+)", section)
    assert len(outputs) > 2
    assert len(settings) > 3
    assert [name for name in outputs if f'"{name}"' not in program] == []
    assert [name for name in settings if f"`{name}`" not in infra] == []


def test_the_scenario_of_the_page_is_one(tmp_path: Path) -> None:
    table = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert table
    assert "mine" in tomllib.loads(table[1])
    file = tmp_path / "mine.toml"
    file.write_text(scenarios.FILE.read_text() + table[1])

    scenario = scenarios.load("mine", file)

    assert scenario.catalog.match.ttl_s == 172_800
    assert planning.plan(scenario).rows


def test_what_the_library_records_is_replayed(tmp_path: Path) -> None:
    """The page's snippet, with every method that the log knows."""
    snippet = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert snippet
    file = tmp_path / "access.csv"
    with Valkey() as server:
        names: dict[str, object] = {}
        code = snippet[1].replace("redis://127.0.0.1:6379", server.url).replace("access.csv", str(file))
        exec(code, names)  # noqa: S102 - our own page
        cache = names["cache"]
        assert isinstance(cache, CacheService)
        with Publisher(cache, [AccessLog(file, cache)]):
            cache.start_session(1234, {})
            cache.get_session(1234)
            cache.update_ijp(1234, {})
            cache.get_ijp(1234, dict)
            cache.get_company_enrichment(101, dict)
            cache.set_match_scores(1234, {5678: {}})
            cache.invalidate_user_matches(1234)
            cache.invalidate_job_matches(5678)
            cache.invalidate_company(101)
            cache.end_session(1234)
        cache.close()
    log = accesslog.AccessLog(file)

    logged = groups(log)

    assert log.malformed == 0, log.examples
    assert logged[0].items == [5678, 5679]
    assert [(group.cache_type, group.operation) for group in logged] == [
        *(("match", "get"), ("session", "start"), ("session", "get"), ("ijp", "update"), ("ijp", "get")),
        *(("company", "get"), ("match", "set"), ("match", "invalidate"), ("match", "invalidate")),
        *(("company", "invalidate"), ("session", "end")),
    ]
