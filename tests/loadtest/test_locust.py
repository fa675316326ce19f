"""The same behaviour in real time."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import redis

from cache.slots import slot_of
from loadtest import scenarios
from local.cluster import ValkeyCluster
from local.valkey import Valkey, free_port

ROOT = Path(__file__).parents[2]


def command(host: str, *arguments: str, how: str = "--headless") -> list[str]:
    return [
        *(sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", how, "--host", host),
        *("--only-summary", "--scenario", "small", "-u", "400", "-r", "400"),
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
            command(server.url, "-t", "5m", "--sessions-per-user-day", "50000", "-u", "20", "-r", "20"),
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


def test_a_wrong_scenario_is_exit_code_2() -> None:
    run = locust("redis://127.0.0.1:1", "-t", "1s", "--sessions-per-user-day", "-1")

    assert run.returncode == 2
    assert "sessions_per_user_day is -1.0; it must be from 0.001 to 100,000" in run.stderr


def test_a_page_s_port_in_use_is_one_sentence() -> None:
    with Valkey() as server, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        run = locust(server.url, "--web-host", "127.0.0.1", "--web-port", port, "-t", "1s", how="--autostart")

    assert run.returncode == 1
    assert f"loadtest: port {port} for Locust's page: Address already in use" in run.stderr
    assert "Traceback" not in run.stderr
