"""What an input lists, without Beam: the steps of listing one after another."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.inputs.archives.base import Packing
from pipeline.inputs.files import Linked, Names, Unreadable, images_of
from pipeline.inputs.left_aside import LeftAside
from pipeline.inputs.lists.rows import RowBlock, RowLooker
from pipeline.inputs.resolve import ListSettings, expand_input
from pipeline.inputs.source import Input
from pipeline.inputs.stores.name_ranges import NameRange, list_ranges
from pipeline.records import Image, ListRows, ListState, Note


def listed(
    source: Input, settings: ListSettings, names: Names | None = None
) -> Iterator[Image | Linked | Unreadable | ListState | ListRows | Note]:
    """All images, lists and notes of an input."""
    looker = RowLooker(settings.roots, settings.seconds)
    ranges: list[tuple[int, NameRange]] = []
    for found in expand_input(source, Packing(), settings, names):
        if isinstance(found, RowBlock):
            yield from looker.images(found)
        elif isinstance(found, NameRange):
            ranges.append((0, found))
        elif isinstance(found, LeftAside):
            for _, turn in list_ranges(ranges, hands_on=False):
                for image in images_of(turn.files, source, found):
                    found.is_empty = False
                    yield image
            yield from found.notes()
        else:
            yield found
