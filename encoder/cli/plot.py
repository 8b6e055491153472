"""Draw a network: one bar per layer, with the heights of the feature maps to scale."""

from __future__ import annotations

import html
import math
import os
from typing import TYPE_CHECKING, NamedTuple

from encoder.errors import InputError
from encoder.printable import printable

if TYPE_CHECKING:
    from encoder.cli.inspection import Description, LayerRow, Role

_TALLEST = 260.0  # pixels, for the largest feature map
_FLAT = 4.0  # for vectors, which have no height
_GAP, _MARGIN, _TOP, _BELOW = 3.0, 30.0, 60.0, 170.0
_COLORS: dict[Role, str] = {
    "input": "#7fb8c9",
    "encoder": "#4a7fb5",
    "tap": "#2e9d57",
    "cut off": "#cfcfcf",
    "": "#8f8f8f",
}
_INK = "#333333"
_LEGEND: tuple[Role, ...] = ("encoder", "tap", "cut off")
_LONGEST = 200  # characters of a name or the title
_SHARPNESS = 2  # PNG pixels per unit


class Bar(NamedTuple):
    """One layer: its left edge and its size in pixels, its role, its name and its size label."""

    left: float
    width: float
    height: float
    role: Role
    name: str
    size: str


def plot(description: Description, file: str | os.PathLike[str]) -> None:
    """Draw a description from encoder.cli.inspection.describe.

    Args:
        description: of the network.
        file: its name ends in ``.svg`` or ``.png``, which selects the format.

    Raises:
        InputError: the name has another ending, or the file can't be written.
    """
    path = os.fspath(file)
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".svg", ".png"):
        raise InputError(f"--plot {path!r}: expected a name that ends in .svg or .png")
    bars = layout(description["layers"])
    title = printable(f"{description['name']}: {description['auto']['reason']}", _LONGEST)
    try:
        if ending == ".svg":
            with open(path, "w", encoding="utf-8") as opened:
                opened.write(to_svg(bars, title))
        else:
            save_png(bars, title, path)
    except OSError as error:
        raise InputError(f"--plot {path!r} can't be written: {error}") from error


def layout(layers: list[LayerRow]) -> list[Bar]:
    """One bar per layer, in the same order; wider bars have more channels.

    Only the input, the tap, the last layer and layers that change the size are labelled.
    """
    maps = [row["output_shape"] for row in layers if len(row["output_shape"]) == 4]
    tallest = max((shape[1] or 0 for shape in maps), default=0) or 1
    bars: list[Bar] = []
    left, before = _MARGIN, ""
    for place, row in enumerate(layers):
        shape = row["output_shape"]
        height = _TALLEST * (shape[1] or tallest) / tallest if len(shape) == 4 else _FLAT
        width = 4 + 1.5 * math.log2(max(1, shape[-1] or 1))
        size = "x".join("?" if side is None else str(side) for side in shape[1:])
        spatial = size.rpartition("x")[0]
        labelled = spatial != before or row["role"] in ("input", "tap") or place == len(layers) - 1
        name = printable(row["name"], _LONGEST)
        bars.append(
            Bar(left, width, max(height, _FLAT), row["role"], name, size if labelled else "")
        )
        left, before = left + width + _GAP, spatial
    return bars


def to_svg(bars: list[Bar], title: str) -> str:
    """The text of the SVG file."""
    width, height, middle = _canvas(bars, title)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" font-family="sans-serif" font-size="11" fill="{_INK}">',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        f'<text x="{_MARGIN}" y="24" font-size="14">{html.escape(title)}</text>',
    ]
    for left, role in _legend():
        parts.append(f'<rect x="{left}" y="34" width="10" height="10" fill="{_COLORS[role]}"/>')
        parts.append(f'<text x="{left + 14}" y="43">{role}</text>')
    for bar in bars:
        top = middle - bar.height / 2
        parts.append(
            f'<rect x="{bar.left:.1f}" y="{top:.1f}" width="{bar.width:.1f}" '
            f'height="{bar.height:.1f}" fill="{_COLORS[bar.role]}">'
            f"<title>{html.escape(bar.name)}</title></rect>"
        )
        if bar.size:
            x, y = bar.left + bar.width / 2 + 4, middle + _TALLEST / 2 + 10
            parts.append(
                f'<text transform="translate({x:.1f} {y:.1f}) rotate(90)">'
                f"{html.escape(_label(bar))}</text>"
            )
    return "\n".join([*parts, "</svg>", ""])


def save_png(bars: list[Bar], title: str, path: str) -> None:
    """Write the PNG file."""
    from PIL import Image, ImageDraw, ImageFont

    scale = _SHARPNESS
    width, height, middle = _canvas(bars, title)
    image = Image.new("RGB", (int(width * scale), int(height * scale)), "white")
    pen = ImageDraw.Draw(image)
    small, large = ImageFont.load_default(11 * scale), ImageFont.load_default(14 * scale)
    pen.text((_MARGIN * scale, 12 * scale), title, _INK, large)
    for left, role in _legend():
        box = [left * scale, 34 * scale, (left + 10) * scale, 44 * scale]
        pen.rectangle(box, _COLORS[role])
        pen.text(((left + 14) * scale, 32 * scale), role, _INK, small)
    for bar in bars:
        top = middle - bar.height / 2
        right, bottom = bar.left + bar.width, top + bar.height
        pen.rectangle([side * scale for side in (bar.left, top, right, bottom)], _COLORS[bar.role])
        if bar.size:
            text = Image.new("RGB", (int(_BELOW * scale), 14 * scale), "white")
            ImageDraw.Draw(text).text((0, 0), _label(bar), _INK, small)
            x, y = bar.left + bar.width / 2 - 7, middle + _TALLEST / 2 + 10
            image.paste(text.rotate(-90, expand=True), (int(x * scale), int(y * scale)))
    image.save(path)


def _canvas(bars: list[Bar], title: str) -> tuple[float, float, float]:
    """Width and height of the picture, and the y coordinate of its middle line, in pixels."""
    right = bars[-1].left + bars[-1].width if bars else 0
    width = max(right, 7.5 * len(title)) + _MARGIN
    return width, _TOP + _TALLEST + _BELOW, _TOP + _TALLEST / 2


def _legend() -> list[tuple[float, Role]]:
    return [(_MARGIN + 80 * place, role) for place, role in enumerate(_LEGEND)]


def _label(bar: Bar) -> str:
    return f"{bar.name.rpartition('/')[2]} {bar.size}"
