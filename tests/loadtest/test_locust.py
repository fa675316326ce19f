"""The same behaviour in real time."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from pathlib import Path

import psutil
import pytest
import redis

from cache.slots import slot_of
from loadtest import scenarios, virtual
from loadtest.traffic import CacheCall, Operation, Platform
from local.cluster import ValkeyCluster
from local.valkey import Valkey, free_port

ROOT = Path(__file__).parents[2]


# Locust, on a busy machine.
_PATIENT = """
from locust.main import main
from tests import patient
patient.wait_long()
main()
"""


def command(host: str, *arguments: str, how: str = "--headless", program: str = _PATIENT) -> list[str]:
    port = str(free_port())  # where a master waits for its workers: two tests must not meet
    return [
        *(sys.executable, "-c", program, "-f", "loadtest/locustfile.py", how, "--host", host),
        *("--only-summary", "--scenario", "small", "-u", "400", "-r", "400"),
        *("--master-bind-port", port, "--master-port", port),
        *arguments,
    ]


def locust(host: str, *arguments: str, how: str = "--headless") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(host, *arguments, how=how), cwd=ROOT, capture_output=True, text=True, check=False)


# Made for a test of seconds on any machine: about 20 visits a second by people who are all alike, by night too, so that
# nobody waits for the processor; and a target that stays far from the 99 % which the stationary state gives.
_EASY = """
[easy]
based_on = "small"
users = 100
sessions_per_user_day = 60_000
session_rate_shape = 1_000
night_share = 0.3333333333333333
resolution_s = 1
[easy.targets]
match = 0.6
"""


# People who do much in seconds; what they do, and in which order, depends on the seed alone.
_BUSY = """
[busy]
based_on = "small"
users = 20
days = 1
sessions_per_user_day = 20
seconds_per_page = 1
resolution_s = 1
"""
_TOLD = """
import sys
from loadtest.traffic import Platform
calls, file = Platform.calls, open({file!r}, "w", buffering=1)
def tell(platform, operation, now):
    file.write(f"{{operation.user}} {{operation.action.name}} {{operation.subject}}\\n")
    return calls(platform, operation, now)
Platform.calls = tell
"""


def test_people_do_the_same_in_real_and_in_virtual_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, told = tmp_path / "scenarios.toml", tmp_path / "told"
    file.write_text(scenarios.FILE.read_text() + _BUSY)
    calls, virtually = Platform.calls, defaultdict(list)

    def note(platform: Platform, operation: Operation, now: float) -> list[CacheCall]:
        virtually[operation.user].append([operation.action.name, str(operation.subject)])
        return calls(platform, operation, now)

    with monkeypatch.context() as recorded:
        recorded.setattr(Platform, "calls", note)
        virtual.run(scenarios.load("busy", file), seed=7)
    options = ("--scenarios", str(file), "--scenario", "busy", "--seed", "7", "--sessions-per-user-day", "60000")
    with Valkey() as server:
        program = _TOLD.format(file=str(told)) + _PATIENT
        run = subprocess.run(
            command(server.url, *options, "-u", "20", "-r", "20", "-t", "3s", program=program),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    really = defaultdict(list)
    for line in told.read_text().splitlines():
        user, *did = line.split()
        really[int(user)].append(did)
    people = really.keys() - {-1}  # the platform's own operations do not wait for anybody
    assert len(people) > 1, run.stderr
    assert {user: really[user] for user in people} == {user: virtually[user][: len(really[user])] for user in people}


def lookups(printed: str, name: str) -> int:
    found = re.search(rf"^{name} .*?([\d,]+)  (?:PASS|FAIL|UNDECIDED)", printed, re.MULTILINE)
    assert found, printed
    return int(found[1].replace(",", ""))


def test_a_cold_start_is_undecided_and_says_why() -> None:
    """Ended when scores have been looked up: on a busy machine, no number of seconds would be enough."""
    with (
        Valkey() as server,
        redis.Redis.from_url(server.url, socket_timeout=120) as client,
        client.monitor() as monitor,
        subprocess.Popen(
            command(server.url, "--sessions-per-user-day", "50000", "-u", "20", "-r", "20"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            # A lease for missing scores is asked for behind the lookup that missed them.
            assert any("lock:{match:" in seen["command"] for seen in monitor.listen())
        finally:
            process.terminate()
            said, errors = process.communicate()

    assert process.returncode == 5, said + errors
    assert "the run started cold; add --stationary-start" in said
    assert lookups(said, "match") > 0


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stationary_start_is_judged(processes: int, tmp_path: Path) -> None:
    file = tmp_path / "scenarios.toml"
    file.write_text(scenarios.FILE.read_text() + _EASY)

    with Valkey() as server:
        run = locust(
            *(server.url, "-t", "6s", "--stationary-start", *(["--processes", "2"] if processes > 1 else [])),
            *("--scenarios", str(file), "--scenario", "easy", "-u", "100", "-r", "100"),
        )

    assert "Traceback" not in run.stderr
    assert re.search(r"^match .*PASS", run.stdout, re.MULTILINE), run.stdout + run.stderr
    assert lookups(run.stdout, "session") > 0


def fetched(url: str) -> str:
    """Locust says that its page is there a moment before it is."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own server
                text: str = answer.read().decode()
                return text
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nothing answers at {url}")


def test_the_page_has_a_tab_with_hit_rates() -> None:
    with Valkey() as server:
        port = str(free_port())
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--host", server.url),
                *("--scenario", "small", "--web-host", "127.0.0.1", "--web-port", port),
            ],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr
        try:
            assert any("web interface at" in line for line in process.stderr)
            page, stats = (fetched(f"http://127.0.0.1:{port}/{path}") for path in ("", "stats/requests"))
        finally:
            process.terminate()
            process.communicate()

    assert "Hit rates" in page
    table = json.loads(stats)["extended_stats"][0]
    assert table["key"] == "hit-rates"
    assert table["data"][0] == {"time": "target", "match": "80 %", "company": "90 %", "ijp": "95 %", "session": "99 %"}


# It waits for processes that have ended, though not for long.
_BRIEF = (
    "from loadtest import locust_processes as processes\n"
    f"processes._MISSED_HEARTBEATS, processes._LAST_REPORTS_WITHIN_S = 2, 2.0\n{_PATIENT}"
)


def started(host: str, *arguments: str, processes: bool = True) -> subprocess.Popen[str]:
    """The easy scenario; master and two workers where `processes` is true."""
    port = str(free_port())
    ports = ("--master-bind-port", port, "--master-port", port, "--processes", "2")
    return subprocess.Popen(
        [
            *(sys.executable, "-c", _BRIEF, "-f", "loadtest/locustfile.py", "--host", host, "--scenario", "easy"),
            *("-u", "100", "-r", "100", *arguments, *(ports if processes else ())),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def easy(tmp_path: Path) -> tuple[str, str]:
    """Options that make the scenario known."""
    file = tmp_path / "scenarios.toml"
    file.write_text(scenarios.FILE.read_text() + _EASY)
    return "--scenarios", str(file)


def test_a_worker_that_dies_leaves_no_verdict(easy: tuple[str, str]) -> None:
    with Valkey() as server:
        run = started(server.url, *easy, "--headless", "--only-summary", "-t", "5s", "--stationary-start")
        assert run.stderr
        assert any("pawn" in line and "total users" in line for line in run.stderr)
        psutil.Process(run.pid).children()[0].kill()
        out, errors = run.communicate()

    assert run.returncode == 1, out + errors
    assert "of 2 workers answered no more before the test was over, and their share" in out
    assert re.search(r"^match .*UNDECIDED", out, re.MULTILINE)
    assert not re.search(r"^(match|ijp|company|session) .*(PASS|FAIL)", out, re.MULTILINE)


def test_a_worker_that_joins_late_leaves_no_verdict(easy: tuple[str, str]) -> None:
    """Locust moves people to it, whom it does not know to be played already. It needs no file of scenarios."""
    with Valkey() as server:
        run = started(server.url, *easy, "--headless", "--only-summary", "--stationary-start")
        assert isinstance(run.args, list)
        assert run.stderr
        assert any("pawn" in line and "total users" in line for line in run.stderr)
        port = str(run.args[-3])
        Path(easy[1]).unlink()
        late = subprocess.Popen(
            [
                *(sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py"),
                *("--worker", "--master-port", port, "--headless", "-L", "ERROR"),
            ],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert any("joined when the test had begun" in line for line in run.stderr)
        run.send_signal(signal.SIGINT)
        out, errors = run.communicate()
        _, complaints = late.communicate()

    assert run.returncode == 1, out + errors
    assert complaints == ""
    assert "PARTIAL: 1 worker joined when the test had begun, and took over work of the others." in out
    assert not re.search(r"^(match|ijp|company|session) .*(PASS|FAIL)", out, re.MULTILINE)


def test_more_users_than_the_scenario_has_are_not_judged(easy: tuple[str, str]) -> None:
    with Valkey() as server:
        run = locust(
            server.url, *easy, "--scenario", "easy", "-u", "120", "-r", "120", "-t", "1s", "--stationary-start"
        )

    assert run.returncode == 5
    assert "not judged: 120 users took part, and the scenario has 100: some were played twice" in run.stdout


def hit_rate_rows(port: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(fetched(f"http://127.0.0.1:{port}/stats/requests"))["extended_stats"][0][
        "data"
    ]
    return rows


def test_the_page_says_that_a_worker_died_and_an_interrupt_ends_it_with_the_verdict(easy: tuple[str, str]) -> None:
    port = str(free_port())
    with Valkey() as server, redis.Redis.from_url(server.url) as client:
        run = started(server.url, *easy, "--autostart", "--web-host", "127.0.0.1", "--web-port", port)
        while run.poll() is None and not client.dbsize():
            time.sleep(0.02)
        psutil.Process(run.pid).children()[0].kill()
        while run.poll() is None and not any("PARTIAL" in row["time"] for row in hit_rate_rows(port)):
            time.sleep(0.1)
        os.killpg(run.pid, signal.SIGINT)
        out, errors = run.communicate()

    assert run.returncode == 1, out + errors
    assert "of 2 workers answered no more before the test was over, and their share" in errors
    assert "PARTIAL: " in out
    assert "Traceback" not in errors


def test_another_test_of_the_page_has_its_own_host_and_counts(easy: tuple[str, str]) -> None:
    port = str(free_port())

    def swarm(host: str) -> None:
        form = {"host": host, "user_count": "100", "spawn_rate": "100", "sessions_per_user_day": "60000"}
        data = urllib.parse.urlencode(form).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/swarm", data).close()

    def stopped() -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/stop", b"").close()

    with (
        Valkey() as one,
        Valkey() as other,
        redis.Redis.from_url(one.url) as first,
        redis.Redis.from_url(other.url) as second,
    ):
        run = started(one.url, *easy, "--web-host", "127.0.0.1", "--web-port", port, processes=False)
        fetched(f"http://127.0.0.1:{port}/")
        swarm(one.url)
        while run.poll() is None and not first.dbsize():
            time.sleep(0.02)
        stopped()
        swarm("redis://127.0.0.1:1")
        while run.poll() is None and "no cache answers" not in fetched(f"http://127.0.0.1:{port}/exceptions"):
            time.sleep(0.02)
        first.flushall()
        swarm(other.url)
        while run.poll() is None and second.info("stats")["keyspace_hits"] < 100:
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        out, errors = run.communicate()

        left = first.dbsize()
        first.close()
        second.close()
    assert left == 0
    assert "loadtest: no cache answers at redis://127.0.0.1:1" in errors
    assert lookups(out, "session") > 0


def test_an_interrupt_before_the_time_limit_is_no_verdict(easy: tuple[str, str]) -> None:
    with Valkey() as server, redis.Redis.from_url(server.url) as client:
        run = started(server.url, *easy, "--headless", "-t", "1h", processes=False)
        while run.poll() is None and not client.dbsize():
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        out, errors = run.communicate()

    assert run.returncode == 1, out + errors
    assert "PARTIAL: it was interrupted before its time limit." in out
    assert "KeyboardInterrupt" not in errors


def test_a_server_that_goes_away_is_no_verdict(easy: tuple[str, str]) -> None:
    with Valkey() as server, redis.Redis.from_url(server.url) as client:
        run = started(server.url, *easy, "--headless", "-t", "5s", "--stationary-start", processes=False)
        assert run.stderr
        assert any("total users" in line for line in run.stderr)
        client.shutdown(nosave=True)
        out, errors = run.communicate()

    assert run.returncode == 1, out + errors
    assert re.search(r"PARTIAL: \d.* of the lookups were not answered by the server", out)
    assert "Traceback" not in errors


def test_a_node_is_judged_by_its_own_shard_of_a_cluster() -> None:
    with ValkeyCluster() as cluster:
        for key in map(str, range(90)):
            cluster.owner(slot_of(("SET", key))).client.set(key, "x" * 1_000_000)

        run = locust(cluster.url, "-t", "1s")

    assert "Memory is the fullest shard's" in run.stdout
    used = re.search(r"^cache.t4g.medium +2,488 MB +(\d+) MB", run.stdout, re.MULTILINE)
    assert used, run.stdout + run.stderr
    assert 30 <= int(used[1]) < 60


def test_no_server_is_one_sentence_without_the_password() -> None:
    run = locust("redis://:secret@127.0.0.1:1", "-t", "1s")

    assert run.returncode == 2
    assert "loadtest: no cache answers at redis://127.0.0.1:1" in run.stderr
    assert "Traceback" not in run.stderr
    assert "secret" not in run.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--sessions-per-user-day", "0", "sessions_per_user_day is 0.0; it must be from 0.001 to 100,000"),
        ("--seed", "-1", "--seed is -1; it must be 0 or more"),
    ],
)
def test_a_wrong_option_is_exit_code_2(option: str, value: str, said: str) -> None:
    run = locust("redis://127.0.0.1:1", "-t", "1s", option, value)

    assert run.returncode == 2
    assert said in run.stderr


def test_a_page_s_port_in_use_is_one_sentence() -> None:
    with Valkey() as server, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        run = locust(server.url, "--web-host", "127.0.0.1", "--web-port", port, "-t", "1s", how="--autostart")

    assert run.returncode == 1
    assert f"loadtest: port {port} for Locust's page: Address already in use" in run.stderr
    assert "Traceback" not in run.stderr
