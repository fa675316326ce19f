"""Rising steps of load on an open schedule."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from cache import CATALOG
from loadtest import live_report, population, reference, scenarios, stationary
from loadtest.__main__ import main
from loadtest.errors import LoadTestError
from loadtest.live import Live
from loadtest.live_result import LiveResult
from loadtest.scenarios import DAY_S
from loadtest.server import Server
from loadtest.steps import Mix, Schedule, Step, Tally, conclusion, step_of
from loadtest.traffic import Call
from loadtest.webtab import HitRates
from local.cluster import ValkeyCluster
from local.valkey import Valkey, free_port
from tests.aws import without_keys


@pytest.mark.parametrize("deadline_s", [0.1])
def test_the_stationary_state_is_whole_though_the_server_was_busy(deadline_s: float) -> None:
    assert deadline_s
    with Valkey() as server, redis.Redis.from_url(server.url) as client:
        scenario = scenarios.load("small").changed(users=20, warming="off")
        live = Live(scenario, 1, "hash", server.url, lambda _name, _ms: None)
        live.server.used_bytes()
        client.execute_command("CLIENT", "PAUSE", 1_000, "ALL")

        live.write_stationary_start()

        start_s = time.time() % DAY_S
        history = stationary.history(scenario, live.people, live.behaviour.rhythm, 1, start_s)
        written = sum(write.what == "ijp" for write in history.writes)
        assert written
        assert len(client.keys("ijp:*")) == written


def test_operations_are_due_at_fixed_times() -> None:
    schedule = Schedule([2.0, 4.0], step_s=1.0, began=100.0, pause_s=0.5)

    due = [schedule.next_due(99.0) for _ in range(7)]

    assert due == [(0, 100.0), (0, 100.5), (1, 101.5), (1, 101.75), (1, 102.0), (1, 102.25), None]


def test_what_a_step_could_not_begin_is_left_out() -> None:
    schedule = Schedule([1_000.0, 2.0], step_s=1.0, began=0.0, pause_s=0.5)
    schedule.next_due(0.0)

    assert schedule.next_due(1.2) == (1, 1.5)
    assert schedule.next_due(1.9) == (1, 2.0)


def tally_of(latencies_us: dict[str, list[int]]) -> Tally:
    tally = Tally()
    for name, values in latencies_us.items():
        for value in values:
            tally.add(0, name, value)
    return tally


def test_processes_are_added_up() -> None:
    one, other, both = (
        tally_of({"ijp.get": [100] * 60}),
        tally_of({"ijp.get": [300] * 40, "match.list": [500]}),
        Tally(),
    )
    one.cpu_s[0], other.cpu_s[0] = 0.2, 0.9
    one.hits[0], other.hits[0] = {"ijp": (50, 60)}, {"ijp": (10, 40), "match": (0, 100)}
    one.unanswered[0], other.unanswered[0] = 2, 0

    for each in (one, other):
        both.merge_packed(json.loads(json.dumps(each.packed(), default=lambda text: text.decode())))

    step = step_of(both, 0, asked=50.0, seconds=2.0, server_cpu={"a:1": 0.5})
    assert step.achieved == 50.5
    assert step.operations["ijp.get"]["count"] == 100
    assert step.operations["ijp.get"]["p50"] == pytest.approx(100, rel=0.01)
    assert step.operations["ijp.get"]["p95"] == pytest.approx(300, rel=0.01)
    assert step.generator_cpu == 0.45
    assert step.hits == {"ijp": (60, 100), "match": (0, 100)}
    assert step.unanswered == 0.01


def test_a_step_of_which_nobody_has_told_has_no_share_of_anything() -> None:
    step = step_of(Tally(), 0, asked=50.0, seconds=2.0, server_cpu={})

    assert (step.achieved, step.unanswered, step.hits, step.generator_cpu) == (0, 0, {}, None)


def step(
    asked: float,
    achieved: float,
    p99_us: int = 1_000,
    generator_cpu: float = 0.1,
    unanswered: float = 0.0,
    server_cpu: float = 0.2,
) -> Step:
    latencies = {"p50": 100, "p95": 500, "p99": p99_us, "p99.9": p99_us}
    operations = {"ijp.get": {"count": 100, **latencies}}
    nodes = {"127.0.0.1:1": 0.1, "127.0.0.1:2": server_cpu}
    return Step(asked, achieved, latencies, operations, generator_cpu, nodes, {"ijp": (90, 100)}, unanswered)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([step(100, 100), step(200, 200)], "Held: 200 operations a second. Nothing broke"),
        (
            [step(100, 100), step(200, 150)],
            "Held: 100 operations a second. SHORTFALL at 200 a second: 150 were achieved.",
        ),
        ([step(100, 100, 60_000)], "No step was held. SHORTFALL at 100 a second: p99 was 60.0 ms, over 50 ms."),
        ([step(100, 50, generator_cpu=0.97)], "The load generator's own processor was full"),
        ([step(100, 50, server_cpu=0.97)], "The server's processor was full: 127.0.0.1:2."),
        ([step(100, 100, unanswered=0.5)], "SHORTFALL at 100 a second: 50.0 % of the lookups were not answered."),
    ],
)
def test_a_shortfall_is_said(steps: list[Step], said: str) -> None:
    assert said in conclusion(steps, limit_ms=50)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "PARTIAL: interrupted, before a step was over. Nothing is known."),
        ([step(100, 100)], "PARTIAL: interrupted. Held: 100 operations a second. What lies beyond is not known."),
        ([step(100, 100), step(200, 150)], "Held: 100 operations a second. SHORTFALL at 200 a second"),
    ],
)
def test_a_run_that_broke_off_does_not_say_that_nothing_broke(steps: list[Step], said: str) -> None:
    assert conclusion(steps, limit_ms=50, stopped_because="interrupted").startswith(said)


def live_result(*steps: Step) -> LiveResult:
    return LiveResult(
        at="2026-11-24T12:00:00+00:00",
        host="redis://127.0.0.1:6379",
        server="Valkey 9.1.2",
        scenario="small",
        seed=1,
        layout="hash",
        connections=50,
        generators=1,
        step_s=15.0,
        limit_ms=50.0,
        targets={"ijp": 0.95},
        versions={"python": "3.11"},
        steps=list(steps),
    )


def test_the_file_of_a_run_can_be_read_again(tmp_path: Path) -> None:
    result = live_result(step(100, 100), step(200, 150))
    file = tmp_path / "live.json"

    result.write(file)

    again = LiveResult.read(file)
    assert again.conclusion == result.conclusion
    assert live_report.html(again) == live_report.html(result)
    assert json.loads(file.read_text())["hits"] == {"ijp": [180, 200]}


def test_the_page_shows_what_was_held() -> None:
    page = live_report.html(live_result(step(100, 100), step(200, 150)))

    assert "SHORTFALL at 200 a second: 150 were achieved." in page
    assert "<details open><summary>At 100 a second" in page
    assert "90.00 %" in page
    assert "<svg" not in live_report.html(live_result())


def test_the_mix_is_that_of_the_scenario() -> None:
    scenario = scenarios.load("small")
    mix = Mix(scenario, population.draw(scenario, 1), seed=1)

    calls = [mix.next() for _ in range(4_000)]

    lists = [call for call in calls if call.call is Call.MATCH_SCORES]
    assert all(len(call.jobs) == scenario.list_length for call in lists)
    assert len(lists) / len(calls) == pytest.approx(0.15, abs=0.03)


def test_a_cluster_is_found_out_and_its_nodes_are_told_apart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with ValkeyCluster() as cluster:
        main(
            [
                *("live", "--host", cluster.url, "--scenario", "small", "--steps", "20", "--step-seconds", "2"),
                *("--connections", "4", "--report", str(tmp_path)),
            ]
        )
        found = reference.compare(cluster.url, round_s=0.1)
        keys = [node.client.dbsize() for node in cluster.primaries]
        names = {f"127.0.0.1:{node.port}" for node in cluster.primaries}

    assert "cluster of 3 shards at redis://127.0.0.1" in capfd.readouterr().out
    step = json.loads((tmp_path / "live.json").read_text())["steps"][0]
    assert set(step["server_cpu"]) == names
    assert step["unanswered"] < 0.5  # all of them, if it were taken for one server
    page = (tmp_path / "live.html").read_text()
    assert page.count("<svg") == 3
    assert [name for name in names if name not in page] == []
    assert all(keys)
    assert found.raw_gets > 0
    assert found.library > 0


def test_a_server_that_goes_away_is_a_shortfall(tmp_path: Path) -> None:
    """The library lets pages go on without it, and quickly: that must not look like a rate that was reached."""
    with Valkey() as server, redis.Redis.from_url(server.url) as client:
        run = subprocess.Popen(
            [
                *(sys.executable, "-m", "loadtest", "live", "--host", server.url, "--scenario", "small"),
                *("--steps", "20,20,20", "--step-seconds", "4", "--connections", "4", "--limit-ms", "60000"),
                *("--report", str(tmp_path)),
            ],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        while run.poll() is None and not client.dbsize():
            time.sleep(0.02)
        client.shutdown(nosave=True)
        out, _ = run.communicate()

    assert "SHORTFALL at 20 a second" in out
    assert json.loads((tmp_path / "live.json").read_text())["steps"][-1]["unanswered"] > 0


@pytest.mark.parametrize("to_all", [True, False], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt_leaves_a_partial_report(tmp_path: Path, to_all: bool) -> None:
    """Ctrl-C reaches every process of a terminal, SIGTERM the command alone."""
    with Valkey() as server, redis.Redis.from_url(server.url) as client:
        run = subprocess.Popen(
            [
                *(sys.executable, "-m", "loadtest", "live", "--host", server.url, "--scenario", "small"),
                *("--steps", "20", "--step-seconds", "600", "--connections", "4", "--report", str(tmp_path)),
                *("--processes", "2" if to_all else "1"),
            ],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while run.poll() is None and not client.dbsize():
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGINT) if to_all else run.terminate()
        out, errors = run.communicate()

    assert run.returncode == 1, out + errors
    assert "PARTIAL: interrupted, before a step was over." in out
    assert "loadtest: interrupted; the report is partial." in errors
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors
    document = json.loads((tmp_path / "live.json").read_text())
    assert (document["is_partial"], document["steps"]) == (True, [])
    assert "PARTIAL: interrupted" in (tmp_path / "live.html").read_text()


# Each operation takes a while. Says of each judged step how many of later ones had been made by then.
_TELLING = """
import gevent
from loadtest import locust_steps
from loadtest.locust_steps import *
call = locust_steps.Live.call
def slow(self, what):
    gevent.sleep(0.25)
    call(self, what)
locust_steps.Live.call = slow
judge = locust_steps.step_of
def telling(tally, number, *rest):
    print("too early:", sum(step > number for step, _ in tally.latencies), flush=True)
    return judge(tally, number, *rest)
locust_steps.step_of = telling
"""


def test_workers_tell_of_a_step_before_the_next_begins_and_one_that_joins_late_ends_the_run(tmp_path: Path) -> None:
    """What is due at the end of a step and answered behind it counts.

    Locust gives a newcomer connections of the others, who then cannot do what is asked of them.
    """
    (tmp_path / "telling.py").write_text(_TELLING)
    port = str(free_port())
    locust = [sys.executable, "-m", "locust", "--master-port", port]
    with Valkey() as server:
        run = subprocess.Popen(
            [
                *(*locust, "-f", str(tmp_path / "telling.py"), "--headless", "--only-summary", "--host", server.url),
                *("-u", "16", "-r", "16", "--processes", "2", "--master-bind-port", port, "--scenario", "small"),
                *("--steps", ",".join(["20"] * 60), "--step-seconds", "1", "--limit-ms", "60000"),
            ],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert run.stdout
        told = [run.stdout.readline() for _ in range(3)]
        late = subprocess.Popen([*locust, "-f", "loadtest/locust_steps.py", "--worker"], cwd=Path(__file__).parents[2])
        out, _ = run.communicate()
        late.kill()  # it ended with its master, if there was one
        late.wait()

    assert told == ["too early: 0\n"] * 3
    assert run.returncode == 1
    assert "PARTIAL: 1 worker joined when the test had begun, and took over work of the others. Held: 20" in out


def test_workers_that_do_not_come_are_waited_for_and_given_up_by_an_interrupt(tmp_path: Path) -> None:
    with Valkey() as server:
        run = subprocess.Popen(
            [
                *(sys.executable, "-m", "loadtest", "live", "--host", server.url, "--scenario", "small"),
                *("--workers", "2", "--report", str(tmp_path)),
            ],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert run.stderr
        first = run.stderr.readline()
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate()

    assert first == "Waiting for 2 workers on port 5557 …\n"
    assert run.returncode == 1
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_another_master_s_port_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Valkey() as server, socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr("loadtest.commands.live._PORT", port)
        assert main(["live", "--host", server.url, "--workers", "2", "--report", str(tmp_path)]) == 1

    assert f"loadtest: port {port} for the workers: Address already in use." in capsys.readouterr().err


def test_a_user_without_the_commands_of_the_library_is_told_so() -> None:
    with Valkey() as server, redis.Redis.from_url(server.url) as client:
        client.acl_setuser("narrow", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-cluster"])

        with pytest.raises(LoadTestError, match="may not send CLUSTER SLOTS") as raised:
            Server(server.url.replace("redis://", "redis://narrow:secret@"))

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_rate_beyond_the_server_is_exit_code_5(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], processes: str
) -> None:
    """The steps before it are shown, with the hits of all processes."""
    with Valkey() as server:
        code = main(
            [
                *("live", "--host", server.url, "--scenario", "small", "--steps", "1000000", "--step-seconds", "2"),
                *("--connections", "10", "--processes", processes, "--report", str(tmp_path)),
            ]
        )

    out = capfd.readouterr().out
    document = json.loads((tmp_path / "live.json").read_text())
    assert code == 5, out
    assert "SHORTFALL at 1,000,000 a second" in out
    assert document["steps"][0]["asked"] == 1_000_000
    assert document["steps"][0]["achieved"] > 0
    assert document["hits"]["session"][1] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "fast"], "--steps is 'fast'; write rates over 0"),
        (["--steps", "100,0"], "write rates over 0"),
        (["--steps", "inf"], "write rates over 0"),
        (["--step-seconds", "inf"], "--step-seconds is inf; it must be finite"),
        (["--processes", "3", "--connections", "2"], "--connections is 2; each of 3 load generators needs one"),
        (["--step-seconds", "0"], "--step-seconds is 0.0; it must be finite and over 0"),
        (["--processes", "2", "--workers", "2"], "--workers and --processes exclude each other"),
        (["--scenario", "expect"], "there is no scenario 'expect'"),
    ],
)
def test_wrong_options_are_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["live", "--host", "redis://127.0.0.1:1", "--report", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_no_server_is_exit_code_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["live", "--host", "redis://127.0.0.1:1", "--scenario", "small", "--report", str(tmp_path)]) == 2
    assert "no cache answers at redis://127.0.0.1:1" in capfd.readouterr().err


def test_a_url_that_a_password_cuts_in_two_is_exit_code_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["live", "--host", "redis://u:12?secret@127.0.0.1", "--scenario", "small", "--report", str(tmp_path)]) == 2
    )
    error = capfd.readouterr().err
    assert "the URL cannot be read" in error
    assert "secret" not in error


@pytest.mark.parametrize(
    ("iam", "said"),
    [
        ("app", "--iam is 'app'; write USER:CACHE:REGION"),
        ("app:cache:us-east-1", "--iam: Unable to locate credentials. Sign in at AWS"),
    ],
)
def test_a_wrong_sign_in_is_exit_code_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, iam: str, said: str
) -> None:
    without_keys(monkeypatch)
    host = ["--host", "rediss://127.0.0.1:1"]

    assert main(["live", *host, "--scenario", "small", "--report", str(tmp_path), "--iam", iam]) == 2
    assert said in capfd.readouterr().err


def test_batches_beat_single_gets_over_raw_sockets() -> None:
    """Three times and more on a quiet machine; here only that batches win, whatever else it does."""
    with Valkey() as server:
        found = reference.compare(server.url, round_s=0.2)
        left = redis.Redis.from_url(server.url)
        keys = left.dbsize()
        left.close()

    assert found.ratio > 1
    assert "times the" in str(found)
    assert keys <= 1  # the jobs' generations


@pytest.mark.parametrize("host", ["rediss://127.0.0.1:1", "redis://:secret@127.0.0.1:1", "redis://127.0.0.1:1/3"])
def test_a_reference_needs_a_plain_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str) -> None:
    assert main(["live", "--host", host, "--reference", "--report", str(tmp_path)]) == 2
    assert "--reference needs a server without TLS, password and database number" in capsys.readouterr().err


def test_the_tab_shows_targets_and_stretches() -> None:
    tab = HitRates(CATALOG)
    tab.sample({"match": (50, 100)}, "10:00:00")
    tab.sample({"match": (140, 200)}, "10:00:05")

    target, whole, newest, oldest = tab.rows()

    assert target["match"] == "80 %"
    assert whole["match"] == "70.00\xa0% of 200"
    assert (newest["time"], newest["match"]) == ("10:00:05", "90.00\xa0% of 100")
    assert (oldest["match"], oldest["ijp"]) == ("50.00\xa0% of 100", "–")
