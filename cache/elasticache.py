"""IAM authentication at ElastiCache, as a redis-py credential provider. Needs the extra `elasticache`.

    credentials = IamCredentials("roleferry-prod-app", "roleferry-prod-cache", "us-east-1")
    cache = CacheService.from_url("rediss://roleferry-prod-cache.….amazonaws.com:6379", credential_provider=credentials)

What the password is: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth-iam.html
"""

from __future__ import annotations

import asyncio
import importlib.util
from dataclasses import dataclass, field
from typing import Any, Final

from redis.credentials import CredentialProvider

from cache.clock import Clock, SystemClock

# ElastiCache takes no longer-lived ones.
TOKEN_LIFE_S: Final = 900
# A token is worth no more than the keys that signed it. botocore hands out none that expire within 10 minutes.
RENEW_AFTER_S: Final = 600


@dataclass
class IamCredentials(CredentialProvider):
    """User and password for a cache whose user authenticates by IAM. Works for sync and asyncio clients.

    `user` is the user's id, which with IAM is its name as well; `cache_name` the replication group's id, or with
    `serverless=True` the serverless cache's name. `session` is a botocore session, by default a new one: the keys then
    come from where they always do (environment, task role, instance profile). TLS is a must: use `rediss://`.

    The password is a signed token, made when a connection needs it and kept for 10 of its 15 minutes. Raises
    ImportError if botocore is not installed.
    """

    user: str
    cache_name: str
    region: str
    serverless: bool = False
    session: Any = field(default=None, repr=False)
    clock: Clock = field(default_factory=SystemClock, repr=False)
    _signed: tuple[float, str] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if importlib.util.find_spec("botocore") is None:
            raise ImportError("IamCredentials needs botocore. Install it: pip install 'roleferry-cache[elasticache]'")

    def get_credentials(self) -> tuple[str, str]:
        """(user, token). Raises what botocore raises where there are no keys to sign with."""
        # No lock: it would be held for ever in a child forked at that moment, and of two tokens either will do.
        now, signed = self.clock.now(), self._signed
        if signed is None or not 0 <= now - signed[0] < RENEW_AFTER_S:
            signed = self._signed = now, self._sign()
        return self.user, signed[1]

    async def get_credentials_async(self) -> tuple[str, str]:
        """As `get_credentials`; in a thread, since botocore may have to ask for the keys."""
        return await asyncio.to_thread(self.get_credentials)

    def _sign(self) -> str:
        # Here, so that whoever does not use it does not wait for its import.
        import botocore.session
        from botocore.auth import SigV4QueryAuth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import NoCredentialsError

        if self.session is None:
            self.session = botocore.session.Session()
        keys = self.session.get_credentials()
        if keys is None:
            raise NoCredentialsError
        query = {"Action": "connect", "User": self.user}
        if self.serverless:
            query["ResourceType"] = "ServerlessCache"
        request = AWSRequest("GET", f"http://{self.cache_name.lower()}/", params=query)
        SigV4QueryAuth(keys.get_frozen_credentials(), "elasticache", self.region, TOKEN_LIFE_S).add_auth(request)
        return str(request.url).removeprefix("http://")
