"""What the documentation shows, runs."""

from __future__ import annotations

import re
from pathlib import Path

from local.valkey import Valkey

ROOT = Path(__file__).parent.parent


def test_the_readme_s_library_snippet_runs() -> None:
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert snippet

    with Valkey() as server:
        exec(snippet[1].replace("redis://127.0.0.1:6379", server.url), {})  # noqa: S102 - our own page
