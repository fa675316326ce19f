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


def headings(page: Path) -> set[str]:
    """As GitHub names them in links."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_page_is_in_the_index_and_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").rglob("*.md")]
    linked = {page: re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()) for page in pages}

    missing = [
        f"{page.name}: {link}" for page, links in linked.items() for link in links if not (page.parent / link).exists()
    ]
    missing += [
        f"{page.name}: {link}#{heading}"
        for page in pages
        for link, heading in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text())
        if heading not in headings((page.parent / link) if link else page)
    ]
    index = ROOT / "docs" / "README.md"
    unlisted = {page.name for page in (ROOT / "docs").glob("*.md")} - set(linked[index]) - {index.name}

    assert not missing
    assert not unlisted
