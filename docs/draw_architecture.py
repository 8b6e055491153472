"""Draw docs/architecture.svg from the imports between the folders of both packages.

python -m docs.draw_architecture

A *room* is a folder or module directly inside a package. The floors and their order are the
layers of import-linter in pyproject.toml. tests/project/test_architecture.py compares the file
with what this module draws.
"""

from __future__ import annotations

import pathlib
import textwrap
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple
from xml.sax.saxutils import escape

import grimp
from importlinter.api import read_configuration

ROOT = pathlib.Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGES = ("pipeline", "encoder")  # the left and the right column
LIBRARIES = {"apache_beam": "Beam", "keras": "Keras"}

PURPOSES = {
    "pipeline.cli": "python -m pipeline: parser, commands, output",
    "pipeline.launch": "hands a job to a Beam runner and explains errors",
    "pipeline.graph": "the whole Beam graph on one screen",
    "pipeline.steps": "one Beam transform for each box of the graph",
    "pipeline.embedding": "from an image to its vector: read ahead, decode, call the encoder",
    "pipeline.runs": "one run: its job, rules and commit",
    "pipeline.inputs": "folders, globs, lists, archives, stores",
    "pipeline.upkeep": "status, verify, repair, compact, prune",
    "pipeline.dataset": "the dataset's files: layout, schema, manifest, parts",
    "pipeline.measures": "what is measured of a run, collected from all threads",
    "pipeline.logs": "log messages with the id of their run",
    "pipeline.records": "what flows between steps",
    "pipeline.options": "options and defaults",
    "pipeline.errors": "errors of a run",
    "encoder.cli": "python -m encoder: commands, output",
    "encoder.extraction": "extract: cut, prove, compile, save",
    "encoder.bundle": "load a bundle",
    "encoder.compute": "machine, engines, the loaded encoder",
    "encoder.network": "find the tap, cut, pool, id",
    "encoder.images": "bytes to pixels",
    "encoder.model_files": "check and load trained models",
    "encoder.spec": "encoder.json",
    "encoder.stand_ins": "in the place of layers that are not loaded",
    "encoder.storage": "local files and Google Cloud Storage",
    "encoder.strict_json": "JSON with one meaning, or an error",
    "encoder.terminal": "one line per error, exit codes",
    "encoder.isolation": "no network and no writing for decoders",
    "encoder.errors": "errors that a user can act on",
    "encoder.printable": "escapes for control characters",
}

# Pixels.
COLUMN, MARGIN, GUTTER = 460, 50, 100
TOP, BETWEEN_FLOORS, BETWEEN_ROOMS = 78, 34, 14
LINE, PADDING = 16, 9
LETTER, SMALL_LETTER = 6.2, 5.6  # the width of a letter, on average, at font size 12 and 11
LANE = 16  # between parallel arrows beside a column
INK, GREY, RED = "#333333", "#777777", "#c0392b"
FILLS = {"pipeline": "#eaf1f8", "encoder": "#eef5ea"}
BORDERS = {"pipeline": "#4a7fb5", "encoder": "#6a9a5b"}


class Imports(NamedTuple):
    """The imports between rooms, by their dotted names, and the libraries each room imports."""

    between: dict[str, set[str]]
    libraries: dict[str, set[str]]


class Box(NamedTuple):
    """A room in the picture. `first` and `last`: on its floor, from the left."""

    room: str
    floor: int
    x: float
    y: float
    width: float
    height: float
    first: bool
    last: bool

    @property
    def package(self) -> str:
        """The package that the room belongs to."""
        return self.room.partition(".")[0]

    @property
    def middle(self) -> float:
        """The x of the box's middle."""
        return self.x + self.width / 2


def floors_of(package: str) -> list[list[str]]:
    """The rooms of a package, floor by floor from the top, as import-linter's contract has them."""
    contracts = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    (layers,) = (each["layers"] for each in contracts if each.get("containers") == [package])
    return [[f"{package}.{name.strip()}" for name in layer.split("|")] for layer in layers]


def read_imports() -> Imports:
    """All imports between rooms. A package's own __init__ and __main__ are left out."""
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    rooms = {room for package in PACKAGES for floor in floors_of(package) for room in floor}
    between: dict[str, set[str]] = {room: set() for room in rooms}
    libraries: dict[str, set[str]] = {room: set() for room in rooms}
    for module in graph.modules:
        room = _room_of(module)
        if room not in rooms:
            continue
        for imported in graph.find_modules_directly_imported_by(module):
            if imported in LIBRARIES:
                libraries[room].add(LIBRARIES[imported])
            elif _room_of(imported) in rooms - {room}:
                between[room].add(_room_of(imported))
    return Imports(between, libraries)


def needed_arrows(between: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that do not follow from others: A to C is left out if A to B and B to C exist."""

    def reachable(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            for room in between[waiting.pop()] - found:
                found.add(room)
                waiting.append(room)
        return found

    beyond = {room: reachable(room) for room in between}
    return sorted(
        (room, target)
        for room, targets in between.items()
        for target in targets
        if not any(target in beyond[other] for other in targets)
    )


def draw() -> str:
    """The picture, as SVG."""
    imports = read_imports()
    texts = {room: _text(room, imports) for room in imports.between}
    boxes: dict[str, Box] = {}
    for number, package in enumerate(PACKAGES):
        left = MARGIN + number * (COLUMN + GUTTER)
        boxes.update({box.room: box for box in _column(package, left, texts)})
    bottom = max(box.y + box.height for box in boxes.values())
    width, height = 2 * (MARGIN + COLUMN) + GUTTER, bottom + 84
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" font-family="sans-serif" font-size="12" fill="{INK}">',
        f"<defs>{_tip('inside', INK)}{_tip('across', RED)}</defs>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{MARGIN}" y="28" font-size="15">Who imports whom: black arrows lead '
        "down a floor or more, red ones from pipeline to encoder</text>",
    ]
    for number, package in enumerate(PACKAGES):
        left = MARGIN + number * (COLUMN + GUTTER)
        pieces.append(
            f'<text x="{left}" y="{TOP - 14}" font-size="14" font-weight="bold" '
            f'fill="{BORDERS[package]}">{package}/</text>'
        )
    for room in sorted(boxes):
        pieces += _box(boxes[room], texts[room], imports.libraries[room])
    pieces += _Router(boxes, needed_arrows(imports.between)).paths()
    notes = (
        "An arrow is an import. Imports that follow from other arrows are not drawn; the grey "
        "lines in a box list all that its files import.",
        "Beam, Keras: one of its files imports the library. "
        "Drawn by python -m docs.draw_architecture.",
    )
    for number, note in enumerate(notes):
        pieces.append(
            f'<text x="{MARGIN}" y="{bottom + 50 + 18 * number}" fill="{GREY}">{note}</text>'
        )
    return "\n".join([*pieces, "</svg>"]) + "\n"


def _room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _text(room: str, imports: Imports) -> list[str]:
    """What stands in a box: the purpose, then a line of imports for each package."""
    lines = [PURPOSES[room]]
    order = [each for package in PACKAGES for floor in floors_of(package) for each in floor]
    own, _, _ = room.partition(".")
    for package in PACKAGES:
        names = [
            each.partition(".")[2]
            for each in order
            if each in imports.between[room] and each.startswith(f"{package}.")
        ]
        if names:
            prefix = "imports " if package == own else f"{package}: "
            lines.append(prefix + ", ".join(names))
    return lines


def _column(package: str, left: int, texts: dict[str, list[str]]) -> Iterable[Box]:
    """The boxes of a package; each floor has the width of the column."""
    y = TOP
    for floor, rooms in enumerate(floors_of(package)):
        width = (COLUMN - BETWEEN_ROOMS * (len(rooms) - 1)) / len(rooms)
        lines = max(len(_wrapped(texts[room], width)) for room in rooms)
        height = 2 * PADDING + LINE * (1 + lines)
        for place, room in enumerate(rooms):
            x = left + place * (width + BETWEEN_ROOMS)
            last = place == len(rooms) - 1
            yield Box(room, floor, x, y, width, height, place == 0, last)
        y += height + BETWEEN_FLOORS


def _wrapped(lines: list[str], width: float) -> list[tuple[str, bool]]:
    """The lines at the width of a box, each with whether it is the purpose."""
    inside = width - 2 * PADDING
    return [
        (part, number == 0)
        for number, line in enumerate(lines)
        for part in textwrap.wrap(line, int(inside / (SMALL_LETTER if number else LETTER)))
    ]


def _tip(name: str, color: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8Z" fill="{color}"/></marker>'
    )


def _box(box: Box, lines: list[str], libraries: set[str]) -> list[str]:
    x, y = box.x + PADDING, box.y + PADDING + 11
    folder = (ROOT / box.room.replace(".", "/")).is_dir()
    name = box.room.partition(".")[2] + ("/" if folder else "")
    pieces = [
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="4" '
        f'fill="{FILLS[box.package]}" stroke="{BORDERS[box.package]}"/>',
        f'<text x="{x:g}" y="{y:g}" font-size="13" font-weight="bold">{name}</text>',
    ]
    if libraries:
        right = box.x + box.width - PADDING
        pieces.append(
            f'<text x="{right:g}" y="{y:g}" text-anchor="end" font-size="11" font-weight="bold" '
            f'fill="{BORDERS[box.package]}">{", ".join(sorted(libraries))}</text>'
        )
    for number, (line, purpose) in enumerate(_wrapped(lines, box.width), start=1):
        style = "" if purpose else f' font-size="11" fill="{GREY}"'
        pieces.append(f'<text x="{x:g}" y="{y + LINE * number:g}"{style}>{escape(line)}</text>')
    return pieces


class _Router:
    """Finds a way for each arrow that crosses no box.

    Arrows to the next floor go straight down or across the space between the floors. All others
    leave a floor at its side, or below it, and have a lane of their own beside the column.
    """

    def __init__(self, boxes: dict[str, Box], arrows: list[tuple[str, str]]) -> None:
        self.arrows = [(boxes[source], boxes[target]) for source, target in arrows]
        self.lanes: dict[float, int] = defaultdict(int)  # used so far, by the column's edge
        self.ports: dict[tuple[str, str], int] = defaultdict(int)  # used so far, by room and side
        self.rails: dict[tuple[str, float], int] = defaultdict(int)  # by package and floor's edge

    def paths(self) -> list[str]:
        """An SVG path for each arrow."""
        pieces = []
        for source, target in self.arrows:
            inside = source.package == target.package
            points = " L".join(f"{x:g} {y:g}" for x, y in self._points(source, target))
            pieces.append(
                f'<path d="M{points}" fill="none" stroke="{INK if inside else RED}" '
                f'marker-end="url(#{"inside" if inside else "across"})"/>'
            )
        return pieces

    def _points(self, source: Box, target: Box) -> list[tuple[float, float]]:
        if source.package == target.package and target.floor == source.floor + 1:
            return self._down(source, target)
        if source.package != target.package:
            out, into = "right", "left"
            x = self._lane(source, "right")
        else:
            out = into = "left" if self._is_left(source, target) else "right"
            x = self._lane(source, out)
        start = self._leave(source, out)
        end = self._enter(target, into)
        return [*start, (x, start[-1][1]), (x, end[0][1]), *end]

    def _down(self, source: Box, target: Box) -> list[tuple[float, float]]:
        """Straight down where the boxes overlap: the narrower one has the arrow in its middle."""
        x = source.middle if source.width < target.width else target.middle
        return [(x, source.y + source.height), (x, target.y)]

    def _is_left(self, source: Box, target: Box) -> bool:
        """Whether the left side is nearer, for the narrower of two boxes."""
        if source.first != source.last:
            return source.first
        return target.first and not target.last

    def _lane(self, source: Box, side: str) -> float:
        left = MARGIN + PACKAGES.index(source.package) * (COLUMN + GUTTER)
        edge = left if side == "left" else left + COLUMN
        self.lanes[edge] += 1
        return edge + (-LANE if side == "left" else LANE) * self.lanes[edge]

    def _leave(self, box: Box, side: str) -> list[tuple[float, float]]:
        """From the box's side if that is free, else from its lower edge."""
        if (side == "left" and box.first) or (side == "right" and box.last):
            return [self._port(box, side)]
        below = box.y + box.height
        y = below + self._rail(box.package, below)
        x = box.middle + 12
        return [(x, below), (x, y)]

    def _enter(self, box: Box, side: str) -> list[tuple[float, float]]:
        if (side == "left" and box.first) or (side == "right" and box.last):
            return [self._port(box, side)]
        y = box.y - self._rail(box.package, box.y)
        x = box.middle + (-24 if side == "left" else 24)
        return [(x, y), (x, box.y)]

    def _port(self, box: Box, side: str) -> tuple[float, float]:
        self.ports[box.room, side] += 1
        y = box.y + 14 * self.ports[box.room, side]
        return (box.x if side == "left" else box.x + box.width), y

    def _rail(self, package: str, edge: float) -> float:
        self.rails[package, edge] += 1
        return 8 + 6 * self.rails[package, edge]


if __name__ == "__main__":
    PICTURE.write_text(draw())
