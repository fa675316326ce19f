"""That the benchmarks run and say what they measured; how fast it was is not a test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import report
from benchmarks.measure import Figure, figure

ROOT = Path(__file__).parent.parent.parent
FIGURE_FIELDS = {"benchmark", "what", "unit", "value", "low", "high", "bound", "at_least", "peers", "is_reached"}


def test_a_quick_run_prints_and_writes_each_figure_with_its_bound_and_peers(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "one_hit", "batch", "--quick", "--json", str(written)]

    # A process of its own: some peers leave threads and settings behind.
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr
    told = json.loads(written.read_text())
    assert {each["benchmark"] for each in told["figures"]} == {"one_hit", "batch"}
    for each in told["figures"]:
        assert set(each) == FIGURE_FIELDS
        assert each["low"] <= each["value"] <= each["high"]
        assert each["what"] in run.stdout
    peers = told["figures"][0]["peers"]
    assert {"redis-py + json", "dogpile.cache", "django-redis", "valkey-glide-sync + orjson"} <= set(peers)
    assert told["machine"]["command"] == "`python -m benchmarks one_hit batch --quick`"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one_hot"], "'one_hot' is no benchmark. Known: one_hit, "),
        (["--write-readme", "--quick"], "--write-readme takes the figures of a whole run"),
        (["--json", "nowhere/figures.json"], "there is no folder nowhere"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_measured(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmarks.main(arguments)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "bound", "at_least", "is_reached"),
    [
        (14, 15, False, True),
        (16, 15, False, False),
        (1.1, 1, True, True),
        (0.9, 1, True, False),
        (1, None, False, None),
    ],
)
def test_a_figure_is_reached_on_the_right_side_of_its_bound(
    value: float, bound: float | None, at_least: bool, is_reached: bool | None
) -> None:
    assert figure("b", "w", "ms", [value], bound=bound, at_least=at_least).is_reached is is_reached


def test_a_figure_is_the_median_and_the_middle_half_of_its_rounds() -> None:
    measured = figure("b", "w", "ms", [1, 2, 3, 4, 100])

    assert (measured.low, measured.value, measured.high) == (1.5, 3, 52)


def test_the_readme_keeps_its_words_and_gets_the_figures() -> None:
    readme = (ROOT / "benchmarks/README.md").read_text()
    figures = [Figure("warm", "scores", "per second", 600_000, 590_000, 610_000, 1.0, True, {"raw": 420_000.0})]

    once = report.with_figures(readme, figures, {"Python": "3.11"})
    twice = report.with_figures(once, figures, {"Python": "3.11"})

    assert once == twice
    assert once.startswith(readme.partition("<!--")[0])
    assert "| warm | scores | per second | 600,000 | 590,000 – 610,000 | ≥ 1 | reached | raw 420,000 |" in once
