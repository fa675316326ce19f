"""A stand-in for Clearbit's company API, on 127.0.0.1: the same contract, made-up companies.

Every domain is a company, the same at every start, except those that say otherwise: `unknown-….` is 404, `pending-….`
202 at the first request and then a company. `behave` makes the next requests fail in a way of one's choice.
Differences from the real one: one key is as good as another, no account, no webhook, no streaming.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from local.valkey import HOST

_PATH: Final = "/v2/companies/find"
_SECTORS: Final = ("Software", "Logistics", "Health Care", "Banking", "Energy", "Education")
_TAGS: Final = 40


@dataclass(frozen=True, slots=True)
class Behaviour:
    """An answer other than the usual one. `delay_s` before it; `status` 0 closes the connection instead."""

    status: int = 200
    retry_after: str | None = None
    body: bytes | None = None
    content_type: str = "application/json"
    delay_s: float = 0.0


class ClearbitServer:
    """`with ClearbitServer() as server:`; `server.url` is the address.

    `requests` counts them by domain, `connections` those that were made.
    """

    def __init__(self, *, latency_s: float = 0.0) -> None:
        """`latency_s` is added to every answer; the real API takes 0.1 to 1 s."""
        self.latency_s = latency_s

    def __enter__(self) -> Self:
        self.requests: Counter[str] = Counter()
        self.connections = 0
        self._next: deque[Behaviour] = deque()
        self._http = ThreadingHTTPServer((HOST, 0), _Handler)
        self._http.daemon_threads = True
        self._http.stand_in = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._http.server_address[1]}"

    def behave(self, *answers: Behaviour) -> None:
        """The next requests are answered like this, one each."""
        self._next.extend(answers)

    def answer(self, path: str, authorization: str | None) -> Behaviour:
        parts = urlsplit(path)
        domain = parse_qs(parts.query).get("domain", [""])[0]
        self.requests[domain] += 1
        if self._next:
            chosen = self._next.popleft()
            if chosen.body is not None or chosen.status != 200:
                return chosen
            time.sleep(chosen.delay_s)
        time.sleep(self.latency_s)
        if authorization is None or not authorization.removeprefix("Bearer "):
            return _failure(401, "auth_invalid", "Invalid API key provided.")
        if parts.path != _PATH:
            return _failure(404, "unknown_route", "No such route.")
        if "." not in domain:
            return _failure(422, "params_invalid", "Invalid domain.")
        if domain.startswith("unknown-"):
            return _failure(404, "unknown_record", "Unknown company.")
        if domain.startswith("pending-") and self.requests[domain] == 1:
            return Behaviour(202, body=b"{}")
        return Behaviour(body=json.dumps(company(domain)).encode())


def company(domain: str) -> dict[str, Any]:
    """About 5 KB, in the shape of Clearbit's company object."""
    digest = hashlib.sha256(domain.encode()).digest()
    name = domain.partition(".")[0].replace("-", " ").title()
    return {
        "id": digest.hex()[:32],
        "name": name,
        "domain": domain,
        "category": {"sector": _SECTORS[digest[0] % len(_SECTORS)]},
        "description": f"{name} makes what its customers need. " * 100,
        "foundedYear": 1950 + digest[1] % 75,
        "metrics": {"employees": 1 + digest[2] * digest[3], "raised": None},
        "geo": {"city": "Berlin", "country": "Germany", "lat": 52.52, "lng": 13.4},
        "tags": [f"tag {number}" for number in range(digest[4] % _TAGS)],
        "phone": None,
    }


def _failure(status: int, kind: str, message: str) -> Behaviour:
    return Behaviour(status, body=json.dumps({"error": {"type": kind, "message": message}}).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        self.server.stand_in.connections += 1  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError):  # the client has gone away
            super().handle()

    def do_GET(self) -> None:
        stand_in: ClearbitServer = self.server.stand_in  # type: ignore[attr-defined]
        answer = stand_in.answer(self.path, self.headers.get("Authorization"))
        if answer.status == 0:
            self.close_connection = True
            return
        time.sleep(answer.delay_s)
        body = answer.body or b""
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        if answer.retry_after is not None:
            self.send_header("Retry-After", answer.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...
