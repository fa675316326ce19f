"""cache_report on a real primary with a real replica, and on a real cluster."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from cache import CacheService
from infra import access
from local.cluster import ValkeyCluster
from local.valkey import HOST, Valkey
from scripts import cache_report, common
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_767_571_200


@pytest.fixture(scope="module")
def primary() -> Iterator[Valkey]:
    with Valkey("--slowlog-log-slower-than", "0", "--repl-diskless-sync-delay", "0") as server:
        fill(server)
        yield server


@pytest.fixture(scope="module")
def replica(primary: Valkey) -> Iterator[Valkey]:
    with Valkey("--replicaof", HOST, str(primary.port)) as server:
        with redis.Redis.from_url(server.socket_url) as client:
            until(lambda: client.info("replication")["master_link_status"] == "up", timeout_s=60)
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    """As in a stack the operator may do what its rules say, and nobody else gets in by that name."""
    with ValkeyCluster(shards=2, replicas=1) as running:
        for node in running.nodes:
            client: Any = node.client
            client.execute_command("ACL", "SETUSER", "operator", ">secret", *access.OPERATOR_RULES.split())
        with redis.RedisCluster.from_url(running.url) as everywhere:
            for user in range(200):
                everywhere.set(f"user:{user}:session", "x" * 100)
        for primary in running.primaries:
            assert primary.client.wait(1, 50_000) == 1
        yield running


def fill(server: Valkey) -> None:
    service = CacheService.from_url(server.socket_url)
    for user in range(300):
        service.match_scores(user, range(50), lambda missing: {job: {"score": 87.25} for job in missing})
    for company in range(100):
        service.get_company_enrichment(company, lambda: {"name": "Example GmbH", "about": "x" * 900})
    service.start_session(1, {"token": "do-not-show"})
    service.close()


def commands_of(client: redis.Redis) -> dict[str, int]:
    stats: dict[str, Any] = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}


def test_sizes_by_type_are_near_the_truth(replica: Valkey) -> None:
    with redis.Redis.from_url(replica.socket_url) as client:
        report = cache_report.take(client, sample=2_000, now=NOW)
        truth = {
            kind: sum(client.memory_usage(key, samples=0) or 0 for key in client.scan_iter(f"{kind}:*"))
            for kind in ("match", "company")
        }

    sizes = {size.kind: size for size in report.sizes}
    assert report.role == "replica"
    # Five standard errors of a sample of 2,000.
    for kind, count in (("match", 300), ("company", 100)):
        assert abs(sizes[kind].entries - count) < 2.6 * sizes[kind].margin
        assert sizes[kind].total_bytes == pytest.approx(truth[kind], rel=0.25)
    assert {"match", "company", "ijp", "session"} <= sizes.keys()


def test_keyspace_is_never_walked(replica: Valkey) -> None:
    with redis.Redis.from_url(replica.socket_url) as client:
        before = commands_of(client)
        cache_report.take(client, sample=500, now=NOW)
        after = commands_of(client)

    sent = {name: calls - before.get(name, 0) for name, calls in after.items() if calls != before.get(name, 0)}
    assert sent["randomkey"] == 500
    assert not sent.keys() & {"scan", "keys", "get", "hgetall", "hget", "mget"}


def test_primary_with_replicas_is_left_alone(
    primary: Valkey, replica: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cache_report.main(["--url", primary.url]) == 2

    assert "the reader endpoint" in capsys.readouterr().err


def test_cluster_is_reported_as_the_sum_of_its_shards_each_by_a_replica(
    cluster: ValkeyCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_report, "_TIMEOUT_S", 60)
    before = [commands_of(primary.client).get("randomkey", 0) for primary in cluster.primaries]

    # Whichever node it is told of: here a primary, and a replica of the other shard.
    for node in (cluster.primaries[0], cluster.replicas[1][0]):
        assert cache_report.main(["--url", f"redis://operator:secret@{HOST}:{node.port}", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        sizes = {size["kind"]: size for size in report["sizes"]}
        assert (report["shards"], report["role"], report["entries"]) == (2, "replica", 200)
        assert (sizes["session"]["entries"], sizes["session"]["margin"]) == (200, 0)
        assert sizes["session"]["sampled"] == 2_000
        assert sizes["session"]["total_bytes"] == pytest.approx(200 * sizes["session"]["mean_bytes"], rel=0.01)

    assert [commands_of(primary.client).get("randomkey", 0) for primary in cluster.primaries] == before


def test_shards_without_replicas_are_asked_themselves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_report, "_TIMEOUT_S", 60)
    with ValkeyCluster(shards=1) as alone:
        alone.primaries[0].client.set("ijp:1", "x")

        assert cache_report.main(["--url", alone.url]) == 0

    assert "A primary: 1 keys" in capsys.readouterr().out


def test_sum_of_shards_adds_what_each_counted() -> None:
    shard = cache_report.Report(
        taken_at=NOW, role="replica", shards=1, entries=10, used_bytes=100, maxmemory_bytes=1_000, evicted=2,
        expired=3, uptime_s=60, sizes=[cache_report.Size("match", 5, 6, 3, 10.0, 60)],
        slow=[cache_report.Slow(NOW - 5, 12_000, "HGETALL")],
    )  # fmt: skip
    other = replace(
        shard,
        role="primary",
        uptime_s=90,
        sizes=[cache_report.Size("match", 5, 2, 4, 30.0, 60), cache_report.Size("leases", 1, 1, 1, 50.0, 50)],
        slow=[cache_report.Slow(NOW - 1, 11_000, "GET")],
    )

    both = cache_report.summed([shard, other])

    assert (both.role, both.shards, both.entries, both.used_bytes) == ("primary or replica", 2, 20, 200)
    assert (both.maxmemory_bytes, both.evicted, both.expired, both.uptime_s) == (2_000, 4, 6, 90)
    # Errors of independent samples add up by their squares.
    assert both.sizes == [
        cache_report.Size("match", 10, 8, 5, 15.0, 120),
        cache_report.Size("leases", 1, 1, 1, 50.0, 50),
    ]
    assert [entry.command for entry in both.slow or []] == ["GET", "HGETALL"]
    assert cache_report.summed([replace(shard, slow=None)]).slow is None
    # Of one shard it is not known, so of all it is not.
    assert cache_report.summed([shard, replace(other, evicted=None)]).evicted is None


def test_slow_log_names_commands_without_arguments(primary: Valkey) -> None:
    with redis.Redis.from_url(primary.socket_url) as client:
        client.set("user:9:session", "do-not-show")
        slow = cache_report._slow(client)

    assert slow
    assert "SET" in {entry.command for entry in slow}
    assert "do-not-show" not in str(slow)


def test_user_that_may_not_read_the_slow_log_gets_the_rest(replica: Valkey) -> None:
    with redis.Redis.from_url(replica.socket_url) as admin:
        admin.acl_setuser(
            "operator",
            enabled=True,
            nopass=True,
            keys=["*"],
            categories=["-@all", "+@read", "-@dangerous"],
            commands=["+dbsize", "+info", "+ping", "+hello", "+client|setinfo"],
        )
        with redis.Redis(unix_socket_path=str(replica.unix_socket), username="operator", password="any") as client:  # noqa: S106
            report = cache_report.take(client, sample=100, now=NOW)
        admin.acl_deluser("operator")

    assert report.slow is None
    assert report.entries > 400


def test_growth_is_told_from_an_earlier_report(
    replica: Valkey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with redis.Redis.from_url(replica.socket_url) as client:
        report = cache_report.take(client, sample=100, now=NOW)
    earlier = asdict(report)
    earlier["taken_at"] -= 2 * 86_400
    earlier["sizes"] = [size | {"total_bytes": size["total_bytes"] - 2_000} for size in earlier["sizes"]]
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps(earlier))

    assert set(cache_report.grown(report, cache_report.read_earlier(file)).values()) == {1_000.0}
    with pytest.raises(common.UsageError, match="before this one"):
        cache_report.grown(report, cache_report.Earlier(NOW, {}))
    assert cache_report.main(["--url", replica.url, "--since", str(file), "--sample", "100"]) == 0
    assert "growth a day" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"taken_at": 1, "sizes": [{"kind": "match"}]}', "\xff"])
def test_file_that_is_no_earlier_report_is_refused_before_anybody_is_asked(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "earlier.json").write_bytes(text.encode("latin-1"))

    assert cache_report.main(["--url", "redis://127.0.0.1:1", "--since", str(tmp_path / "earlier.json")]) == 2

    assert "must be a file that --json wrote" in capsys.readouterr().err


def test_replica_does_not_say_that_nothing_was_evicted(replica: Valkey, capsys: pytest.CaptureFixture[str]) -> None:
    """Its primary evicts; the replica is told to delete, and counts nothing."""
    assert cache_report.main(["--url", replica.url, "--sample", "100"]) == 0
    assert "a primary counts what was evicted" in capsys.readouterr().out
    assert cache_report.main(["--url", replica.url, "--sample", "100", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["evicted"], report["expired"]) == (None, None)


def test_figures_are_whole_where_it_is_narrow(
    replica: Valkey, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")

    assert cache_report.main(["--url", replica.url, "--sample", "100"]) == 0

    assert "…" not in capsys.readouterr().out.partition("Slow")[0]


@pytest.mark.parametrize("url", ["redis://:secret#1@127.0.0.1:1", "redis://u:12#secret@127.0.0.1:1", "secret"])
def test_url_that_cannot_be_read_is_not_shown(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cache_report.main(["--url", url]) == 2

    told = capsys.readouterr().err
    assert "the URL of the cache cannot be used" in told
    assert "secret" not in told


def test_options_of_the_url_are_taken_or_refused(primary: Valkey, capsys: pytest.CaptureFixture[str]) -> None:
    with Valkey() as alone, redis.Redis.from_url(alone.url) as client:
        client.set("user:1:session", "x")
        assert cache_report.main(["--url", f"{alone.url}?decode_responses=true"]) == 0
    assert cache_report.main(["--url", f"{primary.url}?ssl_ca=/ca.pem"]) == 2
    assert "'ssl_ca'" in capsys.readouterr().err


def test_a_sign_in_that_is_refused_is_told(primary: Valkey, capsys: pytest.CaptureFixture[str]) -> None:
    assert cache_report.main(["--url", f"redis://nobody:do-not-show@{HOST}:{primary.port}"]) == 1

    told = capsys.readouterr().err
    assert told.startswith("cache_report: the cache refused the sign-in: ")
    assert "AWS" not in told
    assert "do-not-show" not in told


def test_empty_server_has_a_report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Valkey() as empty:
        monkeypatch.setenv("CACHE_URL", empty.url)

        assert cache_report.main(["--json"]) == 0

    assert json.loads(capsys.readouterr().out)["entries"] == 0


def test_wrong_usage_and_an_unreachable_server_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CACHE_URL", raising=False)
    assert cache_report.main([]) == 2
    assert "give --outputs, --url" in capsys.readouterr().err
    assert cache_report.main(["--url", "http://x"]) == 2
    assert "the URL of the cache cannot be used" in capsys.readouterr().err
    assert cache_report.main(["--url", f"unix://{tmp_path}/nobody"]) == 1
    told = capsys.readouterr().err
    assert "could not be asked" in told
    assert not told.rstrip().endswith("..")
    assert cache_report.main(["--outputs", str(tmp_path / "none.json")]) == 2
    assert f"pulumi stack output --json --stack <stack> > {tmp_path}/none.json" in capsys.readouterr().err
    assert cache_report.main(["--url", "redis://127.0.0.1:1", "--since", str(tmp_path / "none.json")]) == 2
    assert "--since" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cache_report.main(["--url", "redis://127.0.0.1:1", "--outputs", "outputs.json"])
    assert "not allowed with" in capsys.readouterr().err


def test_outputs_sign_the_operator_in_at_the_reader(tmp_path: Path) -> None:
    file = tmp_path / "outputs.json"
    outputs = {
        "reader_endpoint": "replica.example",
        "cache_endpoint": "master.example",
        "port": 6379,
        "region": "us-east-1",
        "replication_group_id": "roleferry-prod-cache",
        "operator_user_name": "roleferry-prod-operator",
    }
    file.write_text(json.dumps(outputs))

    connection = cache_report._connection(cache_report._parser().parse_args(["--outputs", str(file)]))

    assert connection["connection_class"] is redis.SSLConnection
    assert (connection["host"], connection["port"]) == ("replica.example", 6379)
    assert connection["credential_provider"].user == "roleferry-prod-operator"
    file.write_text(json.dumps({"port": 6379}))
    assert cache_report.main(["--outputs", str(file)]) == 2
