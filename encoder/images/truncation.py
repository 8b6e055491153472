"""Checks for missing data in image files that Pillow accepts."""

from __future__ import annotations

import collections
import struct
import zlib
from collections.abc import Iterable, Iterator

from PIL import Image, TiffImagePlugin

from encoder.errors import TruncatedError
from encoder.images.chunks import has_right_checksum, png_chunks
from encoder.images.jpeg import check_stream

_ADAM7 = (  # first column, first row, columns apart, rows apart
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PIECE = 1 << 20

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _STRIPS, _SAMPLES = 256, 257, 258, 262, 273, 277
_STRIP_ROWS, _STRIP_BYTES, _PLANAR, _TILE_WIDTH, _TILE_HEIGHT = 278, 279, 284, 322, 323
_TILES, _TILE_BYTES, _JPEG_TABLES, _YCBCR = 324, 325, 347, 6

_LARGEST_TILE = 1 << 24  # pixels; a tile is decoded whole, however small the image
_CODESTREAM, _TILE_PART = b"\xff\x4f\xff\x51", b"\xff\x90"  # of JPEG 2000: SOC and SIZ, SOT


def check_before(image: Image.Image, data: bytes) -> None:
    """Check an opened file before it is decoded; decoding may discard its metadata.

    Raises:
        TruncatedError: data is missing.
        ValueError: the file is damaged.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff(image, data)
    if image.format == "JPEG2000":
        _check_tiles(data)


def check_after(image: Image.Image, data: bytes) -> None:
    """Check a decoded file, for kinds where the pixels show whether a check is needed.

    Raises:
        TruncatedError: data is missing.
    """
    if image.format == "PNG":
        right = all(has_right_checksum(each, data) for each in png_chunks(data) if each.is_pixels)
        if not right or _ends_in_black(image):
            _check_png(data, right)


def _ends_in_black(image: Image.Image) -> bool:
    """Whether one of the last two rows is all zeros, as undecoded rows are."""
    for y in range(max(image.height - 2, 0), image.height):
        row = image.resize(
            (image.width, 1), Image.Resampling.NEAREST, box=(0, y, image.width, y + 1)
        )
        if not any(row.tobytes()):
            return True
    return False


def _check_png(data: bytes, right: bool) -> None:
    """Check that a PNG has all its rows; Pillow accepts fewer, and reads no checksum of them.

    Args:
        data: the file.
        right: whether the checksums of the chunks are right; else that of the rows decides.
    """
    width, height, bits, color, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    pixel = bits * _PNG_CHANNELS[color]
    expected = 0
    for x, y, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((x - width) // across), -((y - height) // down)
        if columns > 0 and rows > 0:
            expected += rows * (1 + (columns * pixel + 7) // 8)
    try:
        found, ended = _inflated(each.content for each in png_chunks(data) if each.is_pixels)
    except zlib.error as error:
        raise ValueError(f"the PNG file is damaged: its pixels: {error}") from error
    if found < expected or not (right or ended):
        raise TruncatedError(
            f"the PNG file is truncated: its rows take {expected} bytes and a checksum, and it has "
            f"{found} bytes{'' if ended else ' without a checksum'}"
        )


def _inflated(pieces: Iterable[bytes]) -> tuple[int, bool]:
    """The size of the decompressed data in bytes, and whether its end and checksum are there."""
    stream, size = zlib.decompressobj(), 0
    for piece in pieces:
        rest = piece
        while rest:
            size += len(stream.decompress(rest, _PIECE))
            rest = stream.unconsumed_tail
    while left := stream.decompress(b"", _PIECE):
        size += len(left)
    return size, stream.eof


def _check_tiff(image: TiffImagePlugin.TiffImageFile, data: bytes) -> None:
    """Check the tags, strips and tiles of a TIFF; Pillow accepts it if some are missing."""
    _check_tags(data)
    tags = image.tag_v2
    tile = tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0)
    if tile > max(tags[_WIDTH] * tags[_HEIGHT], _LARGEST_TILE):
        raise ValueError(
            f"a damaged TIFF file: its tiles have {tile:,} pixels; expected no more than the "
            f"image has, or {_LARGEST_TILE:,}"
        )
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
    """(first byte, length in bytes or -1 if not stated) of every strip or tile."""
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
    """The uncompressed size of every strip or tile that the image should have, in bytes."""
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


def _check_tiles(data: bytes) -> None:
    """Check that a JPEG 2000 file has all tile parts; OpenJPEG accepts fewer."""
    start = data.find(_CODESTREAM)
    right, bottom, _, _, width, height, left, top = struct.unpack(
        ">8I", data[start + 8 : start + 40].ljust(32, b"\0")
    )
    if start < 0 or not width or not height:
        raise ValueError("a damaged JPEG2000 file: its tiles have no size")
    count = -((left - right) // width) * -((top - bottom) // height)
    found, declared = collections.Counter[int](), collections.Counter[int]()
    for tile, parts in _tile_parts(data, start + 2):
        found[tile] += 1
        declared[tile] = max(parts, 1)
    missing = count - sum(found[tile] >= declared[tile] for tile in found)
    if missing > 0:
        raise TruncatedError(
            f"the JPEG2000 file is truncated: {missing} of its {count} tiles aren't whole"
        )


def _tile_parts(data: bytes, position: int) -> Iterator[tuple[int, int]]:
    """(tile number, number of its parts or 0 if not stated) of every tile part."""
    while len(head := data[position : position + 12]) == 12:
        marker, length, tile, size, _, parts = struct.unpack(">2sHHIBB", head)
        if marker == _TILE_PART:
            yield tile, parts
            position += max(size, 12) if size else len(data)  # the last one may omit its size
        else:
            position += 2 + length
