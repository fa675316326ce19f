"""Runs of the load test as metrics: through the library's sink, kept and read again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache.catalog import CATALOG
from infra import recorded
from infra.alarms import HITS, MISSES
from loadtest import scenarios, virtual
from loadtest.faults import Fault as Injected
from scripts import rehearse_alarms
from scripts.alarms import faults, measured
from scripts.alarms import scene as scenes
from scripts.alarms.measured import Run, RunError
from scripts.alarms.scene import DAY

if TYPE_CHECKING:
    from pathlib import Path

    from infra.recorded import Declared
    from loadtest.result import Result

FLUSHED_AT_S = 12 * 3_600


@pytest.fixture(scope="module")
def measured_day() -> Result:
    """One day of few users, with a flush at noon."""
    scenario = scenarios.load("small").changed(days=1)
    return virtual.run(scenario, seed=1, faults=[Injected(FLUSHED_AT_S, "flush")], sample_every_s=300)


def test_run_has_every_lookup_of_the_load_test(measured_day: Result) -> None:
    run = Run.of(measured_day)

    for name in CATALOG.names():
        counts = measured_day.stats.counts(name)
        assert int(run.hits[name].sum()) == counts.hits
        assert int(run.misses[name].sum()) == sum(counts.misses.values())
        assert len(run.hits[name]) == DAY


def test_flush_is_seen_in_memory_and_misses(measured_day: Result) -> None:
    run = Run.of(measured_day)
    noon = FLUSHED_AT_S // 60

    assert run.used_bytes[noon - 10] > run.used_bytes[noon + 10]
    assert run.misses["ijp"][noon : noon + 360].sum() > run.misses["ijp"][noon - 360 : noon].sum()


def test_kept_run_is_read_again(measured_day: Result, tmp_path: Path) -> None:
    run = Run.of(measured_day)
    run.save(tmp_path / "run.npz")

    kept = Run.load(tmp_path / "run.npz")

    for name in CATALOG.names():
        np.testing.assert_array_equal(kept.hits[name], run.hits[name])
        np.testing.assert_array_equal(kept.misses[name], run.misses[name])
    np.testing.assert_allclose(kept.used_bytes, run.used_bytes, rtol=1e-6)


def test_counts_reach_the_metrics_that_the_alarms_watch(measured_day: Result, prod: Declared) -> None:
    """By the library's own sink: namespace, names and dimensions are those of the stack."""
    run = Run.of(measured_day)
    scene = scenes.ordinary(prod, days=faults.DAYS, seed=1)
    before = scene.metrics.keys() | set()
    starts = faults.BEGINS // DAY * DAY

    measured.put(scene, run)

    assert scene.metrics.keys() == before
    for name in CATALOG.names():
        np.testing.assert_array_equal(scene.count(name, HITS)[starts : starts + DAY], run.hits[name])
        np.testing.assert_array_equal(scene.count(name, MISSES)[starts : starts + DAY], run.misses[name])
    memory = scene.node(scene.nodes[0], "DatabaseMemoryUsagePercentage")[starts]
    assert memory == pytest.approx(100 * run.used_bytes[0] / prod.settings.node.maxmemory_bytes)


def test_run_that_ended_early_is_refused(measured_day: Result) -> None:
    with pytest.raises(RunError, match="the server went away"):
        Run.of(replace(measured_day, stopped_because="the server went away"))


def test_faults_that_inject_the_same_share_a_run(tmp_path: Path) -> None:
    every = faults.all_faults()
    paths = {fault.name: measured.path(tmp_path, fault, every) for fault in every if fault.injected}

    assert paths["cold-deployment"] == paths["cache-flushed"] == tmp_path / "cache-flushed.npz"
    assert {path.name for path in paths.values()} == {path.name for path in measured.FOLDER.glob("*.npz")}


def test_fresh_runs_are_driven_once_and_kept(
    tmp_path: Path, prod: Declared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With few users, on whom the alarms of 10,000 do not ring."""
    shared = [fault for fault in faults.all_faults() if fault.name in ("cache-flushed", "cold-deployment")]
    driven: list[str] = []
    drive = measured.drive

    def few(fault: faults.Fault, **options: Any) -> Run:
        driven.append(fault.name)
        return drive(fault, users=50, **options)

    monkeypatch.setattr(measured, "drive", few)
    monkeypatch.setattr(faults, "all_faults", lambda: shared)
    monkeypatch.setattr(recorded, "declare", lambda _settings: prod)

    code = rehearse_alarms.main(["--stack", "prod", "--weeks", "1", "--fresh", "--runs", str(tmp_path / "runs")])

    assert code == 3
    assert "should have rung" in capsys.readouterr().out
    assert driven == ["cache-flushed"]
    assert Run.load(tmp_path / "runs" / "cache-flushed.npz").misses["ijp"].sum() > 0


def test_missing_run_is_told(
    tmp_path: Path, prod: Declared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recorded, "declare", lambda _settings: prod)

    assert rehearse_alarms.main(["--stack", "prod", "--runs", str(tmp_path)]) == 1

    assert "drive it with --fresh" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [b"", b"PK\x03\x04 half a run", b"other"])
def test_what_is_no_run_is_driven_again(kept: bytes, tmp_path: Path) -> None:
    """As one that was interrupted while it was written."""
    (tmp_path / "run.npz").write_bytes(kept)

    with pytest.raises(RunError, match="drive it with --fresh"):
        Run.load(tmp_path / "run.npz")
