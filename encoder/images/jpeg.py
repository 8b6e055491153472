"""JPEG files, decoded by libjpeg-turbo. Its warnings count; Pillow ignores them, even for half-grey
images.
"""

from __future__ import annotations

import io
import re
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from encoder.errors import TruncatedError
from encoder.images.jpeg_stream import (
    ALONE,
    END_MARKER,
    EOI,
    FRAMES,
    SCAN,
    SOI,
    SOS,
    Ending,
    ending_of,
    is_arithmetic,
    markers,
    with_fillers,
    without_fill,
)

_COM, _APP0, _APP1, _APP14 = 0xFE, 0xE0, 0xE1, 0xEE

# libjpeg-turbo's warnings; its other messages are errors, after which pixels are undefined.
_WARNING = re.compile("Corrupt JPEG data|Premature end|Invalid SOS|Inconsistent progression")
# Warnings that don't mean missing data. Extra bytes before a restart marker are not harmless: the
# pixels before that marker are wrong.
_HARMLESS = re.compile(
    r"extraneous bytes before marker 0x(?!d[0-7])|Invalid SOS parameters for sequential"
)
_AT_THE_END = "extraneous bytes before marker 0xd9"  # or in place of a restart marker
_RESTART_INTERVAL = b"\xff\xdd"
_NO_PIXELS = "the JPEG file is truncated: it ends before its pixels begin"
_TWO_IMAGES = (
    "the length of a segment in its header is wrong, and which of the images in the file is the "
    "picture can't be told; write the file again with an image program"
)
_UNKNOWN = "?"  # the decoder reports no warning
_FEW, _ALL = 1, 16  # fillers

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


class JpegFile(NamedTuple):
    """A JPEG file whose header was read.

    Attributes:
        width: pixels, as stored.
        height: pixels, as stored.
        components: 1 is grayscale, 3 is colour, 4 is CMYK.
        adobe: whether Adobe's marker is there, which means that CMYK values are inverted.
        stream: the file without its metadata, which makes libjpeg-turbo warn needlessly.
        metadata: ``exif`` and ``xmp``, as bytes.
        eighths: of the stored size that the image is decoded at: 8, or 4, 2, 1 for less work.
    """

    width: int
    height: int
    components: int
    adobe: bool
    stream: bytes
    metadata: dict[str, bytes]
    eighths: int = 8

    def load(self, allow_truncated: bool) -> tuple[Image.Image, bool]:
        """Decode to an L, RGB or CMYK image; the flag tells whether data is missing.

        The image has ``eighths`` of the stored size, rounded up; or the full size where only Pillow
        supports the subsampling.

        Raises:
            TruncatedError: data is missing, and that is not allowed.
            ValueError: the file is damaged, or of a kind that libjpeg-turbo can't decode.
        """
        ending = ending_of(self.stream)
        try:
            pixels, missing = self._checked(ending)
        except (OSError, ValueError):
            if not ending.marked:
                raise
            missing = "an error"
        if missing and ending.marked:  # the fault may lie in what follows the scans
            pixels, missing = self._checked(ending_of(self.stream, look_on=False))
        if missing and not allow_truncated:
            raise TruncatedError(f"the JPEG file is truncated or damaged: {missing}")
        image = self._image(pixels)
        image.info.update(self.metadata)
        return image, bool(missing)

    def _checked(self, ending: Ending) -> tuple[NDArray[np.uint8], str]:
        """The pixels, and what is missing; "" for nothing."""
        file = self if ending.marked else self._ended(ending.stream)
        pixels, complaint = file._decode()
        missing = ending.missing or file._missing(
            pixels, complaint, _FEW if ending.marked else _ALL
        )
        if not (ending.marked or missing):
            missing = self._uncertain(ending.stream)
        return pixels, missing

    def _ended(self, body: bytes) -> JpegFile:
        return self._replace(stream=body + END_MARKER)

    def _image(self, pixels: NDArray[np.uint8]) -> Image.Image:
        if self.components < 4:
            return Image.fromarray(pixels[:, :, 0] if self.components == 1 else pixels)
        ink = 255 - pixels if self.adobe else pixels
        return Image.frombytes("CMYK", (ink.shape[1], ink.shape[0]), ink.tobytes())

    def _decode(self) -> tuple[NDArray[np.uint8], str]:
        """The pixels as far as they can be decoded, and libjpeg-turbo's first warning."""
        if self.components not in (1, 3, 4):
            raise ValueError(f"the JPEG file has {self.components} components; expected 1, 3 or 4")
        space = {1: "GRAY", 3: "RGB", 4: "CMYK"}[self.components]
        size = self._least_size()
        try:
            return simplejpeg.decode_jpeg(self.stream, space, **size), ""
        except ValueError as error:
            complaint = str(error)
        if "subsampling" in complaint:  # TurboJPEG supports six kinds, libjpeg all
            return _by_pillow(self.stream), _UNKNOWN
        if not _WARNING.search(complaint):
            raise ValueError(f"the JPEG file is damaged: {complaint}")
        return simplejpeg.decode_jpeg(self.stream, space, strict=False, **size), complaint

    def _least_size(self) -> dict[str, int]:
        """simplejpeg's arguments for ``eighths``; it takes the smallest size that is not below."""
        if self.eighths == 8:
            return {}
        width, height = (-(-side * self.eighths // 8) for side in (self.width, self.height))
        return {"min_width": width, "min_height": height}

    def _missing(self, pixels: NDArray[np.uint8], complaint: str, fillers: int) -> str:
        """What is missing according to the warning; "" for nothing.

        libjpeg-turbo reports only its first warning. If that one is harmless, others may have
        followed, except at the very end. So bytes are added where scans end: a decoder that had all
        data skips them, and one that lacked data makes other pixels of them.
        """
        if not complaint or (
            complaint.endswith(_AT_THE_END) and _RESTART_INTERVAL not in self.stream
        ):
            return ""
        if complaint != _UNKNOWN and not _HARMLESS.search(complaint):
            return complaint
        whole = self._replace(eighths=8)  # at a smaller size, the last bits of a block don't show
        if self.eighths < 8:
            pixels, _ = whole._decode()
        for longer in with_fillers(self.stream, fillers):
            if not np.array_equal(whole._replace(stream=longer)._decode()[0], pixels):
                return "a scan ends before its last pixel"
        return ""

    def _uncertain(self, body: bytes) -> str:
        """Why pixels may be missing in a stream without an end marker that decodes without warning.

        A copy that was interrupted may leave zeros up to the file's size, and the decoder makes
        pixels of them. In arithmetic coding, zeros at the end are left out, so none are missed.
        """
        if is_arithmetic(body):
            return "an arithmetic coded image without an end marker may lack its last pixels"
        least = without_fill(body)
        file = self._ended(least)
        if len(least) == len(body) or not file._missing(*file._decode(), _ALL):
            return ""
        return f"it ends in bytes of 0x{body[-1]:02x}, which may stand for the rest of the image"


def read_header(data: bytes) -> JpegFile:
    """Read the header of a JPEG file.

    Raises:
        TruncatedError: the file ends before its pixels begin.
        ValueError: the header is damaged.
    """
    frame, jfif, adobe = b"", False, -1
    kept: list[bytes] = []
    exif: list[bytes] = []
    xmp: list[bytes] = []
    gap, last, starts = False, 2, 1
    for code, start, end in markers(data):
        if end < 0:
            raise TruncatedError(_NO_PIXELS)
        segment = data[start:end]
        gap, last = gap or bool(data[last:start].strip(b"\xff")), end
        if code == SOS and frame:
            break
        if code == SOI:
            if start != 2 * starts:  # there is something else before it
                raise ValueError(f"the JPEG file is damaged: {_TWO_IMAGES}")
            starts += 1
        if code in (EOI, SOS):
            raise ValueError("the JPEG file has no frame header")
        if code in FRAMES:
            frame = segment.ljust(10, b"\0")
        jfif = jfif or (code == _APP0 and segment.startswith(b"JFIF\0", 4) and len(segment) >= 16)
        if code == _APP14 and segment.startswith(b"Adobe", 4) and len(segment) >= 16:
            adobe = segment[15]
        if code == _APP1:
            if segment.startswith(_EXIF, 4):  # long ones go on in the next segment
                exif.append(segment[4 + len(_EXIF) :])
            elif segment.startswith(_XMP, 4):
                xmp.append(segment[4 + len(_XMP) :])
        if not (_APP0 <= code <= 0xEF or code == _COM or code in ALONE):
            kept.append(segment)
    else:
        raise TruncatedError(_NO_PIXELS)
    if gap and (
        SCAN in data[:start] or SCAN in data[max(data.find(END_MARKER, start), start + 2) :]
    ):
        raise ValueError(f"the JPEG file is damaged: {_TWO_IMAGES}")
    height, width = int.from_bytes(frame[5:7], "big"), int.from_bytes(frame[7:9], "big")
    head = [b"\xff\xd8", _JFIF if jfif else b""]
    if adobe >= 0:  # with a transform that libjpeg supports, else it warns
        head.append(_ADOBE + bytes([min(adobe, 1 if frame[9] == 3 else 2)]))
    stream = b"".join([*head, *kept, data[start:]])
    metadata = {"exif": b"".join([_EXIF, *exif])} if exif else {}
    if xmp:
        metadata["xmp"] = xmp[0]
    return JpegFile(width, height, frame[9], adobe >= 0, stream, metadata)


def check_stream(data: bytes) -> None:
    """Raise TruncatedError or ValueError if a JPEG stream inside a TIFF file is incomplete."""
    read_header(data).load(allow_truncated=False)


def _by_pillow(stream: bytes) -> NDArray[np.uint8]:
    # Pillow accepts any file with an end marker; missing data is found by other means.
    with JpegImagePlugin.JpegImageFile(io.BytesIO(stream)) as image:
        pixels = np.asarray(image)
    if pixels.ndim == 2:
        return pixels[:, :, np.newaxis]
    return 255 - pixels if pixels.shape[2] == 4 else pixels  # it treats every CMYK image as Adobe's
