"""The main job, end to end, on the scenario `small`."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cache import CATALOG
from loadtest import driver, intervals, parallel, report, scenarios, simulation, theory, verdict, virtual
from loadtest.__main__ import main
from loadtest.errors import ExitCode, LoadTestError, ServerGoneError
from loadtest.traffic import CacheCall, Call
from loadtest.verdict import Verdict
from local.errors import LocalError
from local.faketime import faketime_library
from local.valkey import Valkey
from tests.loadtest import parts

if TYPE_CHECKING:
    from loadtest.result import Result

SEEDS = range(1, 6)
# For what is the same or is not, however many take part.
SMALL = scenarios.load("small").changed(users=150)
VERDICT_KEYS = {
    *("scenario", "seed", "virtual_days", "users", "exit_code", "classes", "sizing", "versions", "assumptions"),
}


@pytest.fixture(scope="module", params=["hash", "keys"])
def result(request: pytest.FixtureRequest) -> Result:
    return virtual.run(SMALL, seed=1, layout=request.param)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    # More users than days: independent users narrow the interval.
    scenario = scenarios.load("small").changed(users=800, days=3)
    return [virtual.run(scenario, seed=seed) for seed in SEEDS]


def hits(result: Result) -> dict[str, tuple[int, int]]:
    return {name: (int(c.hits.sum()), int(c.lookups.sum())) for name, c in result.counts.types.items()}


def test_one_seed_gives_the_same_hits(result: Result) -> None:
    again = virtual.run(SMALL, seed=1, layout=result.layout)

    assert hits(again) == hits(result)
    for name, counted in result.counts.types.items():
        assert (again.counts.types[name].hits == counted.hits).all()


def test_three_processes_give_the_hits_of_one(result: Result) -> None:
    together = parallel.run(partial(virtual.run, SMALL, seed=1, layout=result.layout), processes=3)

    assert hits(together) == hits(result)
    for name, counted in result.counts.types.items():
        assert (together.counts.types[name].hits == counted.hits).all()
        assert (together.counts.types[name].lookups == counted.lookups).all()
        assert together.counts.types[name].by_minute == counted.by_minute
    assert (together.counts.visits == result.counts.visits).all()
    assert together.activity == result.activity
    assert together.stats.data_reads == result.stats.data_reads
    # Each server has what it needs besides the data: buffers, scripts.
    assert together.memory[-1].used_bytes == pytest.approx(result.memory[-1].used_bytes, abs=1_500_000)


@pytest.mark.parametrize(
    ("bound", "processes"), [("100000 100000\n", 1), ("50000 100000\n", 1), ("max 100000\n", None)]
)
def test_a_container_s_bound_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bound: str, processes: int | None
) -> None:
    monkeypatch.setattr("loadtest.parallel._CONTAINER_BOUND", tmp_path / "missing")
    without = parallel.processors()
    (tmp_path / "cpu.max").write_text(bound)
    monkeypatch.setattr("loadtest.parallel._CONTAINER_BOUND", tmp_path / "cpu.max")

    assert parallel.processors() == (processes or without)


def test_a_process_that_is_killed_ends_the_run_at_once() -> None:
    with pytest.raises(LoadTestError, match="ended before its time"):
        parallel.run(parts.killed, processes=2)


def test_another_process_s_server_that_goes_away_ends_the_run_at_once_with_a_partial_report() -> None:
    result = parallel.run(parts.without_server, processes=2)

    assert str(result.stopped_because).startswith("the server went away: ")
    assert result.remarks == ["Only the first of 2 processes is in it, with its share of the users."]
    judgement = verdict.judge(result)
    assert judgement.exit_code is ExitCode.ERROR
    assert {node.verdict for node in judgement.sizing} == {Verdict.UNDECIDED}  # it is half of the data
    assert report.document(result, judgement)["is_partial"]


def test_a_first_process_that_is_killed_takes_the_others_with_it() -> None:
    run = python("-c", _KILLED, cwd=Path(__file__).parents[2])

    assert run.returncode == -signal.SIGKILL
    assert run.stdout == "ends\n", run.stderr


_KILLED = """
from loadtest import parallel
from tests.loadtest import parts
parallel.run(parts.orphaned, processes=2)
"""


def test_ctrl_c_is_left_to_the_first_process() -> None:
    result = parallel.run(_interrupting, processes=2)

    assert result.ran_s == 86_400


def _interrupting(**options: Any) -> Result:
    for process in multiprocessing.active_children():
        assert process.pid
        os.kill(process.pid, signal.SIGINT)  # while it is still loading modules
    return virtual.run(SMALL.changed(users=50, days=1), seed=1, **options)


def test_deleting_keys_at_their_deadlines_gives_the_same_hits(result: Result) -> None:
    """Where no clock can be moved; and a second opinion on the moved one where it can."""
    deleting = virtual.run(SMALL, seed=1, layout=result.layout, move_server_clock=False)

    assert hits(deleting) == hits(result)
    assert "cannot be moved" in deleting.clock_note


def test_the_server_counted_what_the_library_declared(result: Result) -> None:
    stats = result.stats

    assert result.server_lookups == stats.data_reads + stats.bookkeeping_reads
    lookups = sum(total for _, total in hits(result).values())
    if result.layout == "keys":
        assert stats.data_reads == lookups
    else:
        assert stats.data_reads < lookups / 10


def test_layouts_differ_in_bytes_and_in_nothing_else() -> None:
    one, other = (virtual.run(SMALL, seed=3, layout=layout) for layout in ("hash", "keys"))

    assert hits(one) == hits(other)
    assert one.memory[-1].used_bytes < other.memory[-1].used_bytes


@pytest.mark.parametrize("name", ["match", "company", "ijp", "session"])
def test_measured_and_predicted_agree(results: list[Result], name: str) -> None:
    apart = []
    for result in results:
        counted = result.counts.types[name]
        found = intervals.hit_rate(counted.hits, counted.lookups)
        assert result.population
        predicted = theory.predict(result.scenario, result.population)[name]
        assert found.hit_rate is not None
        # Where nothing missed, the error is that of one miss.
        error = max(found.standard_error or 0, 1 / found.lookups)
        apart.append((found.hit_rate - predicted) / error)

    assert np.abs(apart).max() <= 3, apart
    assert abs(np.mean(apart)) <= 3 / np.sqrt(len(apart)), apart


def assert_simulation_has_the_hits_of(result: Result) -> None:
    """`result` shares with it who asks for what and when, and nothing of the cache."""
    counts, _ = simulation.run(result.scenario, seed=result.seed)

    for name, counted in result.counts.types.items():
        assert (counts.types[name].hits == counted.hits).all(), name
        assert (counts.types[name].lookups == counted.lookups).all(), name


def test_the_simulation_has_the_server_s_hits(results: list[Result]) -> None:
    for result in results:
        assert_simulation_has_the_hits_of(result)


def test_without_warming_the_closed_form_holds_too() -> None:
    scenario = scenarios.load("small").changed(users=1_000, days=3, warming="off")
    result = virtual.run(scenario, seed=1)
    counted = result.counts.types["match"]
    found = intervals.hit_rate(counted.hits, counted.lookups)

    assert found.hit_rate is not None
    assert found.standard_error is not None
    assert result.population
    assert abs(found.hit_rate - theory.match(scenario, result.population)) <= 3 * found.standard_error
    assert_simulation_has_the_hits_of(result)


def test_what_is_stored_at_an_instant_is_there_for_who_asks_at_it() -> None:
    """A refreshed company that is opened at once, and the session of a page that follows its login at once."""
    busy = {"sessions_per_user_day": 20, "companies": 20, "company_refreshes_per_day": 100}
    scenario = scenarios.load("small").changed(users=60, days=1, **busy)

    assert_simulation_has_the_hits_of(virtual.run(scenario, seed=1))


def test_warming_everything_computes_more_for_the_same_hits() -> None:
    scenario = scenarios.load("small").changed(users=100, days=2)
    due, everything = (virtual.run(scenario.changed(warming=policy), seed=1) for policy in ("due", "everything"))

    assert everything.warming.computed == everything.warming.users * scenario.popular_jobs
    assert everything.warming.computed > 10 * due.warming.computed
    assert hits(everything)["match"][0] == pytest.approx(hits(due)["match"][0], rel=0.002)
    assert_simulation_has_the_hits_of(everything)


# -- the command -----------------------------------------------------------------------------------------------


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


def into(folder: Path) -> list[str]:
    return ["--report", str(folder)]


class _Links(HTMLParser):
    outside: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.outside = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outside += [value for name, value in attrs if name in ("src", "href") and value and value[0] != "#"]


def test_a_pass_prints_a_table_and_writes_a_report(tmp_path: Path) -> None:
    run = python("-m", "loadtest", "validate", "--scenario", "small", "--users", "1000", cwd=tmp_path)

    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    for name in ("match", "company", "ijp", "session"):
        assert re.search(rf"^{name} .*PASS", run.stdout, re.MULTILINE)
    document = json.loads((tmp_path / "report/verdict.json").read_text())
    assert document.keys() >= VERDICT_KEYS
    assert document["exit_code"] == 0
    assert [(c["name"], c["target"]) for c in document["classes"]] == [
        *(("match", 0.8), ("company", 0.9), ("ijp", 0.95), ("session", 0.99)),
    ]
    assert {n["node_type"] for n in document["sizing"]} == {"cache.t4g.medium", "cache.m6g.large"}
    links = _Links()
    links.feed((tmp_path / "report/report.html").read_text())
    assert links.outside == []


def test_a_missed_target_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["validate", "--scenario", "sceptical", "--users", "500", "--days", "8", "--json", *into(tmp_path)])

    document = json.loads(capsys.readouterr().out)
    verdicts = {c["name"]: c["verdict"] for c in document["classes"]}
    assert code == document["exit_code"] == 3
    assert verdicts["match"] == verdicts["company"] == "FAIL"


# Visits so rare and pages open for so long that every target is missed, by more than so few people leave open.
_CARELESS = """
[careless]
based_on = "sceptical"
users = 400
days = 4
sessions_per_user_day = 0.08
seconds_per_page = 500
"""


def test_each_target_can_be_missed(tmp_path: Path) -> None:
    file = tmp_path / "scenarios.toml"
    file.write_text(scenarios.FILE.read_text() + _CARELESS)

    judgement = verdict.judge(virtual.run(scenarios.load("careless", file), seed=1))

    verdicts = {row.name: row.verdict for row in judgement.rows if row.verdict}
    assert verdicts == dict.fromkeys(CATALOG.names(), Verdict.FAIL)
    assert judgement.exit_code is ExitCode.TARGET_MISSED


def test_too_few_samples_are_exit_code_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--scenario", "small", "--users", "20", "--days", "1", *into(tmp_path)]) == 5
    assert "UNDECIDED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--scenario", "expect"], 2, "there is no scenario 'expect'"),
        (["--users", "0"], 2, "users is 0; it must be from 1 to 1,000,000"),
        (["--days", "-1"], 2, "days is -1; it must be from 1 to 1,000"),
        (["--seed", "-1"], 2, "--seed is -1; it must be 0 or more"),
        (["--report", "/proc/report"], 1, "cannot be written to /proc/report"),
    ],
)
def test_wrong_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(["validate", *into(tmp_path), *arguments]) == code

    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_ctrl_c_stops_the_server_and_says_so(tmp_path: Path) -> None:
    run = python("-c", _INTERRUPTED_HALFWAY, cwd=tmp_path)

    assert run.returncode == 1
    assert run.stderr == "loadtest: interrupted; no report was written.\n"
    folder = Path(run.stdout.strip())
    assert folder.name.startswith("valkey-")
    assert not folder.exists()


_INTERRUPTED_HALFWAY = f"""
import os, signal, sys
from loadtest import driver, virtual
from loadtest.__main__ import main
start = driver.Pipeline.__init__
def tell(self, path, **options):
    print(path.parent, flush=True)
    start(self, path, **options)
driver.Pipeline.__init__ = tell
run = virtual._Driver.run
def interrupted(self, progress, *rest):
    def at_half(what, share):
        if share > 0.5:
            os.kill(os.getpid(), {int(signal.SIGINT)})
    run(self, at_half)
virtual._Driver.run = interrupted
sys.exit(main(["validate", "--scenario", "small", "--users", "100", "--days", "1"]))
"""


def test_ctrl_c_before_the_first_step_is_one_sentence_too(tmp_path: Path) -> None:
    run = python("-c", _INTERRUPTED_WHILE_IMPORTING, cwd=tmp_path)

    assert run.returncode == 1
    assert run.stderr == "loadtest: interrupted; no report was written.\n"


_INTERRUPTED_WHILE_IMPORTING = """
import os, runpy, signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "redis":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv[1:] = ["validate"]
runpy.run_module("loadtest", run_name="__main__")
"""


def test_a_list_view_that_is_interrupted_ends_its_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python warns of a flow that is dropped with its leases, and a warning fails a test."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with driver.server_at(driver.START_EPOCH_S) as (clock, pipeline):
        run = driver.Driver(SMALL, None, 1, "hash", clock, pipeline)
        monkeypatch.setattr(run.origins, "scores", interrupted)

        with pytest.raises(KeyboardInterrupt):
            pipeline.run([run.task(CacheCall(Call.MATCH_SCORES, 1234, jobs=(5678, 5679)))])

        gc.collect()


def test_a_server_that_goes_away_is_one_sentence(tmp_path: Path) -> None:
    killed = _INTERRUPTED_HALFWAY.replace(
        f"os.kill(os.getpid(), {int(signal.SIGINT)})", "self.pipeline._socket.shutdown(2)"
    )

    run = python("-c", killed, cwd=tmp_path)

    assert run.returncode == 1
    assert run.stderr.startswith("loadtest: the server went away: ")
    assert run.stderr.count("\n") == 1
    document = json.loads((tmp_path / "report/verdict.json").read_text())
    assert document["is_partial"]
    assert document["exit_code"] == 1
    assert {row["verdict"] for row in document["classes"]} == {"UNDECIDED"}
    assert document["server"]["lookups"] == 0  # nobody is left to ask
    assert document["server"]["commands"] > 0
    assert "The server counted" not in run.stdout
    assert "PARTIAL" in (tmp_path / "report/report.html").read_text()


@pytest.mark.skipif(faketime_library() is None, reason="no clock to move on this machine; the driver deletes keys")
def test_a_server_that_does_not_let_go_of_its_clock_has_gone_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise LocalError("it was killed.")

    with driver.server_at(driver.START_EPOCH_S) as (clock, _):
        monkeypatch.setattr(Valkey, "set_time", killed)

        with pytest.raises(ServerGoneError, match=r"the server went away: it was killed\."):
            clock.move(driver.START_EPOCH_S + 1)
