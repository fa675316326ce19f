"""The library at a cache with TLS and IAM, as ElastiCache is."""

from __future__ import annotations

import contextlib
import datetime
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import redis

from cache import CacheService
from local.iam_token import IamAccess
from tests.behaviour.services import make_service
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
    from collections.abc import Callable, Iterator

    from cache.elasticache import IamCredentials

HOUR = 3600


@pytest.fixture(scope="module")
def local() -> Iterator[LocalCache]:
    with local_cache() as running:
        yield running


class Hours:
    """The clock of the credentials, the signer, the pools and the front: all move together."""

    def __init__(self, local: LocalCache, monkeypatch: pytest.MonkeyPatch) -> None:
        self._local = local
        self._moved_s = 0.0
        monkeypatch.setattr("botocore.auth.get_current_datetime", self._utc)
        for module in ("cache.pool", "cache.async_link"):
            monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=lambda: time.monotonic() + self._moved_s))

    def now(self) -> float:
        return time.time() + self._moved_s

    def advance(self, seconds: float) -> None:
        self._moved_s += seconds
        self._local.front.advance(seconds)

    def _utc(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.now(), datetime.UTC)


def until(call: Callable[[], Any]) -> Any:
    """What `call` returns once it returns something: the first calls may miss, while TLS is being set up."""
    give_up_at = time.monotonic() + 60
    while not (answer := call()) and time.monotonic() < give_up_at:
        pass
    return answer


def test_the_right_token_reads_and_writes(local: LocalCache, shell: str) -> None:
    with contextlib.closing(make_service(shell, local.url, credential_provider=credentials())) as service:
        assert until(partial(service.start_session, 1, {"name": "Ada"}))
        assert until(partial(service.get_session, 1)) == {"name": "Ada"}


def test_user_and_password_in_the_url(local: LocalCache, shell: str) -> None:
    url = local.url.replace("rediss://", f"rediss://{OPERATOR}:{OPERATORS_PASSWORD}@")
    with contextlib.closing(make_service(shell, url)) as service:
        assert until(partial(service.start_session, 2, "Grace"))
        assert until(partial(service.get_session, 2)) == "Grace"


@pytest.mark.parametrize(
    "wrong",
    [
        {"user": "somebody"},
        {"cache_name": "other-cache"},
        {"region": "eu-west-1"},
        {"session": session("other")},
        {"session": SimpleNamespace(get_credentials=lambda: None)},
    ],
    ids=["user", "cache_name", "region", "signature", "no keys"],
)
def test_a_wrong_token_is_a_miss(local: LocalCache, shell: str, wrong: dict[str, Any]) -> None:
    _assert_that_all_misses(local.url, shell, credentials(**wrong))


def test_an_expired_token_is_a_miss(local: LocalCache, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=16)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: long_ago)

    _assert_that_all_misses(local.url, shell, credentials())


def test_an_unknown_authority_is_a_miss(local: LocalCache, shell: str) -> None:
    _assert_that_all_misses(local.url.partition("?")[0], shell, credentials())


def _assert_that_all_misses(url: str, shell: str, provider: IamCredentials) -> None:
    with contextlib.closing(make_service(shell, url, credential_provider=provider)) as service:
        assert service.get_company_enrichment(101, lambda: "computed") == "computed"
        assert not service.start_session(3, "Ada")
        assert service.get_session(3) is None
        assert not service.invalidate_company(101)

        assert service.stats.counts("company").misses["unavailable"] == 1


def test_a_token_is_renewed_before_its_15_minutes_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with local_cache() as local:
        clock = Hours(local, monkeypatch)
        provider = credentials(clock=clock)
        tokens = []
        for _ in range(20):
            tokens.append(provider.get_credentials()[1])
            with local.client(credential_provider=provider) as client:
                assert client.execute_command("ACL", "WHOAMI") == USER.encode()
            clock.advance(4 * 60)

        assert len(set(tokens)) == 7  # each is kept for 10 minutes, which is three askings


def test_no_connection_is_cut_by_the_12_hours(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with local_cache() as local, redis.Redis.from_url(local.admin_url) as admin:
        clock = Hours(local, monkeypatch)
        provider = credentials(clock=clock)
        with contextlib.closing(make_service(shell, local.url, credential_provider=provider)) as service:
            first_seen: dict[str, int] = {}
            for hour in range(26):
                assert until(partial(service.start_session, 1, f"at {hour}"))
                assert until(partial(service.get_session, 1)) == f"at {hour}"
                connections = {client["id"] for client in admin.client_list() if client["user"] == USER}
                ages = [hour - first_seen.setdefault(connection, hour) for connection in connections]
                assert max(ages) < 12
                clock.advance(HOUR)

            assert len(first_seen) >= 3


def test_the_page_s_snippet_connects(local: LocalCache, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/cache.md").read_text()
    snippet = next(part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "IamCredentials(" in part)
    for name, value in (("ACCESS_KEY_ID", "AKIDEXAMPLE"), ("SECRET_ACCESS_KEY", "key/with+signs")):
        monkeypatch.setenv(f"AWS_{name}", value)
    users = {"roleferry-prod-app": PASSWORD}
    local.front.admit(IamAccess("roleferry-prod-cache", "us-east-1", ACCESS.access_keys, users))
    names: dict[str, Any] = {"CacheService": CacheService}

    exec(re.sub(r"rediss://[^\"]+", local.url, snippet), names)  # noqa: S102 - our own page

    assert until(partial(names["service"].start_session, 1, "Ada"))
    names["service"].close()


def test_a_password_beside_a_provider_is_refused() -> None:
    with pytest.raises(ValueError, match="give one of the two"):
        CacheService.from_url("rediss://app:secret@127.0.0.1:1", credential_provider=credentials())


def test_botocore_is_imported_when_a_token_is_signed() -> None:
    program = """
import sys
import cache, cache.elasticache
credentials = cache.elasticache.IamCredentials("app", "prod-cache", "us-east-1")
before = "botocore" in sys.modules
credentials.get_credentials()
print(before, "botocore" in sys.modules)
"""
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
    run = subprocess.run([sys.executable, "-c", program], env=keys, capture_output=True, text=True, check=True)

    assert run.stdout == "False True\n"


def test_without_botocore_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ImportError, match=r"pip install 'roleferry-cache\[elasticache\]'"):
        credentials()
