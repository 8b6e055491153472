"""Decode an image file to the pixels that an encoder takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from encoder.errors import LimitError
from encoder.images import jpeg
from encoder.images.bit_depth import to_eight_bits
from encoder.images.kinds import kind_named
from encoder.images.limits import Limits
from encoder.images.pillow import FOUR_BANDS, PillowFile, check_four_bands, open_file
from encoder.images.pillow_warnings import quiet
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

# A fast decode leaves at least this many times the size that is resized to, as in Pillow.
_REDUCING_GAP = 2
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS, _FROM_THE_RIGHT, _FROM_BELOW = {5, 6, 7, 8}, {2, 3, 6, 7}, {3, 4, 7, 8}

_JPEG = kind_named("JPEG")
_USUAL = Limits()

Box = tuple[float, float, float, float]  # left, top, right, bottom
Admit = Callable[[int], AbstractContextManager[None]]


class DecodedImage(NamedTuple):
    """An image with the size and the channels of the spec.

    Attributes:
        pixels: (height, width, channels) uint8.
        stored_width: pixels, as in the file, before its orientation is applied.
        stored_height: pixels, likewise.
        truncated: whether data was missing, and the rest was decoded.
    """

    pixels: NDArray[np.uint8]
    stored_width: int
    stored_height: int
    truncated: bool = False


def decode_image(
    data: bytes,
    spec: EncoderSpec,
    limits: Limits = _USUAL,
    admit: Admit | None = None,
) -> DecodedImage:
    """Decode an image file and bring it to the spec's size and channels.

    The content decides the format. The EXIF orientation is applied, transparent pixels are laid
    over ``spec.background`` (with four channels they stay as they are stored), 16 bits and floats
    are scaled to 8 bits, colour profiles are ignored, and only the first frame or page is decoded.
    No warning leaves this function.

    Args:
        data: the file.
        spec: the encoder's.
        limits: the largest image, and whether truncated images are decoded.
        admit: a context manager around decoding and resizing. It is entered with the number of
            pixels as stored, after the header is read: so the caller can bound the pixels that are
            decoded at the same time.

    Raises:
        LimitError: the image has too many pixels; nothing was decoded.
        encoder.errors.TruncatedError: data is missing, and that is not allowed. An OSError.
        PIL.UnidentifiedImageError: the data is not an image in any known format. An OSError.
        OSError, ValueError, SyntaxError, MemoryError: the image is damaged.
    """
    if not data:
        raise UnidentifiedImageError("the file is empty (0 bytes)")
    try:
        with quiet():
            return _decode(data, spec, limits, admit)
    except (OSError, ValueError, SyntaxError, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # a GIF frame that is larger than its canvas
        raise LimitError(f"{error}; expected at most {limits.max_pixels:,} pixels") from error
    except Exception as error:  # damaged files make Pillow raise all kinds of errors
        raise ValueError(f"a damaged image file: {type(error).__name__}: {error}") from error


def _decode(data: bytes, spec: EncoderSpec, limits: Limits, admit: Admit | None) -> DecodedImage:
    file: jpeg.JpegFile | PillowFile
    if _JPEG.matches(data):
        file = jpeg.read_header(data)
        if spec.decode == "fast":
            file = file._replace(eighths=_eighths(file, spec))
    else:
        file = open_file(data)
        if spec.channels == 4:
            check_four_bands(file)
    count = file.width * file.height
    if count > limits.max_pixels:
        raise LimitError(
            f"the image has {file.width} x {file.height} = {count:,} pixels; expected at most "
            f"{limits.max_pixels:,}: raise max_pixels (--max-pixels of a run), or leave it out"
        )
    with admit(count) if admit else contextlib.nullcontext():
        image, truncated = file.load(limits.allow_truncated)
        orientation = _orientation(image)
        upright = _upright(to_eight_bits(image), orientation)
        sized = _to_size(_to_channels(upright, spec), spec, _view(image, file, orientation))
    pixels = np.asarray(sized, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)
    return DecodedImage(pixels, file.width, file.height, truncated)


def _eighths(file: jpeg.JpegFile, spec: EncoderSpec) -> int:
    """The smallest size, in eighths of the stored one, that leaves enough pixels for resizing."""
    bare = Image.new("L", (1, 1))
    bare.info.update(file.metadata)
    size = (spec.width, spec.height)
    width, height = size[::-1] if _orientation(bare) in _SIDEWAYS else size
    enough = any if spec.fit == "pad" else all  # a padded image fills one side only
    for eighths in (1, 2, 4):  # other sizes take as long as the next larger one
        sides = ((file.width, width), (file.height, height))
        if enough(eighths * stored >= 8 * _REDUCING_GAP * wanted for stored, wanted in sides):
            return eighths
    return 8


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; the readers of TIFF and HEIC have turned the image already."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
        return 1 if isinstance(value, (str, bytes)) else int(value)  # it has to be a number
    except Exception:  # a broken EXIF block may raise anything; the image is shown as stored
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_channels(image: Image.Image, spec: EncoderSpec) -> Image.Image:
    if spec.channels == 4:
        return _four_channels(image)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*spec.background, 255))
        image = Image.alpha_composite(ground, over)
    if image.mode not in ("1", "L"):  # through RGB, so that gray is the same for every mode
        image = _in_mode(image, "RGB")
    return _in_mode(image, "RGB" if spec.channels == 3 else "L")


def _four_channels(image: Image.Image) -> Image.Image:
    """The four channels as they are stored; RGB and 255 if the image has no fourth one.

    Pillow takes none of the bands of mode RGBX for alpha. When it resizes RGBA, it multiplies the
    colours by alpha first: where the fourth channel is 0, which in a near infrared band is a value
    like any other, they would be lost.
    """
    if image.mode == FOUR_BANDS:
        return image
    if image.has_transparency_data:
        return Image.merge(FOUR_BANDS, image.convert("RGBA").split())
    return _in_mode(_in_mode(image, "RGB"), FOUR_BANDS)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # convert would copy every pixel


def _view(image: Image.Image, file: jpeg.JpegFile | PillowFile, orientation: int) -> Box:
    """The picture's box in its upright pixels.

    A JPEG that was decoded at a part of its size may have a last column and row that the picture
    fills only in part.
    """
    across, down = image.size
    width, height = map(float, image.size)
    if isinstance(file, jpeg.JpegFile) and image.size != (file.width, file.height):
        width, height = file.width * file.eighths / 8, file.height * file.eighths / 8
    if orientation in _SIDEWAYS:
        across, down, width, height = down, across, height, width
    left = across - width if orientation in _FROM_THE_RIGHT else 0
    top = down - height if orientation in _FROM_BELOW else 0
    return left, top, left + width, top + height


def _to_size(image: Image.Image, spec: EncoderSpec, view: Box) -> Image.Image:
    size = (spec.width, spec.height)
    resample = _FILTERS[spec.resize]
    left, top, right, bottom = view
    width, height = right - left, bottom - top
    if spec.fit == "crop":  # as ImageOps.fit
        ratio = spec.width / spec.height
        inner = (min(width, height * ratio), min(height, width / ratio))
        left, top = left + (width - inner[0]) / 2, top + (height - inner[1]) / 2
        return image.resize(size, resample, (left, top, left + inner[0], top + inner[1]))
    if spec.fit == "pad":
        ground = _ground(image.mode, spec)
        scale = min(spec.width / width, spec.height / height)
        filled = (max(1, round(width * scale)), max(1, round(height * scale)))
        canvas = Image.new(image.mode, size, ground)
        place = ((spec.width - filled[0]) // 2, (spec.height - filled[1]) // 2)
        canvas.paste(image.resize(filled, resample, view), place)
        return canvas
    return image.resize(size, resample, view)


def _ground(mode: str, spec: EncoderSpec) -> float | tuple[float, ...] | None:
    """What surrounds a padded image: the background, with a fourth channel of 0 if there is one."""
    if mode == FOUR_BANDS:
        return (*spec.background, 0)
    return Image.new("RGB", (1, 1), spec.background).convert(mode).getpixel((0, 0))
