"""Image files of every kind but JPEG, by Pillow and pillow-heif."""

from __future__ import annotations

import functools
import io
import struct
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from encoder.errors import TruncatedError
from encoder.images.chunks import essential_png, whole_webp
from encoder.images.kinds import (
    HEAD_BYTES,
    IMAGE_KINDS,
    ImageKind,
    content_of,
    kind_named,
    kind_of,
)
from encoder.images.truncation import check_after, check_before

_ROW_BY_ROW = {kind.name for kind in IMAGE_KINDS if kind.row_by_row}
_HEIC = kind_named("HEIC")
# What removes damage that does not concern pixels, by the name of the kind.
_MENDERS = {"PNG": essential_png, "WEBP": whole_webp}
_lenient = threading.Lock()

FOUR_BANDS = "RGBX"  # Pillow's mode of four channels, of which none is alpha

_BITS, _SAMPLES = 258, 277  # TIFF's tags BitsPerSample and SamplesPerPixel
_BIG_TIFF = 43
_READABLE = (
    "write gray, or RGB with at most one more band, of 8 or 16 bits, all bands of a pixel together "
    "(PhotometricInterpretation RGB, PlanarConfiguration 1)"
)

Opener = Callable[[io.BytesIO, str], ImageFile.ImageFile]


class PillowFile(NamedTuple):
    """An image file that was opened and not decoded.

    Attributes:
        width: pixels, as stored.
        height: pixels, as stored.
    """

    width: int
    height: int
    data: bytes
    image: ImageFile.ImageFile

    def load(self, allow_truncated: bool) -> tuple[Image.Image, bool]:
        """Decode the image; the flag tells whether data is missing.

        Raises:
            TruncatedError: data is missing, and that is not allowed or leaves nothing to show.
            OSError, ValueError, SyntaxError: the file is damaged, or of an unknown kind.
        """
        if not allow_truncated:
            return _decode(self), False
        # Pillow's switch is global to the process, so one thread at a time may turn it on.
        with _lenient:
            try:
                return _decode(self), False
            except OSError as error:
                if "truncated" not in str(error) or self.image.format not in _ROW_BY_ROW:
                    raise
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            try:
                return _decode(open_file(self.data), check=False), True
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = False


def open_file(data: bytes) -> PillowFile:
    """Read the header of an image file; the content decides the format.

    Image.open is not used: it applies Pillow's own limit of pixels, which is global to the process,
    and it hides why a damaged file can't be read.

    Raises:
        PIL.UnidentifiedImageError: the data is not an image in any known format.
        OSError, ValueError, SyntaxError: the header is damaged.
    """
    damage = ""
    kind = kind_of(data[:HEAD_BYTES])
    if kind and kind.name in _MENDERS:
        data = _MENDERS[kind.name](data)
    for name, opener in _openers(data[:HEAD_BYTES]):
        try:
            image = opener(io.BytesIO(data), "")
        except (SyntaxError, IndexError, KeyError, TypeError, struct.error) as error:
            if kind and kind.name == name:
                damage = damage or _odd_bands(name, data) or f"a damaged {name} file: {error}"
            continue
        except (OSError, ValueError) as error:
            # Pillow's openers also take what only begins like their kind, and quote it in errors.
            if kind is None or kind.name != name:
                continue
            if name == "PPM":
                raise ValueError(f"a damaged {name} file: its header can't be read") from error
            raise
        _keep_fourth_band(image)
        return PillowFile(*_stored_size(image), data, image)
    _refuse_heic_without_its_package(data)
    if damage:
        raise ValueError(damage)
    raise UnidentifiedImageError(
        f"not an image in a known format, but {content_of(data)} ({len(data):,} bytes)"
    )


def _openers(head: bytes) -> Iterator[tuple[str, Opener]]:
    """The openers that accept a file, by name, in the order of the table of kinds."""
    start = head[:16].ljust(16, b"\0")  # some take no shorter ones
    for kind in _kinds():
        if kind is _HEIC:
            if _HEIC.matches(head) and (heic := _heic_opener()):
                yield kind.name, heic
            continue
        opener, accepts = Image.OPEN[kind.name]
        accepted = accepts is None or accepts(start)
        if accepted and not isinstance(accepted, str):  # a text is the reason why Pillow can't
            yield kind.name, opener


@functools.cache
def _kinds() -> list[ImageKind]:
    """The kinds that are decoded here; this build of Pillow may lack some of its formats."""
    Image.init()
    return [
        kind
        for kind in IMAGE_KINDS
        if kind is _HEIC or (kind.decoder == "pillow" and kind.name in Image.OPEN)
    ]


@functools.cache
def _heic_opener() -> Opener | None:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        return None
    opener: Opener = HeifImageFile  # used without registering it, which would change all of Pillow
    return opener


def _refuse_heic_without_its_package(data: bytes) -> None:
    if _HEIC.matches(data) and _heic_opener() is None:
        raise UnidentifiedImageError(
            "a HEIC file, which takes the package pillow-heif: "
            "pip install 'image-collection-embeddings[heic]'"
        )


def _stored_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # Pillow reports the upright size
        return int(image.tag_v2[256]), int(image.tag_v2[257])
    return image.size


def _keep_fourth_band(image: ImageFile.ImageFile) -> None:
    """Let a TIFF keep a band beside RGB that is not declared as alpha; Pillow leaves it out."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode == "RGB":
        forms = {each.args[0] for each in image.tile if isinstance(each.args, tuple)}
        if forms and all(form.partition(";")[0] == FOUR_BANDS for form in forms):
            image._mode = FOUR_BANDS


def check_four_bands(file: PillowFile) -> None:
    """Refuse a TIFF whose fourth band would be lost, for an encoder of four channels.

    Raises:
        ValueError: it has five bands or more, or four in an order that Pillow can't read whole.
    """
    if not isinstance(file.image, TiffImagePlugin.TiffImageFile):
        return
    bands = file.image.tag_v2.get(_SAMPLES, 1)
    whole = bands == 4 and file.image.mode in (FOUR_BANDS, "RGBA", "CMYK")
    if bands > 3 and not whole:
        raise ValueError(
            f"a TIFF file of {bands} bands, of which only three can be read; expected at most four "
            f"bands: {_READABLE}"
        )


def _odd_bands(name: str, data: bytes) -> str:
    """Why Pillow can't read a TIFF that may be whole: its number of bands; "" if that's not why."""
    if name != "TIFF":
        return ""
    start = data[: 16 if data[2] == _BIG_TIFF or data[3] == _BIG_TIFF else 8]
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(start)
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        bands, bits = int(tags.get(_SAMPLES, 1)), max(map(int, tags.get(_BITS, (1,))))
    except Exception:  # the tags are damaged, too, and that may raise anything
        return ""
    if bands < 4 and not (bands > 1 and bits > 8):
        return ""
    return f"a TIFF file of {bands} bands of {bits} bits, in a form that can't be read: {_READABLE}"


def _decode(file: PillowFile, check: bool = True) -> Image.Image:
    image = file.image
    if check:
        check_before(image, file.data)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Without this, Pillow creates it, and applies its own limit of pixels.
        image.im = Image.new(image.mode, (file.width, file.height)).im
    try:
        image.load()
    except OSError as error:
        if "truncated" in str(error) and not isinstance(error, TruncatedError):
            raise TruncatedError(f"the {image.format} file is truncated: {error}") from None
        raise
    if check:
        check_after(image, file.data)
    if image.format == "HEIF" and not (b"irot" in file.data or b"imir" in file.data):
        # The reader drops EXIF's orientation even if the container has none.
        image.getexif()[ExifTags.Base.Orientation] = image.info.get("original_orientation") or 1
    if image.format == "PNG":
        _mend_transparency(image, file.data)
    return image


def _mend_transparency(image: Image.Image, data: bytes) -> None:
    """Scale the transparent colour in the way Pillow scaled the pixels."""
    bits, transparent = data[24], image.info.get("transparency")
    if image.mode == "L" and bits in (2, 4) and isinstance(transparent, int):
        image.info["transparency"] = transparent * (255 // (2**bits - 1))
    if image.mode == "RGB" and bits == 16 and isinstance(transparent, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
