"""What a plan foresees: the counts of a run that would start now."""

from __future__ import annotations

import base64
import pickle
from typing import NamedTuple

from pipeline.records import TOTALS, Counted, Counts, Note, Total


class Looked(NamedTuple):
    """What reading some of the images to embed has shown.

    Attributes:
        images: number of images that would be read in a run.
        read: number of those that were read.
        copied: how many of these take the vector of another row with the same content.
        found: how many unchanged ones, among those to check, have other content.
        same: how many have the content of their own row, by the way in which planning counted them.
    """

    images: int = 0
    read: int = 0
    copied: int = 0
    found: int = 0
    same: tuple[tuple[Counted, int], ...] = ()

    def of(self, count: int) -> int:
        """The number of all images that corresponds to a number of those that were read."""
        return round(count * self.images / self.read) if self.read else 0


class Sizes(NamedTuple):
    """The sizes of images that a run would read.

    Attributes:
        images: the number of all of them.
        bytes: the sum of the sizes that listing gave.
        unknown: images whose sizes are not known before they are read.
    """

    images: int = 0
    bytes: int = 0
    unknown: int = 0


class Foreseen(NamedTuple):
    """The result of a plan.

    Attributes:
        counts: the counts of planning.
        notes: what there is to tell about inputs and rows.
        files: what reading some images in their own files has shown.
        packed: the same for images in archives.
        sizes: of the images to read.
    """

    counts: Counts
    notes: list[Note]
    files: Looked
    packed: Looked
    sizes: Sizes

    @classmethod
    def from_text(cls, text: str) -> Foreseen:
        """The inverse of to_text."""
        return cls(*pickle.loads(base64.b64decode(text)))

    def to_text(self) -> str:
        """A form that fits into a metric."""
        return base64.b64encode(pickle.dumps(tuple(self))).decode()

    @property
    def to_embed(self) -> int:
        """The number of images that the encoder would compute, as far as it can be foreseen."""
        copied = sum(each.of(each.copied) for each in (self.files, self.packed))
        totals = self.totals
        return max(totals["new"] + totals["changed"] - copied - self.counts.failing, 0)

    @property
    def totals(self) -> dict[Total, int]:
        """The counts of planning, corrected by what reading has shown."""
        totals: dict[Total, int] = {name: self.counts.totals[name] for name in TOTALS}
        for looked in (self.files, self.packed):
            for counted, images in looked.same:
                totals[counted] -= looked.of(images)
                totals["unchanged"] += looked.of(images)
            totals["changed"] += looked.of(looked.found)
            totals["unchanged"] -= looked.of(looked.found)
        return totals
