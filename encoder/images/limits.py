"""Limits of decoding."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Which images are decoded.

    Attributes:
        max_pixels: width times height, as stored; the largest phone cameras have 16320 x 12240.
        allow_truncated: whether images that lack data are decoded as far as possible.
    """

    max_pixels: int = 200_000_000
    allow_truncated: bool = False
