"""The stand-in itself; what it answers is tested through the client."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local.clearbit import Behaviour, ClearbitServer

if TYPE_CHECKING:
    import pytest

_RESET = struct.pack("ii", 1, 0)


def test_a_client_that_goes_away_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    is_asked, is_gone = threading.Event(), threading.Event()
    serving = []

    class Slow(ClearbitServer):
        def answer(self, path: str, authorization: str | None) -> Behaviour:
            serving.append(threading.current_thread())
            is_asked.set()
            assert is_gone.wait(60)
            return super().answer(path, authorization)

    with Slow() as server:
        address = urlsplit(server.url)
        client = socket.create_connection((address.hostname or "", address.port or 0))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)  # the server's next write fails
        client.sendall(b"GET /v2/companies/find?domain=example.com HTTP/1.1\r\nAuthorization: Bearer sk_test\r\n\r\n")
        assert is_asked.wait(60)
        client.close()
        is_gone.set()
        serving[0].join(60)

    assert capsys.readouterr().err == ""
