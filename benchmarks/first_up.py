"""How long a first `up` of `prod` takes on this machine: `python -m benchmarks.first_up`.

Without the Pulumi CLI's own time: the tests' engine asks the local provider for what the program declares, real servers
behind TLS and IAM included. It must take under 10 s.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.local.aws.conftest import running
from tests.local.aws.engine import Engine

ROUNDS = 3


def first_up() -> float:
    """Seconds."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder)) as aws,
        closing(Engine(aws.port, "prod")) as cli,
    ):
        began = time.perf_counter()
        cli.up({"protectData": False})
        took_s = time.perf_counter() - began
        cli.destroy()
        return took_s


def main() -> int:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # moto's server would name each request
    times = [first_up() for _ in range(ROUNDS)]
    print(
        f"first up of prod: median {statistics.median(times):.1f} s, {min(times):.1f} to {max(times):.1f} s (under 10)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
