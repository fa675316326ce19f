"""For FastAPI, Starlette and other ASGI applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cache.metrics.report import HIT, NONE, status_of
from cache.stats import counted_request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from cache.metrics.report import RequestTally

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]

UNMATCHED: Final = "unmatched"


class AsgiCacheMetrics:
    """`app.add_middleware(AsgiCacheMetrics, requests=publisher.requests)`.

    Sets `X-Cache-Hit`, and counts each request in `requests` by status and route template (`/jobs/{job_id}`).
    """

    def __init__(self, app: Application, requests: RequestTally | None = None) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with counted_request() as counts:
            is_counted = False

            def count() -> str:
                nonlocal is_counted
                is_counted = True
                status = status_of(counts)
                if self._requests is not None:
                    self._requests.add(status, route_template(scope))
                return status

            async def send_marked(message: MutableMapping[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    status = count()
                    if status != NONE:
                        header = (b"x-cache-hit", b"1" if status == HIT else b"")
                        message["headers"] = [*message.get("headers", ()), header]
                await send(message)

            try:
                await self._app(scope, receive, send_marked)
            finally:
                if not is_counted:  # the application raised before it answered
                    count()


def route_template(scope: Scope) -> str:
    """The path as the application declared it, `unmatched` where no route matched: never the path that was asked for.

    A mount is part of it where it has no parameters of its own.
    """
    route = scope.get("route")
    path = getattr(route, "path", None)
    if not isinstance(path, str):
        return UNMATCHED
    own = getattr(route, "param_convertors", {})
    mount = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
    return mount + path if scope.get("path_params", {}).keys() <= own.keys() else path
