"""What a run covers: its inputs, the inputs of earlier runs, and what it checks."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.inputs.source import Input
from pipeline.inputs.uris import archive_of
from pipeline.records import Carried, Image, KnownInput

_DIGEST_BYTES = 8


class ContentCheck(NamedTuple):
    """Which unchanged images are read, to see whether their content is still the same.

    Attributes:
        share: of the images, 0 to 1.
        salt: another text gives another sample.
    """

    share: float = 0.0
    salt: str = ""

    def takes(self, uri: str) -> bool:
        """Whether an image is checked; images in an archive are checked together."""
        if not self.share:
            return False
        text = f"{self.salt} {archive_of(uri) or uri}"
        digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
        return int.from_bytes(digest, "big") < self.share * (1 << 8 * _DIGEST_BYTES)


class CarriedColumns(NamedTuple):
    """The names of carried columns.

    Attributes:
        listed: the columns of this run's inputs, in the order of a listing's values.
        dataset: the columns of the dataset, in the order of a row's values.
    """

    listed: tuple[str, ...] = ()
    dataset: tuple[str, ...] = ()

    def merged(self, listed: Carried | None, before: Carried | None) -> Carried | None:
        """The values of all of the dataset's columns: those of the listing replace older ones.

        Args:
            listed: values of the listing; None if it carries none.
            before: values of the row that the output has; None if it has none.
        """
        if listed is None:
            return before
        values = dict(zip(self.dataset, before or self.nothing, strict=True))
        values.update(zip(self.listed, listed, strict=True))
        return tuple(values.values())

    @property
    def nothing(self) -> Carried:
        """No value in any of the dataset's columns."""
        return (None,) * len(self.dataset)


NO_CARRIED = CarriedColumns()
NO_CHECK = ContentCheck()


@dataclasses.dataclass(frozen=True)
class Scope:
    """The images that a run covers, and settings of the rules.

    Attributes:
        inputs: this run's inputs.
        unreadable: uris of folders that could not be read; images below them may exist.
        retry_failures: try again images that could not be decoded.
        columns: carried columns of the listing and of the dataset.
        earlier: inputs of earlier runs, besides lists; they own rows that they cover.
        check: which unchanged images are read to see whether their content is the same.
    """

    inputs: Sequence[Input]
    unreadable: Sequence[str] = ()
    retry_failures: bool = False
    columns: CarriedColumns = NO_CARRIED
    earlier: Sequence[KnownInput] = ()
    check: ContentCheck = NO_CHECK

    @functools.cached_property
    def order(self) -> dict[str, int]:
        """The place of each input on the command line."""
        return {each.text: place for place, each in enumerate(self.inputs)}

    @functools.cached_property
    def others(self) -> list[Input]:
        """The inputs of earlier runs that are none of this run."""
        own = {known_input(each).place for each in self.inputs}
        return [
            Input(
                text="",
                base=each.base,
                pattern=each.pattern,
                is_file=each.is_file,
                include=each.include,
                exclude=each.exclude,
            )
            for each in self.earlier
            if each.place not in own
        ]


def known_input(source: Input) -> KnownInput:
    """An input in the form in which the manifest keeps it."""
    return KnownInput(source.base, source.pattern, source.is_file, source.include, source.exclude)


def in_order(images: Iterable[Image], order: dict[str, int]) -> list[Image]:
    """Listings of one image, the one that counts first.

    Readable ones come first, then those with carried values, then in the order given: of the
    inputs, and of the rows in lists.

    Args:
        images: as the inputs list it.
        order: the place of each input, by its text.
    """

    def place(image: Image) -> tuple[bool, bool, int, int, int, str]:
        given = order.get(image.source, len(order))
        return (
            bool(image.error),
            image.carried is None,
            given,
            image.row,
            image.place,
            image.version,
        )

    return sorted(images, key=place)
