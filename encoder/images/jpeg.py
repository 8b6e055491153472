"""JPEG files, decoded by libjpeg-turbo. Its warnings count; Pillow ignores them, even for half-grey
images.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from encoder.errors import TruncatedError

_EOI, _SOS, _DQT, _COM, _APP0, _APP1, _APP14 = 0xD9, 0xDA, 0xDB, 0xFE, 0xE0, 0xE1, 0xEE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_ALONE = {0x01, *range(0xD0, 0xDA)}  # markers without a segment: TEM, RST0 to RST7, SOI, EOI
_RESTARTS = range(0xD0, 0xD8)
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MOST_SCANS = 500  # libjpeg-turbo's own advice against files that take hours

# Warnings of libjpeg-turbo that don't mean missing data. Extra bytes before a restart marker are
# not harmless: the pixels before that marker are wrong.
_HARMLESS = re.compile(
    r"extraneous bytes before marker 0x(?!d[0-7])|Invalid SOS parameters for sequential"
)
_UNKNOWN = "?"  # decoded by Pillow, which reports no warning
# Bytes that don't decode to zeros, which is what libjpeg puts in for missing data.
_FILLER = bytes.fromhex("35a65c93d2694b1e") * 32
# With all restart markers, so that a decoder which waits for its next one finds it.
_RESTARTED_FILLER = _FILLER + b"".join(bytes([0xFF, code]) + _FILLER for code in _RESTARTS)

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
        pixels, complaint = self._decode()
        missing = _unfinished(self.stream) or self._missing(pixels, complaint)
        if missing and not allow_truncated:
            raise TruncatedError(f"the JPEG file is truncated or damaged: {missing}")
        image = self._image(pixels)
        image.info.update(self.metadata)
        return image, bool(missing)

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
        return simplejpeg.decode_jpeg(self.stream, space, strict=False, **size), complaint

    def _least_size(self) -> dict[str, int]:
        """simplejpeg's arguments for ``eighths``; it takes the smallest size that is not below."""
        if self.eighths == 8:
            return {}
        width, height = (-(-side * self.eighths // 8) for side in (self.width, self.height))
        return {"min_width": width, "min_height": height}

    def _missing(self, pixels: NDArray[np.uint8], complaint: str) -> str:
        """What is missing according to the warning; "" for nothing.

        libjpeg-turbo reports only its first warning. If that one is harmless, others may have
        followed. So bytes are added where scans end: a decoder that had all data skips them, and
        one that lacked data makes other pixels of them.
        """
        if not complaint:
            return ""
        if complaint != _UNKNOWN and not _HARMLESS.search(complaint):
            return complaint
        whole = self._replace(eighths=8)  # at a smaller size, the last bits of a block don't show
        if self.eighths < 8:
            pixels, _ = whole._decode()
        longer, _ = whole._replace(stream=_with_filler(self.stream))._decode()
        return "" if np.array_equal(longer, pixels) else "a scan ends before its last pixel"


def read_header(data: bytes) -> JpegFile:
    """Read the header of a JPEG file.

    Raises:
        TruncatedError: the file ends before its pixels begin.
        ValueError: the header is damaged.
    """
    frame, jfif, adobe = b"", False, -1
    kept: list[bytes] = []
    metadata: dict[str, bytes] = {}
    for code, start, end in _markers(data):
        segment = data[start:end]
        if code == _SOS and frame:
            break
        if code in (_EOI, _SOS):
            raise ValueError("the JPEG file has no frame header")
        if code in _FRAMES:
            frame = segment.ljust(10, b"\0")
        jfif = jfif or (code == _APP0 and segment.startswith(b"JFIF\0", 4) and len(segment) >= 16)
        if code == _APP14 and segment.startswith(b"Adobe", 4) and len(segment) >= 16:
            adobe = segment[15]
        if code == _APP1:
            _add_metadata(segment, metadata)
        if not (_APP0 <= code <= 0xEF or code == _COM or code in _ALONE):
            kept.append(segment)
    else:
        raise TruncatedError("the JPEG file is truncated: it ends before its pixels begin")
    height, width = int.from_bytes(frame[5:7], "big"), int.from_bytes(frame[7:9], "big")
    head = [b"\xff\xd8", _JFIF if jfif else b""]
    if adobe >= 0:  # with a transform that libjpeg supports, else it warns
        head.append(_ADOBE + bytes([min(adobe, 1 if frame[9] == 3 else 2)]))
    stream = b"".join([*head, *kept, data[start:]])
    return JpegFile(width, height, frame[9], adobe >= 0, stream, metadata)


def check_stream(data: bytes) -> None:
    """Raise TruncatedError or ValueError if a JPEG stream inside a TIFF file is incomplete."""
    read_header(data).load(allow_truncated=False)


def _markers(data: bytes, position: int = 2) -> Iterator[tuple[int, int, int]]:
    """(code, start, end) of the segments up to the end of the image, or of the data."""
    while match := _MARKER.search(data, position):
        code, start = data[match.end() - 1], match.start()
        position = start + 2
        if code not in _ALONE:
            length = int.from_bytes(data[position : position + 2], "big")
            position += max(length, 2)
        if position > len(data):
            return
        yield code, start, position
        if code == _EOI:
            return


def _add_metadata(segment: bytes, metadata: dict[str, bytes]) -> None:
    exif, xmp = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
    if segment.startswith(exif, 4):  # long ones go on in the next segment
        content = segment[4 + len(exif) :]
        metadata["exif"] = metadata.get("exif", exif) + content
    elif segment.startswith(xmp, 4):
        metadata.setdefault("xmp", segment[4 + len(xmp) :])


def _unfinished(stream: bytes) -> str:
    """What the scans leave undefined; libjpeg accepts files that lack whole scans."""
    wanted: dict[int, NDArray[np.int64]] = {}
    progressive, scans = False, 0
    for code, start, end in _markers(stream):
        segment = stream[start:end]
        if code in _FRAMES:
            progressive = code in _PROGRESSIVE
            ids = segment[10 : 10 + 3 * segment[9] : 3]
            wanted = {component: np.full(64, 99) for component in ids}
        elif code == _SOS:
            scans += 1
            ids, spectrum = segment[5 : 5 + 2 * segment[4] : 2], segment[5 + 2 * segment[4] :]
            if not progressive and set(ids) >= set(wanted):
                return ""  # all in one scan, as most files have it
            if len(spectrum) < 3 or not set(ids) <= set(wanted):
                raise ValueError("the JPEG file has a damaged scan header")
            first, last, low = (*spectrum[:2], spectrum[2] & 15) if progressive else (0, 63, 0)
            for component in ids:
                wanted[component][first : last + 1] = low
            if scans > _MOST_SCANS:
                raise ValueError(f"the JPEG file has over {_MOST_SCANS} scans; no camera writes it")
    return "some of its scans aren't there" if any(left.any() for left in wanted.values()) else ""


def _with_filler(stream: bytes) -> bytes:
    pieces, done, coded = [], 0, False
    for code, start, _ in _markers(stream):
        if coded:
            filler = _FILLER if code in _RESTARTS else _RESTARTED_FILLER
            pieces += [stream[done:start], filler]
            done = start
        coded = code == _SOS or code in _RESTARTS
    return b"".join([*pieces, stream[done:], _RESTARTED_FILLER if coded else b""])


def _by_pillow(stream: bytes) -> NDArray[np.uint8]:
    # With an end marker Pillow accepts the file; missing data is found by other means.
    with JpegImagePlugin.JpegImageFile(io.BytesIO(stream + b"\xff\xd9")) as image:
        pixels = np.asarray(image)
    if pixels.ndim == 2:
        return pixels[:, :, np.newaxis]
    return 255 - pixels if pixels.shape[2] == 4 else pixels  # it treats every CMYK image as Adobe's
