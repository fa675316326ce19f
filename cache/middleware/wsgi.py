"""For Flask and other WSGI applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cache.metrics.report import HIT, NONE, status_of
from cache.middleware.asgi import UNMATCHED
from cache.stats import counted_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from cache.metrics.report import RequestTally


def flask_rule(environ: WSGIEnvironment) -> str | None:
    """The rule that matched in Flask, as `/jobs/<int:job_id>`."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return None if rule is None else str(rule.rule)


class WsgiCacheMetrics:
    """`app.wsgi_app = WsgiCacheMetrics(app.wsgi_app, requests=publisher.requests)`.

    As `AsgiCacheMetrics`. `endpoint(environ)` gives the template of the route that matched, or None; Flask's by
    default. Lookups count until the application returns.
    """

    def __init__(
        self,
        app: WSGIApplication,
        requests: RequestTally | None = None,
        *,
        endpoint: Callable[[WSGIEnvironment], str | None] = flask_rule,
    ) -> None:
        self._app = app
        self._requests = requests
        self._endpoint = endpoint

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with counted_request() as counts:
            is_counted = False

            def count() -> str:
                nonlocal is_counted
                outcome = status_of(counts)
                if self._requests is not None and not is_counted:  # an error's response starts a second time
                    self._requests.add(outcome, self._endpoint(environ) or UNMATCHED)
                is_counted = True
                return outcome

            def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
                outcome = count()
                if outcome != NONE:
                    headers = [*headers, ("X-Cache-Hit", "1" if outcome == HIT else "")]
                return start_response(status, headers, *error)

            try:
                return self._app(environ, start)
            except Exception:
                count()
                raise
