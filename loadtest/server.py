"""The server or cluster that a live run loads: its nodes, and what they tell of themselves. Knows no Locust."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis

from cache import slots
from cache.client import checked_url
from loadtest.errors import LoadTestError, ScenarioError

if TYPE_CHECKING:
    from cache.slots import Address

_CONNECT_S = 2
_ANSWER_S = 5


class Server:
    """The server at a URL, or the cluster that it is a node or the configuration endpoint of: the server says which.

    Raises ScenarioError if nobody answers there, LoadTestError if this user may not ask for the slots.
    """

    def __init__(self, url: str, credentials: redis.CredentialProvider | None = None) -> None:
        self.name = without_password(url)
        self._client: Any
        try:
            self._pool = redis.ConnectionPool.from_url(
                checked_url(url),
                credential_provider=credentials,
                socket_timeout=_ANSWER_S,
                socket_connect_timeout=_CONNECT_S,
            )
            self._client = redis.Redis(connection_pool=self._pool)
            self._client.ping()
        except (ValueError, redis.RedisError) as error:
            raise ScenarioError(f"no cache answers at {self.name}: {str(error).rstrip('.')}.") from None
        self._primaries: list[Address | None] = []  # by slot
        self._nodes: dict[Address, redis.Redis] = {}
        self.is_cluster = self._find_nodes()
        if self.is_cluster and not self._nodes:
            raise LoadTestError(f"{self.name} is in cluster mode and serves no slots; wait until the cluster is up.")

    def primary_of(self, key: str) -> Address | None:
        """Which node of the cluster serves a key; None outside cluster mode."""
        return self._primaries[slots.slot_of(("GET", key))] if self.is_cluster else None

    def cpu_s(self) -> dict[str, float]:
        """Processor time of each primary since its start; empty where this user may not ask for it."""
        return {
            name: info["used_cpu_sys"] + info["used_cpu_user"]
            for name, info in self._info("cpu").items()
            if "used_cpu_user" in info
        }

    def used_bytes(self) -> int | None:
        """Memory in use at the fullest primary, since each fills a node; None where this user may not ask for it."""
        used = [int(info["used_memory"]) for info in self._info("memory").values() if "used_memory" in info]
        return max(used, default=None)

    def version(self) -> str:
        """Engine and version, and in cluster mode the number of shards."""
        info = next(iter(self._info("server").values()), {})
        told = next((f"{name} {info[key]}" for name, key in _VERSIONS if key in info), "a server that does not tell")
        return f"{told}, cluster of {len(self._nodes)} shards" if self.is_cluster else told

    def _info(self, section: str) -> dict[str, dict[str, Any]]:
        """What each primary tells, by its name; a node that does not answer is left out."""
        if self.is_cluster:
            with suppress(redis.RedisError):  # the seed is away: those that are known are asked
                self._find_nodes()
        told: dict[str, dict[str, Any]] = {}
        for name, client in self._clients().items():
            with suppress(redis.RedisError):  # the application's user may not ask
                told[name] = client.info(section)
        return told

    def _clients(self) -> dict[str, redis.Redis]:
        if not self.is_cluster:
            return {self.name: self._client}
        return {f"{host}:{port}": client for (host, port), client in sorted(self._nodes.items())}

    def _find_nodes(self) -> bool:
        """Whether it is in cluster mode; notes the primaries."""
        try:
            reply = self._client.execute_command(*slots.ASK_FOR_SLOTS)
        except redis.exceptions.NoPermissionError:
            raise LoadTestError(
                f"the user at {self.name} may not send CLUSTER SLOTS, which tells cluster mode; grant it what the "
                "library sends (cache.access.acl_rules)."
            ) from None
        except redis.ResponseError:  # cluster support disabled, or a server that has no such command
            return False
        options = self._pool.connection_kwargs
        seed = options.get("host", "localhost"), int(options.get("port", 6379))
        self._primaries = slots.primaries(reply, seed)
        found = {address for address in self._primaries if address is not None}
        self._nodes = {address: self._nodes.get(address) or self._client_of(address) for address in found}
        return True

    def _client_of(self, address: Address) -> redis.Redis:
        options = {**self._pool.connection_kwargs, "host": address[0], "port": address[1]}
        return redis.Redis(
            connection_pool=redis.ConnectionPool(connection_class=self._pool.connection_class, **options)
        )


_VERSIONS = (("Valkey", "valkey_version"), ("Redis", "redis_version"))


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
