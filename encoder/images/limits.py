"""What may be decoded."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is decoded.

    Attributes:
        max_pixels: width times height, as stored; the largest phone cameras have 16320 x 12240.
        allow_truncated: whether an image of which data is missing is decoded as far as it goes.
    """

    max_pixels: int = 200_000_000
    allow_truncated: bool = False
