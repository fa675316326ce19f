"""Every snippet of the page runs, in its order, against a real server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cache import AsyncCacheService, CacheService
from local.cluster import ValkeyCluster
from local.valkey import Valkey

PAGE = Path(__file__).parents[2] / "docs/cache.md"


def test_the_page_s_snippets_run() -> None:
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(snippets) > 10
    with Valkey() as server, ValkeyCluster() as cluster:
        urls = {"redis://127.0.0.1:6379": server.url, "redis://127.0.0.1:7000": cluster.url}
        names: dict[str, Any] = {"__name__": "page"}
        for snippet in snippets:
            here = re.sub(r"redis://127\.0\.0\.1:\d+", lambda match: urls[match[0]], snippet)
            exec(here, names)  # noqa: S102 - our own page
        names["cache"].close()


def test_the_page_names_every_method() -> None:
    text = PAGE.read_text()
    for service in (CacheService, AsyncCacheService):
        methods = [name for name in vars(service) if not name.startswith("_")]
        assert [name for name in methods if name not in text] == []
