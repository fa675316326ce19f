"""The access strings and parameters on a real server: it knows every rule, and lets a user do just what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from cache import CacheService
from cache.layouts import MAX_SCORES_PER_USER
from cache.warming import Warmer
from infra import access, parameters
from local.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.infra.stack import Declared


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with Valkey() as running:
        yield running


@pytest.fixture
def administrator(server: Valkey) -> Iterator[Any]:
    client = redis.Redis.from_url(server.url, decode_responses=True)
    yield client
    client.flushall()
    client.close()


def as_user(server: Valkey, administrator: Any, rules: str) -> Any:
    administrator.execute_command("ACL", "SETUSER", "tester", "reset", "nopass", *rules.split())
    return redis.Redis.from_url(server.url, username="tester", password="any")  # noqa: S106


def user(declared: Declared, name: str) -> str:
    return str(declared.one("aws:elasticache/user:User", declared.settings.names.of(name)).inputs["accessString"])


def test_application_runs_the_library(server: Valkey, administrator: Any, prod: Declared) -> None:
    service = CacheService(as_user(server, administrator, user(prod, "app")))

    assert service.match_scores(1, [2, 3], lambda missing: {job: {"score": job} for job in missing}) == {
        2: {"score": 2},
        3: {"score": 3},
    }
    assert service.get_match_score(1, 2) == {"score": 2}
    assert service.invalidate_user_matches(1)
    assert service.get_match_score(1, 2) is None


@pytest.mark.parametrize("command", [("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("GET", "report:7")])
def test_application_may_do_no_more(
    command: tuple[str, ...], server: Valkey, administrator: Any, prod: Declared
) -> None:
    client = as_user(server, administrator, user(prod, "app"))

    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)


def test_operator_reads_and_changes_nothing(server: Valkey, administrator: Any, prod: Declared) -> None:
    administrator.set("ijp:1", "x")
    client = as_user(server, administrator, user(prod, "operator"))

    assert client.get("ijp:1") == b"x"
    assert client.info("memory")
    for command in (("SET", "ijp:1", "y"), ("DEL", "ijp:1"), ("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*")):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)


def test_load_test_loads_measures_and_empties(server: Valkey, administrator: Any, stacks: dict[str, Declared]) -> None:
    client = as_user(server, administrator, user(stacks["scale-up"], "loadtest"))
    service = CacheService(client)

    assert service.update_ijp(1, {"titles": ["engineer"]})
    assert service.get_ijp(1, dict) == {"titles": ["engineer"]}
    assert client.info("memory")
    assert client.flushall()
    assert administrator.dbsize() == 0
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.config_get("*")


@pytest.mark.parametrize("command", access.APPLICATION_COMMANDS)
def test_server_knows_every_command(command: str, administrator: Any) -> None:
    assert administrator.execute_command("COMMAND", "INFO", command.lower())[command.lower()] is not None


def test_server_takes_every_parameter_that_it_has(administrator: Any) -> None:
    """`reserved-memory-percent` is ElastiCache's own, and `cluster-enabled` cannot change in a running server."""
    values = parameters.parameters(cluster_mode=False, overrides={})
    del values["reserved-memory-percent"]

    for name, value in values.items():
        assert administrator.config_set(name, value), name


def test_fewest_entries_that_may_be_set_keep_a_full_hash_packed(server: Valkey, administrator: Any) -> None:
    service = CacheService.from_url(server.url)
    default = administrator.config_get("hash-max-listpack-entries")
    administrator.config_set("hash-max-listpack-entries", parameters.LISTPACK_MINIMUM["hash-max-listpack-entries"])

    Warmer(service.flows).run(service, [1], range(100), lambda due: {1: {job: {"score": job} for job in due[1]}})
    service.set_match_scores(1, {job: {"score": 1} for job in range(100, 600)})

    assert administrator.hlen("match:1") == MAX_SCORES_PER_USER + 2
    assert administrator.object("encoding", "match:1") == "listpack"
    administrator.config_set("hash-max-listpack-entries", default["hash-max-listpack-entries"])
    service.close()


def test_server_knows_every_parameter_of_the_table_and_every_word_for_it(administrator: Any) -> None:
    """Its own values are allowed, and it takes what else is; only with jemalloc it could defragment."""
    elasticaches_own = {"reserved-memory-percent", "client-output-buffer-limit-normal-hard-limit"}
    names = {*parameters.MODIFIABLE, *parameters.REFUSED} - elasticaches_own
    own = {name: administrator.config_get(name)[name] for name in sorted(names)}

    for name in sorted(names - parameters.REFUSED.keys()):
        assert parameters.problem(name, own[name]) is None, name
        allowed = parameters.MODIFIABLE[name]
        if isinstance(allowed, parameters.Words) and name != "activedefrag":
            for word in (*allowed.words, own[name]):
                assert administrator.config_set(name, word), (name, word)
