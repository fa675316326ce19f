"""Every snippet of the page runs, in its order, against a real server."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from django.conf import settings

from cache import AsyncCacheService, CacheService
from local.cluster import ValkeyCluster
from local.valkey import Valkey

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGE = Path(__file__).parents[2] / "docs/cache.md"


async def get(app: FastAPI, path: str) -> Any:
    """The JSON that the application answers."""
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://page") as user:
        return (await user.get(path)).json()


def test_the_page_s_snippets_run() -> None:
    if not settings.configured:
        settings.configure()
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(snippets) > 10
    with Valkey() as server, ValkeyCluster() as cluster:
        urls = {"redis://127.0.0.1:6379": server.url, "redis://127.0.0.1:7000": cluster.url}
        names: dict[str, Any] = {"__name__": "page"}
        for snippet in snippets:
            here = re.sub(r"redis://127\.0\.0\.1:\d+", lambda match: urls[match[0]], snippet)
            exec(here, names)  # noqa: S102 - our own page
        views = [asyncio.run(get(names["app"], "/users/1234/jobs")), json.loads(names["jobs_view"](None, 1234).content)]
        names["cache"].close()

    assert views == [{"5678": {"score": 87.25}, "5679": {"score": 87.25}}] * 2


def test_the_page_names_every_extra() -> None:
    project = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text())["project"]

    rows = "".join(line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `"))
    assert [
        extra for extra, needs in project["optional-dependencies"].items() if needs and f"`{extra}`" not in rows
    ] == []


def test_the_page_names_every_method() -> None:
    text = PAGE.read_text()
    for service in (CacheService, AsyncCacheService):
        methods = [name for name in vars(service) if not name.startswith("_")]
        assert [name for name in methods if name not in text] == []
