"""A plot of a few numbers, as SVG."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from xml.sax.saxutils import escape

_LINE, _LABELS, _BARS = 34, 190, 440  # pixels


def draw_bars(path: pathlib.Path, title: str, values: Mapping[str, float]) -> None:
    """Write a chart of horizontal bars, one for each value. The first bar is coloured."""
    largest = max(values.values())
    height = _LINE * (len(values) + 1) + 16
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABELS + _BARS + 80}" '
        f'height="{height}" font-family="sans-serif" font-size="14">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="26" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(values.items()):
        top, width = _LINE * (number + 1) + 8, _BARS * value / largest
        color = "#9aa5b1" if number else "#1f77b4"
        pieces += [
            f'<text x="{_LABELS - 8}" y="{top + 17}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABELS}" y="{top}" width="{width:.1f}" height="24" fill="{color}"/>',
            f'<text x="{_LABELS + width + 6:.1f}" y="{top + 17}">{value:.1f}</text>',
        ]
    path.write_text("\n".join([*pieces, "</svg>"]) + "\n")
