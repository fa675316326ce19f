"""TLS and IAM in front of a local Valkey, as ElastiCache has them.

    port = free_port()
    access = IamAccess("prod-cache", "us-east-1", {"AKIDEXAMPLE": "secret"}, users={"app": "the server's password"})
    with Valkey() as server, TlsFront({port: server.port}, access) as front:
        client = redis.Redis.from_url(front.url(port), credential_provider=IamCredentials("app", "prod-cache", …))

The front listens on 127.0.0.1 only. It takes TLS 1.2 and 1.3 under a certificate authority of its own, judges IAM
tokens (signature, user, cache name, region, 15 minutes), gives the local server that user's password instead, and cuts
a connection 12 hours after its last token. Users who are not in `access.users`, and everything else, pass as they are.

A cluster has one front for each node. The nodes announce the fronts' ports to clients, and their own to each other:
`Valkey("--cluster-enabled", "yes", "--cluster-announce-client-port", str(front_port))`.

Differences from ElastiCache: one certificate for `localhost` and `127.0.0.1`, no IAM policies, no STS.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from local.certificates import CertificateAuthority, write_private
from local.errors import LocalError
from local.front_process import DONE, READY
from local.guarded import Guarded
from local.valkey import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.iam_token import IamAccess

_ROOT: Final = Path(__file__).parent.parent


class TlsFront:
    """One process that listens on all of `ports` (its own port: the local server's port) while the context is open.

    It ends with this process, however that ends. Its certificate authority is made anew, or kept in `folder` if that
    is given. Raises LocalError if it does not start.
    """

    def __init__(
        self, ports: Mapping[int, int], access: IamAccess | None = None, *, folder: Path | None = None
    ) -> None:
        self._ports = ports
        self._access = access
        self._kept_in = folder
        self._offset_s = 0.0

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="front-"))  # readable by its owner only
        authority = CertificateAuthority(self._kept_in or self._folder)
        self.ca_file = authority.file
        certificate, settings = self._folder / "certificate.pem", self._folder / "settings.json"
        authority.issue(certificate)
        self._control = self._folder / "control"
        what_to_do = {
            **self._changeable(),
            "ports": dict(self._ports),
            "certificate": str(certificate),
            "control": str(self._control),
        }
        write_private(settings, json.dumps(what_to_do).encode())
        command = [sys.executable, "-m", "local.front_process", str(settings)]
        try:
            self._process = Guarded(self._folder, command, cwd=_ROOT)
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, port: int) -> str:
        """A redis-py URL for one of its ports, which trusts its authority."""
        return f"rediss://{HOST}:{port}?ssl_ca_certs={self.ca_file}"

    def advance(self, seconds: float) -> None:
        """Moves its clock on. Connections whose 12 hours are over have been cut when this returns."""
        self._offset_s += seconds
        self._change()

    def admit(self, access: IamAccess | None) -> None:
        """Replaces who may come in by IAM. Those who are in stay in."""
        self._access = access
        self._change()

    def stop(self) -> None:
        """Frees its ports and removes its folder. Safe to call twice."""
        self._process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_until_ready(self) -> None:
        if not self._process.wait_for(READY):
            words = self._process.log[-1] if self._process.log else "it said nothing"
            raise LocalError(f"The TLS front did not start on {', '.join(map(str, self._ports))}: {words}")

    def _changeable(self) -> dict[str, Any]:
        return {
            "access": dataclasses.asdict(self._access) if self._access else None,
            "offset_s": self._offset_s,
        }

    def _change(self) -> None:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self._control))
            control.sendall(json.dumps(self._changeable()).encode() + b"\n")
            if control.makefile("rb").readline() != DONE:
                raise LocalError("The TLS front has ended.")
