"""PNG and WebP files, mended where damage does not concern their pixels.

Decoders refuse such files for the wrong checksum of a comment, or the wrong size of the whole.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

_PNG_START = 8
_END = b"IEND"
_ORIENTATION = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # may hold it
_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")  # keywords of those that do

_WEBP_START = 12
_IMAGES = (b"VP8 ", b"VP8L", b"ANMF")
_FLAGS = {b"EXIF": 0x08, b"XMP ": 0x04}  # in the chunk VP8X


class Chunk(NamedTuple):
    """A chunk of a file.

    Attributes:
        name: four letters.
        start: of the whole chunk, in bytes.
        content: without name, length and checksum; shorter than stated if the file is cut.
        end: of the whole chunk, as stated; may lie beyond the file.
    """

    name: bytes
    start: int
    content: bytes
    end: int

    @property
    def is_pixels(self) -> bool:
        """Whether it holds compressed rows of a PNG file."""
        return self.name == b"IDAT"


def png_chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG file."""
    start = _PNG_START
    while start + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[start : start + 8])
        yield Chunk(name, start, data[start + 8 : start + 8 + length], start + 12 + length)
        start += 12 + length


def has_right_checksum(chunk: Chunk, data: bytes) -> bool:
    """Whether a chunk of a PNG file is whole and has the checksum that follows it."""
    checksum = zlib.crc32(chunk.content, zlib.crc32(chunk.name))
    return data[chunk.end - 4 : chunk.end] == checksum.to_bytes(4, "big")


def essential_png(data: bytes) -> bytes:
    """A PNG file without the chunks that don't matter here, such as colour profiles and comments.

    Text and EXIF stay only if they may hold an orientation and their checksums are right.
    """
    pieces, done = [], 0
    for chunk in png_chunks(data):
        if not _matters(chunk, data):
            pieces.append(data[done : chunk.start])
            done = chunk.end
        if chunk.name == _END:
            break
    return b"".join([*pieces, data[done:]]) if pieces else data


def _matters(chunk: Chunk, data: bytes) -> bool:
    if chunk.name[:1].isupper() or chunk.name == b"tRNS":  # an upper case letter means: critical
        return True
    if chunk.name not in _ORIENTATION:
        return False
    if chunk.name != b"eXIf" and not chunk.content.startswith(_TEXTS):
        return False
    return has_right_checksum(chunk, data)


def whole_webp(data: bytes) -> bytes:
    """A WebP file with its real size, if only the stated one is wrong.

    The file is returned as it is if a chunk of its image is cut, or a chunk is missing that may
    hold its orientation.
    """
    if len(data) >= _WEBP_START and _is_whole(data, _stated_end(data)):
        return data
    end, found, flags = _WEBP_START, set(), 0
    for chunk in _webp_chunks(data):
        if chunk.end > len(data) + 1:
            break
        end = chunk.end
        found.add(chunk.name)
        if chunk.name == b"VP8X":
            flags = int.from_bytes(chunk.content[:1], "little")
    lacking = [name for name, flag in _FLAGS.items() if flags & flag and name not in found]
    if lacking or not found.intersection(_IMAGES):
        return data
    body = data[_WEBP_START:end].ljust(end - _WEBP_START, b"\0")  # the last chunk may lack padding
    return b"RIFF" + struct.pack("<I", end - 8) + b"WEBP" + body


def _webp_chunks(data: bytes) -> Iterator[Chunk]:
    start = _WEBP_START
    while start + 8 <= len(data):
        name, length = struct.unpack("<4sI", data[start : start + 8])
        end = start + 8 + length + length % 2
        yield Chunk(name, start, data[start + 8 : start + 8 + length], end)
        start = end


def _stated_end(data: bytes) -> int:
    return 8 + int.from_bytes(data[4:8], "little")


def _is_whole(data: bytes, end: int) -> bool:
    """Whether the chunks end where the file says that it ends."""
    return end <= len(data) and any(chunk.end == end for chunk in _webp_chunks(data[:end]))
