"""Runbooks and pages name what exists: alarms, commands, options, headings."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from scripts import common
from scripts.alarms import declared as declared_alarms
from scripts.alarms import rehearsal, report

if TYPE_CHECKING:
    from pathlib import Path

    from infra.recorded import Declared
    from scripts.alarms.rehearsal import Result

DOCS = common.ROOT / "docs"
RUNBOOKS = sorted((DOCS / "runbooks").glob("*.md"))
SCRIPTS = sorted(
    path.stem for path in (common.ROOT / "scripts").glob("*.py") if path.stem not in ("__init__", "common")
)
HEADINGS = ["First look", "Likely causes, in order", "What to do", "It worked when"]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Every `python -m scripts.NAME …` of a page, by name and arguments."""
    found = re.findall(r"python -m scripts\.(\w+)([^`\n]*)", text)
    return [(name, shlex.split(rest.split("|")[0].split(">")[0])) for name, rest in found]


def test_every_alarms_runbook_exists(prod: Declared) -> None:
    alarms = list(declared_alarms.alarms(prod))

    assert {alarm.runbook for alarm in alarms} == {f"docs/runbooks/{path.name}" for path in RUNBOOKS}


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_runbook_begins_with_a_look_by_a_command_of_ours(path: Path) -> None:
    text = path.read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)

    assert [section.partition("\n")[0] for section in sections[1:]] == HEADINGS
    assert commands(sections[1])
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (path.parent / link).exists(), link


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """As `python -m` runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(common.ROOT / f"scripts/{name}.py"), run_name="__main__")
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("path", [*RUNBOOKS, DOCS / "alarms.md", DOCS / "operations.md"], ids=lambda path: path.stem)
def test_commands_and_their_options_exist(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, arguments in commands(path.read_text()):
        assert name in SCRIPTS
        known = re.findall(r"--[a-z-]+", help_of(name, capsys))

        assert {argument for argument in arguments if argument.startswith("--")} <= set(known)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_help_and_json_and_is_documented(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of(name, capsys)

    assert f"python -m scripts.{name}" in shown
    assert "--json" in shown
    assert "exit codes: 0 " in shown
    assert str(importlib.import_module(f"scripts.{name}").__doc__).partition("\n")[0] in shown
    assert f"python -m scripts.{name}" in (DOCS / "operations.md").read_text()


def test_documented_matrix_is_what_the_command_makes(result: Result) -> None:
    page = (DOCS / "alarms.md").read_text()

    assert report.markdown(result) in page
    assert rehearsal.FALSE_ALARM_DAYS == 28


def test_drawn_matrix_has_every_fault(result: Result) -> None:
    drawn = (DOCS / "alarms.svg").read_text()

    for row in result.rows:
        assert f">{row.fault.name}<" in drawn
