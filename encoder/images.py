"""From the bytes of an image file to the pixels that an encoder takes, by Pillow."""

from __future__ import annotations

import functools
import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from encoder.spec import EncoderSpec

# Pillow's antialiased filters; which one is used decides the vector, so the spec names it.
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


# Formats that Pillow decodes by itself; others start programs, or are no photographs.
_FORMATS = (
    *("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP"),
    *("DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA"),
)


class DecodedImage(NamedTuple):
    """Pixels (height, width, channels) uint8, and the size as stored in the file, in pixels."""

    pixels: NDArray[np.uint8]
    stored_width: int
    stored_height: int


def decode_image(data: bytes, spec: EncoderSpec) -> DecodedImage:
    """Decode an image file and bring it to the spec's size and channels.

    The EXIF orientation is applied, transparent pixels are laid over ``spec.background``, 16-bit
    grayscale is scaled to 8 bits; of an animation the first frame counts.

    Raises:
        PIL.UnidentifiedImageError: the data is not an image in any format that Pillow knows.
        OSError, ValueError, SyntaxError: the image is damaged or cut short.
    """
    if not data:
        raise UnidentifiedImageError("the file is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=_known_formats())
    except UnidentifiedImageError:
        raise UnidentifiedImageError(
            f"not an image in a known format: {len(data)} bytes that start with {data[:12]!r}"
        ) from None
    with image:
        stored_width, stored_height = image.size
        image.load()
        upright = ImageOps.exif_transpose(image)
        flat = _to_channels(upright, spec)
        sized = _to_size(flat, spec)
    pixels = np.asarray(sized, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)
    return DecodedImage(pixels, stored_width, stored_height)


@functools.cache
def _known_formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]  # this Pillow may lack some


def _to_channels(image: Image.Image, spec: EncoderSpec) -> Image.Image:
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"images with {image.mode!r} pixels (32 bits a channel) can't be scaled yet"
        )
    if image.has_transparency_data:
        over = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*spec.background, 255))
        image = Image.alpha_composite(ground, over)
    return image.convert("RGB" if spec.channels == 3 else "L")


def _to_size(image: Image.Image, spec: EncoderSpec) -> Image.Image:
    size = (spec.width, spec.height)
    resample = _FILTERS[spec.resize]
    if spec.fit == "crop":
        return ImageOps.fit(image, size, resample)
    if spec.fit == "pad":
        ground = Image.new("RGB", (1, 1), spec.background).convert(image.mode).getpixel((0, 0))
        scale = min(spec.width / image.width, spec.height / image.height)
        inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        canvas = Image.new(image.mode, size, ground)
        place = ((spec.width - inner[0]) // 2, (spec.height - inner[1]) // 2)
        canvas.paste(image.resize(inner, resample), place)
        return canvas
    return image.resize(size, resample)
