"""Ports of this machine that a run needs for itself."""

from __future__ import annotations

import os
import socket

from loadtest.errors import LoadTestError


def check_free(port: int, of: str, instead: str, *, host: str = "") -> None:
    """Raises LoadTestError where somebody listens already. `of` says what for, `instead` what to do then."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise LoadTestError(f"port {port} for {of}: {os.strerror(error.errno or 0)}. {instead}") from None
