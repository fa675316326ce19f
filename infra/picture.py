"""A picture of the dashboard's layout, for the documentation: `python -m infra picture --stack prod`. Pure."""

from __future__ import annotations

from os.path import commonprefix
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

# Pixels of one of CloudWatch's grid units.
_WIDE: Final = 42
_HIGH: Final = 22
_GAP: Final = 4
_TEXT: Final = 14
# Of a panel's height: the title, and the threshold's label below it when the line is at the top; the series' names.
_HEAD: Final = 48
_FOOT: Final = 28


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
    # A picture in the picture, as it cuts off what is too long: the names of many nodes.
    yield f'<svg x="{left}" y="{top}" width="{width}" height="{height}">'
    yield '<rect width="100%" height="100%" fill="white" stroke="#aab7b8" stroke-width="2"/>'
    yield _text(20, properties["title"], "#16191f")
    yield _text(height - 8, _series(list(_shown(properties["metrics"]))), "#545b64")
    for line in properties.get("annotations", {}).get("horizontal", ()):
        # Where the axis has an end, the threshold is drawn at its height.
        greatest = properties["yAxis"]["left"].get("max", 2 * line["value"])
        y = round(height - _FOOT - (height - _HEAD - _FOOT) * line["value"] / greatest)
        yield f'<path d="M8 {y}H{width - 8}" stroke="#d13212" stroke-dasharray="5 4"/>'
        yield _text(y - 4, f"{line['label']} {line['value']:g}", "#d13212")
    yield "</svg>"


def _shown(metrics: list[list[Any]]) -> Iterator[str]:
    """The labels of the series that are not only there to be reckoned with."""
    for *words, last in metrics:
        options = last if isinstance(last, dict) else {}
        if options.get("visible", True):
            yield options.get("label") or words[1]


def _series(labels: list[str]) -> str:
    """The labels in one line: what all nodes' names begin with is said once."""
    first, *others = labels
    shared = commonprefix(labels).rfind("-") + 1  # noqa: RUF071 - character by character is right: no paths
    return ", ".join([first, *(label[shared:] for label in others)])


def _text(y: int, text: str, colour: str) -> str:
    return f'<text x="8" y="{y}" fill="{colour}">{escape(text)}</text>'
