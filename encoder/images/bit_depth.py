"""Pixels of 12, 16 or 32 bits a channel, scaled to 8 bits.

Values are never clipped. If the file states its number of bits, that decides, not the values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale a grayscale image of more than 8 bits to mode L, or LA where a value is transparent.

    - Unsigned 16 bits keep their high byte, as Pillow does for colour; 12 bits likewise.
    - 32-bit and signed integers, and floats: floats within 0..1 are multiplied by 255; other values
      within 0..255 are rounded; values within 0..65535 keep their high byte; all others are scaled
      from the smallest to the greatest.

    Args:
        image: of any mode; an image with 8 bits a channel or less is returned as it is.

    Raises:
        ValueError: some values are NaN or infinite.
    """
    if not (image.mode.startswith("I;16") or image.mode in ("I", "F")):
        return image
    values = np.asarray(image)
    if image.mode == "F":
        return Image.fromarray(_scaled(values))
    if image.mode == "I" and not _declares_16_bits(image, values):
        return Image.fromarray(_scaled(values))
    eight = (values >> (_tag(image, _BITS_PER_SAMPLE, 16) - 8)).astype(np.uint8)
    if image.mode != "I" and _tag(image, _PHOTOMETRIC, 1) == 0:
        eight = 255 - eight  # white is zero; Pillow turns only 8 bits and less
    gray = Image.fromarray(eight)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        opaque = np.where(values == transparent, 0, 255).astype(np.uint8)
        gray.putalpha(Image.fromarray(opaque))
    return gray


# Any: integers or floats of any size.
def _declares_16_bits(image: Image.Image, values: NDArray[Any]) -> bool:
    """Whether the file states that white is 65535 (PGM, and signed TIFF)."""
    declared = image.format == "PPM" or _tag(image, _BITS_PER_SAMPLE, 32) == 16
    return declared and values.size > 0 and int(values.min()) >= 0


def _tag(image: Image.Image, tag: int, otherwise: int) -> int:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return otherwise
    value = image.tag_v2.get(tag, otherwise)
    return int(value[0] if isinstance(value, tuple) else value)


# Any: integers or floats of any size.
def _scaled(values: NDArray[Any]) -> NDArray[np.uint8]:
    strange = int(values.size - np.count_nonzero(np.isfinite(values)))
    if strange:
        raise ValueError(
            f"{strange} of {values.size} pixels are no finite numbers; expected numbers only: "
            "write the image with a number in their place"
        )
    low, high = float(values.min()), float(values.max())
    wide = values.astype(np.float64)
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(wide * 255).astype(np.uint8)
    if low >= 0 and high <= 255:
        return np.rint(wide).astype(np.uint8)
    if low >= 0 and high <= 65535:
        return np.floor(wide / 256).astype(np.uint8)
    span = high - low or 1.0
    return np.rint((wide - low) * (255 / span)).astype(np.uint8)
