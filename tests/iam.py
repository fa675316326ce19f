"""A cache with IAM in front of a real server, for the tests of the front and of the library."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import botocore.session
import redis

from cache.access import acl_rules
from cache.elasticache import IamCredentials
from local.iam_token import IamAccess
from local.tls_front import TlsFront
from local.valkey import Valkey, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "app"
PASSWORD = "of-the-local-server"  # noqa: S105
OPERATOR = "operator"
OPERATORS_PASSWORD = "operators-own"  # noqa: S105
ACCESS = IamAccess("prod-cache", "us-east-1", {"AKIDEXAMPLE": "key/with+signs"}, {USER: PASSWORD})


def session(signing_key: str = "key/with+signs", token: str | None = None) -> botocore.session.Session:
    made = botocore.session.Session()
    made.set_credentials("AKIDEXAMPLE", signing_key, token)
    return made


def credentials(**changes: Any) -> IamCredentials:
    given: dict[str, Any] = {"user": USER, "cache_name": "prod-cache", "region": "us-east-1", "session": session()}
    return IamCredentials(**{**given, **changes})


class LocalCache:
    """A server with users, of whom `USER` comes in by IAM, and its front."""

    def __init__(self, server: Valkey, front: TlsFront, port: int) -> None:
        self.server = server
        self.front = front
        self.port = port
        self.url = front.url(port)
        self.admin_url = f"redis://{OPERATOR}:{OPERATORS_PASSWORD}@127.0.0.1:{server.port}"

    def client(self, **options: Any) -> redis.Redis:
        """A plain client of the front, by default with the right token."""
        if "username" not in options:
            options.setdefault("credential_provider", credentials())
        return redis.Redis.from_url(self.url, **options)


@contextlib.contextmanager
def local_cache() -> Iterator[LocalCache]:
    port = free_port()
    with Valkey() as server, TlsFront({port: server.port}, ACCESS) as front:
        with redis.Redis.from_url(server.url) as client:
            for user in (USER, "roleferry-prod-app"):
                rules = (*acl_rules(), "+ping", "+acl|whoami")
                client.execute_command("ACL", "SETUSER", user, "on", f">{PASSWORD}", *rules)
            client.execute_command("ACL", "SETUSER", OPERATOR, "on", f">{OPERATORS_PASSWORD}", "~*", "&*", "+@all")
            client.execute_command("ACL", "SETUSER", "default", "off")
        yield LocalCache(server, front, port)
