"""Data that is missing from an image file without Pillow noticing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from PIL import Image, TiffImagePlugin

from encoder.jpeg import TruncatedError, check_stream

_ADAM7 = (  # first column, first row, columns apart, rows apart
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PIECE = 1 << 20

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _STRIPS, _SAMPLES = 256, 257, 258, 262, 273, 277
_STRIP_ROWS, _STRIP_BYTES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT = 278, 279, 284, 322, 323
_TILES, _TILE_BYTES, _JPEG_TABLES, _YCBCR = 324, 325, 347, 6


def check_before(image: Image.Image, data: bytes) -> None:
    """Check an opened file before it is decoded, which may lose what it says of itself.

    Raises:
        TruncatedError: data is missing.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(image, data)


def check_after(image: Image.Image, data: bytes) -> None:
    """Check a decoded file, where that is cheaper.

    Raises:
        TruncatedError: data is missing.
    """
    if image.format == "PNG" and _ends_in_black(image):
        _check_png(data)


def _ends_in_black(image: Image.Image) -> bool:
    """Whether one of the last two rows is all zeros, as rows are that were never decoded."""
    rows = range(max(image.height - 2, 0), image.height)
    return any(not any(image.crop((0, y, image.width, y + 1)).tobytes()) for y in rows)


def _check_png(data: bytes) -> None:
    """Pillow takes a PNG whose compressed data ends after any of its rows."""
    width, height, bits, color, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    pixel = bits * _PNG_CHANNELS[color]
    expected = 0
    for x, y, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((x - width) // across), -((y - height) // down)
        if columns > 0 and rows > 0:
            expected += rows * (1 + (columns * pixel + 7) // 8)
    found = _inflated_size(_png_data(data))
    if found < expected:
        raise TruncatedError(
            f"the PNG file is truncated: its rows take {expected} bytes, and it has {found}"
        )


def _png_data(data: bytes) -> Iterator[bytes]:
    position = 8
    while position + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[position : position + 8])
        if name == b"IDAT":
            yield data[position + 8 : position + 8 + length]
        position += 12 + length


def _inflated_size(pieces: Iterable[bytes]) -> int:
    stream, size = zlib.decompressobj(), 0
    for piece in pieces:
        rest = piece
        while rest:
            size += len(stream.decompress(rest, _PIECE))
            rest = stream.unconsumed_tail
    while left := stream.decompress(b"", _PIECE):
        size += len(left)
    return size


def _check_tiff(image: TiffImagePlugin.TiffImageFile, data: bytes) -> None:
    """Pillow takes a TIFF that lacks strips, or ends in the middle of its list of tags."""
    _check_tags(data)
    tags = image.tag_v2
    compression = image.info.get("compression")
    if compression == "raw" and tags.get(_PHOTOMETRIC) != _YCBCR:
        _check_raw_pieces(tags, len(data))
    elif compression == "jpeg":
        tables = tags.get(_JPEG_TABLES, b"\xff\xd8\xff\xd9")
        for start, length in _pieces(tags):
            check_stream(tables[:-2] + data[start + 2 : start + length])


def _check_tags(data: bytes) -> None:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack(order + "H", data[2:4])[0] == 43
    start = struct.unpack(order + ("Q" if big else "I"), data[8:16] if big else data[4:8])[0]
    size, each = (8, 20) if big else (2, 12)
    count = data[start : start + size]
    end = start + size + each * int.from_bytes(count, "little" if order == "<" else "big")
    if len(count) < size or end > len(data):
        raise TruncatedError(
            f"the TIFF file is truncated: its tags end at byte {end}, and it has {len(data)} bytes"
        )


def _pieces(tags: TiffImagePlugin.ImageFileDirectory_v2) -> list[tuple[int, int]]:
    """(first byte, length in bytes or -1 where it isn't told) of every strip or tile."""
    starts = tags.get(_STRIPS) or tags.get(_TILES) or ()
    lengths = tags.get(_STRIP_BYTES) or tags.get(_TILE_BYTES) or (-1,) * len(starts)
    return list(zip(starts, lengths, strict=False))


def _check_raw_pieces(tags: TiffImagePlugin.ImageFileDirectory_v2, size: int) -> None:
    pieces, expected = _pieces(tags), _raw_sizes(tags)
    if len(pieces) < len(expected):
        raise TruncatedError(
            f"the TIFF file is truncated: it has {len(pieces)} strips or tiles of {len(expected)}"
        )
    for number, ((start, length), needed) in enumerate(zip(pieces, expected, strict=False)):
        if start == 0 or 0 <= length < needed or start + needed > size:
            raise TruncatedError(
                f"the TIFF file is truncated: strip or tile {number} takes {needed} bytes, and "
                f"the file has {max(min(length if length >= 0 else needed, size - start), 0)} of it"
            )


def _raw_sizes(tags: TiffImagePlugin.ImageFileDirectory_v2) -> list[int]:
    """The bytes of every strip or tile that the image has, uncompressed."""
    width, height = tags[_WIDTH], tags[_HEIGHT]
    samples, bits = tags.get(_SAMPLES, 1), tags.get(_BITS, (1,))
    planes = samples if tags.get(_PLANAR) == 2 else 1
    pixel = bits[0] * samples // planes
    if _TILES in tags:
        across, down = tags[_TILE_WIDTH], tags[_TILE_HEIGHT]
        count = -(-width // across) * -(-height // down)
        return [down * ((across * pixel + 7) // 8)] * (count * planes)
    rows = min(tags.get(_STRIP_ROWS, height), height)
    heights = [min(rows, height - top) for top in range(0, height, rows)]
    return [lines * ((width * pixel + 7) // 8) for lines in heights] * planes
