"""HTML that needs no other file: a page and what it is made of."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

_CSS: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:0 auto;padding:1rem;color:#111;background:#fff}
table{border-collapse:collapse;width:100%;margin:1rem 0;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc;vertical-align:top}
th{vertical-align:bottom}th.n{text-align:right}td.n{text-align:right;white-space:nowrap}.PASS{color:#00664a}.FAIL{color:#a33b00}.UNDECIDED{color:#555}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem}figure{margin:0}
.verdict{font-weight:700}td .verdict{white-space:nowrap}svg{width:100%;height:auto}summary{cursor:pointer}
h1,p,li{overflow-wrap:anywhere}
@media(min-width:60rem){td:first-child{white-space:nowrap}}
@media(max-width:40rem){table{font-size:.875rem}th,td{padding:.25rem .4rem}h1{font-size:1.5rem}}
"""


def page(title: str, sections: Iterable[str]) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_CSS}</style></head>'
        f"<body><h1>{escape(title)}</h1>{''.join(sections)}</body></html>\n"
    )


def text(plain: str) -> str:
    """Escaped; what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(plain))


def paragraphs(lines: Iterable[str]) -> str:
    return "".join(f"<p>{text(line)}</p>" for line in lines)


def numbered(lines: Iterable[str]) -> str:
    return f"<ol>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ol>"


def pictures(svgs: Iterable[str]) -> str:
    return f'<div class="pictures">{"".join(f"<figure>{svg}</figure>" for svg in svgs)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Container[int]) -> str:
    """Cells are HTML. The columns in `numbers` are set to the right."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="n">{cell}</{tag}>' if i in numbers else f"<{tag}>{cell}</{tag}>"
            for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells("th", head)}</tr>{body}</table></div>'


def pairs(items: Iterable[tuple[str, Any]]) -> str:
    """Names and values; an empty dict is shown as a dash."""
    return table(("name", "value"), [(escape(name), escape(_value(value))) for name, value in items], range(0))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "–"
    return str(value)
