"""Judges an ElastiCache IAM token: what the service itself checks before it lets a user in.

Written from the signing specification, without botocore, so that it judges what botocore signs:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
Unlike AWS it asks no policy whether the key may `elasticache:Connect`, and no STS about a session token.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_GREATEST_LIFE_S: Final = 900
# How far the signer's clock may be ahead.
_CLOCK_SKEW_S: Final = 300


@dataclass(frozen=True)
class IamAccess:
    """Who may come in by IAM. `cache_name` is the replication group's id, or with `serverless` the cache's name.

    `access_keys` maps key ids to secrets, `users` the users that authenticate by IAM to their passwords on the local
    server.
    """

    cache_name: str
    region: str
    access_keys: Mapping[str, str] = field(repr=False)
    users: Mapping[str, str] = field(repr=False)
    serverless: bool = False


def is_valid(token: str, user: str, access: IamAccess, now: float) -> bool:
    """Whether `token` lets `user` in at `now` (seconds since the epoch). Never raises for a bad token."""
    try:
        url = urlsplit(f"//{token}")
        query = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=True))
        key_id, *scope = query.pop("X-Amz-Credential").split("/")
        signature = query.pop("X-Amz-Signature")
        timestamp = query["X-Amz-Date"]
        life_s = int(query["X-Amz-Expires"])
        signed_at = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except (KeyError, ValueError):
        return False
    asked = {
        "Action": "connect",
        "User": user,
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Date": timestamp,
        "X-Amz-Expires": str(life_s),
        "X-Amz-SignedHeaders": "host",
    }
    if access.serverless:
        asked["ResourceType"] = "ServerlessCache"
    if "X-Amz-Security-Token" in query:
        asked["X-Amz-Security-Token"] = query["X-Amz-Security-Token"]
    secret = access.access_keys.get(key_id)
    if (
        secret is None
        or query != asked
        or (url.netloc, url.path) != (access.cache_name, "/")
        or scope != [timestamp[:8], access.region, "elasticache", "aws4_request"]
        or not 0 < life_s <= _GREATEST_LIFE_S
        or not signed_at - _CLOCK_SKEW_S <= now < signed_at + life_s
    ):
        return False
    asked["X-Amz-Credential"] = "/".join((key_id, *scope))
    return hmac.compare_digest(signature.encode(), _signature(secret, access.cache_name, asked, scope))


def _signature(secret: str, host: str, query: Mapping[str, str], scope: list[str]) -> bytes:
    canonical_query = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items())
    )
    no_payload = hashlib.sha256(b"").hexdigest()
    canonical = f"GET\n/\n{canonical_query}\nhost:{host}\n\nhost\n{no_payload}"
    to_sign = "\n".join(
        (_ALGORITHM, query["X-Amz-Date"], "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest())
    )
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex().encode()
