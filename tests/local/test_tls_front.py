"""The front judges tokens as ElastiCache does, and otherwise nobody notices it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.cluster import RedisCluster
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from local.errors import LocalError
from local.iam_token import is_valid
from local.tls_front import TlsFront
from local.valkey import HOST, Valkey, free_port
from tests.iam import (
    ACCESS,
    OPERATOR,
    OPERATORS_PASSWORD,
    PASSWORD,
    USER,
    LocalCache,
    credentials,
    local_cache,
    session,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PARENT = """
import sys
from local.tls_front import TlsFront
with TlsFront({int(sys.argv[1]): 1}) as front:
    print(front.ca_file, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def local() -> Iterator[LocalCache]:
    with local_cache() as running:
        yield running


def operator(local: LocalCache, **options: Any) -> redis.Redis:
    return local.client(username=OPERATOR, password=OPERATORS_PASSWORD, **options)


@contextlib.contextmanager
def tls(local: LocalCache) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(local.front.ca_file))
    with (
        socket.create_connection((HOST, local.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        yield secure


def command(*words: str) -> bytes:
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words)


def lines(connection: ssl.SSLSocket, count: int) -> list[bytes]:
    with connection.makefile("rb") as replies:
        return [replies.readline().strip() for _ in range(count)]


# -- tokens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("token", [None, "of/temporary+keys=="])
def test_a_right_token_lets_its_user_in(local: LocalCache, protocol: int, token: str | None) -> None:
    provider = credentials(session=session(token=token))

    with local.client(credential_provider=provider, protocol=protocol) as client:
        assert client.execute_command("ACL", "WHOAMI") == USER.encode()


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    "wrong",
    [
        {"cache_name": "other-cache"},
        {"region": "eu-west-1"},
        {"serverless": True},
        {"session": session("other")},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_token_is_refused_as_a_wrong_password(local: LocalCache, wrong: dict[str, Any], protocol: int) -> None:
    with (
        local.client(credential_provider=credentials(**wrong), protocol=protocol) as client,
        pytest.raises(AuthenticationError, match="invalid username-password pair"),
    ):
        client.ping()


def test_another_user_s_token_and_the_server_s_own_password_are_refused(local: LocalCache) -> None:
    _, token = credentials(user="somebody").get_credentials()

    for password in (token, PASSWORD, "", "\x00\xff"):
        with local.client(username=USER, password=password) as client, pytest.raises(AuthenticationError):
            client.ping()


def test_a_token_is_good_for_15_minutes_and_for_the_serverless_cache_that_it_names() -> None:
    _, token = credentials().get_credentials()
    _, serverless = credentials(serverless=True).get_credentials()
    now = time.time()

    assert is_valid(token, USER, ACCESS, now)
    assert is_valid(token, USER, ACCESS, now + 890)
    assert not is_valid(token, USER, ACCESS, now + 900)
    assert not is_valid(token, USER, ACCESS, now - 400)
    assert is_valid(serverless, USER, replace(ACCESS, serverless=True), now)
    assert not is_valid(token, USER, replace(ACCESS, serverless=True), now)
    assert not is_valid(token.replace("Expires=900", "Expires=9000"), USER, ACCESS, now)
    assert not is_valid(token.replace("Action=connect", "Action=other"), USER, ACCESS, now)


def test_no_secret_is_in_a_repr() -> None:
    provider = credentials(session=session("key/with+signs", "session-token"))
    _, token = provider.get_credentials()
    shown = f"{provider!r} {ACCESS!r}"

    assert [secret for secret in (token, "key/with", PASSWORD, "session-token") if secret in shown] == []


def test_who_may_come_in_changes_while_it_runs() -> None:
    with local_cache() as local:
        local.front.admit(replace(ACCESS, cache_name="renamed"))

        with local.client() as client, pytest.raises(AuthenticationError):
            client.ping()
        with local.client(credential_provider=credentials(cache_name="renamed")) as client:
            assert client.ping()


# -- twelve hours ----------------------------------------------------------------------------------------------


def test_a_connection_is_cut_12_hours_after_its_last_token(monkeypatch: pytest.MonkeyPatch) -> None:
    hour = 3600
    with local_cache() as local, tls(local) as left, tls(local) as prolonged, tls(local) as by_password:
        token = credentials().get_credentials()
        for connection in (left, prolonged):
            connection.sendall(command("AUTH", *token))
            assert lines(connection, 1) == [b"+OK"]
        by_password.sendall(command("AUTH", OPERATOR, OPERATORS_PASSWORD))
        assert lines(by_password, 1) == [b"+OK"]
        local.front.advance(11 * hour)
        prolonged.sendall(command("AUTH", *_token_at(time.time() + 11 * hour, monkeypatch)))
        assert lines(prolonged, 1) == [b"+OK"]

        local.front.advance(1 * hour)

        with contextlib.suppress(ConnectionResetError):
            assert left.recv(1) == b""
        for connection in (prolonged, by_password):
            connection.sendall(command("PING"))
            assert lines(connection, 1) == [b"+PONG"]


def _token_at(now: float, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    import datetime

    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    with monkeypatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda: moment)
        return credentials().get_credentials()


# -- everything else passes as it is -----------------------------------------------------------------------------


def test_a_refusal_comes_in_its_order_in_a_pipeline(local: LocalCache) -> None:
    _, token = credentials().get_credentials()
    with tls(local) as connection:
        connection.sendall(
            command("PING") + command("AUTH", USER, "no token") + command("ping") + command("auth", USER, token)
        )
        inline = f"PING\r\nauth {OPERATOR} {OPERATORS_PASSWORD}\r\n".encode()
        connection.sendall(inline + command("ACL", "WHOAMI"))

        refused, wrong, still_refused, *rest = lines(connection, 8)

    assert refused.startswith(b"-NOAUTH")
    assert wrong.startswith(b"-WRONGPASS")
    assert still_refused.startswith(b"-NOAUTH")
    assert rest == [b"+OK", b"+PONG", b"+OK", b"$8", OPERATOR.encode()]


def test_a_command_may_come_byte_by_byte(local: LocalCache) -> None:
    user, token = credentials().get_credentials()
    with tls(local) as connection:
        connection.do_handshake()
        for byte in command("HELLO", "3", "SETNAME", "auth", "AUTH", user, token) + command("PING"):
            connection.sendall(bytes([byte]))
        first = lines(connection, 1)

    assert first[0].startswith(b"%")


def test_bytes_that_look_like_a_command_stay_as_they_are(local: LocalCache) -> None:
    looks_like_one = command("AUTH", USER, "password") + os.urandom(3_000_000)
    with operator(local) as client:
        client.set("auth", looks_like_one)
        with client.pipeline(transaction=False) as pipeline:
            for number in range(5_000):
                pipeline.set(f"hello:{number}", number)
            pipeline.get("auth")
            replies = pipeline.execute()

    assert replies == [True] * 5_000 + [looks_like_one]


def test_pushes_pass(local: LocalCache) -> None:
    with tls(local) as connection, operator(local) as other:
        connection.sendall(command("HELLO", "3", "AUTH", OPERATOR, OPERATORS_PASSWORD))
        connection.sendall(command("CLIENT", "TRACKING", "on", "BCAST", "PREFIX", "pushed:"))
        with connection.makefile("rb") as replies:
            while replies.readline() != b"+OK\r\n":
                pass
            other.set("pushed:1", "value")

            assert [replies.readline() for _ in range(5)] == [
                *(b">2\r\n", b"$10\r\n", b"invalidate\r\n", b"*1\r\n", b"$8\r\n")
            ]


def test_what_is_no_command_ends_the_connection(local: LocalCache) -> None:
    with tls(local) as connection:
        connection.sendall(b"*2\r\n$-9\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_a_server_that_is_gone_ends_the_connection() -> None:
    with local_cache() as local, tls(local) as connection:
        connection.sendall(command("PING"))
        assert lines(connection, 1)[0].startswith(b"-NOAUTH")

        local.server.stop()

        assert connection.recv(1) == b""
        with operator(local) as client, pytest.raises(RedisConnectionError):
            client.ping()


# -- the process -------------------------------------------------------------------------------------------------


def test_a_client_that_does_not_know_the_authority_stays_out(local: LocalCache) -> None:
    with (
        socket.create_connection((HOST, local.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed certificate|unable to get local issuer"),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


def test_it_listens_on_this_machine_only(local: LocalCache) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", local.port))


def test_its_keys_are_its_owner_s_and_the_authority_can_be_kept(tmp_path: Path) -> None:
    port = free_port()
    for _ in range(2):
        with TlsFront({port: 1}, folder=tmp_path) as front:
            files = [*tmp_path.iterdir(), *front._folder.iterdir()]
            assert {path.name for path in files if path.stat().st_mode & 0o077} <= {"control"}
            assert front._folder.stat().st_mode & 0o077 == 0
            authority = front.ca_file.read_bytes()
        assert not front._folder.exists()
        assert (tmp_path / "ca.pem").read_bytes() == authority


def test_a_port_in_use_is_named() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(LocalError, match=f"did not start on {port}: .*address already in use"), TlsFront({port: 1}):
            pass


def test_it_ends_with_its_parent() -> None:
    port = free_port()
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline()

    with socket.create_connection((HOST, port)) as connection:
        os.kill(parent.pid, signal.SIGKILL)
        parent.communicate()

        # Blocks until the front has closed its end.
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


# -- cluster -----------------------------------------------------------------------------------------------------


def test_the_nodes_of_a_cluster_announce_their_fronts() -> None:
    with contextlib.ExitStack() as stack:
        ports = [free_port() for _ in range(2)]
        nodes = [stack.enter_context(_cluster_node(port)) for port in ports]
        clients = [stack.enter_context(redis.Redis(port=node.port)) for node in nodes]
        _join(*clients)
        front = stack.enter_context(TlsFront(dict(zip(ports, (node.port for node in nodes), strict=True)), ACCESS))

        give_up_at = time.monotonic() + 60
        while any(_announced(client) != set(ports) for client in clients) and time.monotonic() < give_up_at:
            pass  # what a node announces reaches the other with one of its next pings
        cluster = stack.enter_context(RedisCluster.from_url(front.url(ports[0]), credential_provider=credentials()))
        for number in range(50):
            cluster.set(f"key:{number}", number)

        assert [_announced(client) for client in clients] == [set(ports)] * 2
        assert {node.port for node in cluster.get_nodes()} == set(ports)
        assert sum(int(client.dbsize()) for client in clients) == 50
        with pytest.raises(redis.exceptions.MovedError, match=f"127.0.0.1:{ports[1]}"):
            clients[0].get("foo")  # of slot 12182


def _announced(node: Any) -> set[int]:
    return {announced[1] for _, _, announced in node.execute_command("CLUSTER", "SLOTS")}


def _cluster_node(front_port: int) -> Valkey:
    return Valkey(
        *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
        *("--cluster-announce-client-port", str(front_port)),
    )


def _join(first: Any, second: Any) -> None:
    for node, slots in ((first, (0, 8191)), (second, (8192, 16383))):
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
        node.execute_command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all")
    port = second.get_connection_kwargs()["port"]
    first.execute_command("CLUSTER", "MEET", HOST, port, second.config_get("cluster-port")["cluster-port"])
    while any(node.cluster("INFO")["cluster_state"] != "ok" for node in (first, second)):
        pass  # each question takes a moment; the test's time limit ends it
