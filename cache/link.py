"""The way to the server for threads: connections of its own, one deadline for an operation, no retries."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redis import DriverInfo
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from cache.gate import Gate
from cache.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cache.breaker import Breaker
    from cache.commands import Command, Reply, Unavailable
    from cache.gate import Operation
    from cache.pending import Pending

# One round trip inside a region takes about 1 ms; a page must not hang on a cache that takes a hundred.
DEADLINE_S: Final = 0.1
CONNECT_TIMEOUT_S: Final = 1.0
MAX_CONNECTIONS: Final = 50
# What a client's own pool or cluster has put among the options of its connections.
_NOT_TAKEN_OVER: Final = frozenset(
    (
        *("himport_registry", "maint_notifications_pool_handler", "orig_host_address"),
        *("oss_cluster_maint_notifications_handler", "retry_on_timeout"),
    )
)


def connection_options(client_options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a client's connections, with those replaced that a cache cannot live with."""
    options = {name: option for name, option in client_options.items() if name not in _NOT_TAKEN_OVER}
    if options.get("credential_provider") and (options.get("username") or options.get("password")):
        raise ValueError("The client has a password and a credential_provider; give one of the two.")
    if options.keys().isdisjoint(("driver_info", "lib_name", "lib_version")):
        # Else redis-py reads its version from the package's files for each connection: half a millisecond.
        options["driver_info"] = DriverInfo()
    return options | {
        "decode_responses": False,
        # hiredis reads a map of RESP3 four times as slowly as the same words in a list: 18 us for 100 scores.
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
        "socket_timeout": DEADLINE_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "orig_socket_timeout": DEADLINE_S,
        "orig_socket_connect_timeout": CONNECT_TIMEOUT_S,
        # A handshake of Redis' own cloud; Valkey refuses it, and an ACL would have to allow it.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "client_name": options.get("client_name") or "roleferry-cache",
    }


class Link:
    """Sends commands to one server. Safe to share between threads."""

    def __init__(
        self,
        connection_class: Callable[..., Any],
        options: Mapping[str, Any],
        *,
        breaker: Breaker,
        pending: Pending,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._gate = Gate(breaker, pending, on_failure=self.close)
        self._pool = Pool(partial(connection_class, **options), max_connections, self._gate.is_safe_to_reconnect)

    def reset(self) -> None:
        """After a fork: the connections are the parent's."""
        self._pool.reset()

    def close(self) -> None:
        self._pool.clear()

    def send(self, batch: Sequence[Command], operation: Operation) -> list[Reply] | Unavailable:
        """The replies, within what is left of the operation's deadline."""
        sending = self._gate.sending(batch, operation)
        try:
            asked = next(sending)
            while True:
                try:
                    answers = self._exchange(asked, operation)
                except BaseException as error:  # noqa: BLE001 - the gate decides what it means
                    asked = sending.throw(error)
                else:
                    asked = sending.send(answers)
        except StopIteration as done:
            answer: list[Reply] | Unavailable = done.value
            return answer

    def _exchange(self, batch: Sequence[Command], operation: Operation) -> list[Reply]:
        began = time.monotonic()
        give_up_at = began + DEADLINE_S - operation.spent_s
        wire = self._pool.take(give_up_at - began)
        try:
            wire.send(batch, give_up_at - began)
            answers = wire.receive(len(batch), give_up_at)
        except BaseException:
            self._pool.drop(wire)
            raise
        self._pool.give(wire)
        operation.spent_s += time.monotonic() - began
        return answers
