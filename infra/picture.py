"""A picture of the dashboard's layout, for the documentation: `python -m infra picture --stack prod`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

# Pixels of one of CloudWatch's grid units.
_WIDE: Final = 42
_HIGH: Final = 22
_GAP: Final = 4
_TEXT: Final = 14


def svg(body: dict[str, Any]) -> str:
    """`body` (the dashboard's JSON) as SVG: each widget with its title, its series and its drawn threshold."""
    widgets = body["widgets"]
    width = max(widget["x"] + widget["width"] for widget in widgets) * _WIDE
    height = max(widget["y"] + widget["height"] for widget in widgets) * _HIGH
    drawn = "\n".join(line for widget in widgets for line in _widget(widget))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="{_TEXT}">\n<rect width="{width}" height="{height}" fill="#f2f3f3"/>\n{drawn}\n</svg>\n'
    )


def _widget(widget: dict[str, Any]) -> Iterator[str]:
    left, top = widget["x"] * _WIDE + _GAP, widget["y"] * _HIGH + _GAP
    width, height = widget["width"] * _WIDE - 2 * _GAP, widget["height"] * _HIGH - 2 * _GAP
    properties = widget["properties"]
    yield f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="white" stroke="#aab7b8"/>'
    yield _text(left + 8, top + 20, properties["title"], "#16191f")
    yield _text(left + 8, top + height - 8, ", ".join(_shown(properties["metrics"])), "#545b64")
    for line in properties.get("annotations", {}).get("horizontal", ()):
        # Where the axis has an end, the threshold is drawn at its height.
        greatest = properties["yAxis"]["left"].get("max", 2 * line["value"])
        y = round(top + height - 24 - (height - 56) * line["value"] / greatest)
        yield f'<path d="M{left + 8} {y}H{left + width - 8}" stroke="#d13212" stroke-dasharray="5 4"/>'
        yield _text(left + 8, y - 4, f"{line['label']} {line['value']:g}", "#d13212")


def _shown(metrics: list[list[Any]]) -> Iterator[str]:
    """The labels of the series that are not only there to be reckoned with."""
    for *words, last in metrics:
        options = last if isinstance(last, dict) else {}
        if options.get("visible", True):
            yield options.get("label") or words[1]


def _text(x: int, y: int, text: str, colour: str) -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}">{escape(text)}</text>'
