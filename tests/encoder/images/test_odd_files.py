"""Files with harmless damage, as they occur: embedded if their pixels are certain, else a failure.

Each entry of a table is a file and its verdict: None if it has the pixels of the undamaged file, or
what its error says.
"""

import re
import struct
import zlib

import numpy as np
import pytest

from encoder.images.decode import decode_image
from encoder.spec import read_spec
from tests.support.image_files import (
    chunk,
    exif,
    photograph,
    png,
    saved,
    segments,
    tiff,
    without,
)

SIZE = (61, 47)
PHOTO = photograph(*SIZE)
EXIF, UPSIDE_DOWN = b"Exif\0\0", 3
JPEG = saved(PHOTO, "JPEG")
PROGRESSIVE = saved(PHOTO, "JPEG", progressive=True)
THUMBNAIL = saved(PHOTO.resize((16, 16)).rotate(90), "JPEG")
PNG = saved(PHOTO, "PNG")
GIF = saved(PHOTO.quantize(64), "GIF")
WEBP = {"lossy": saved(PHOTO, "WEBP"), "lossless": saved(PHOTO, "WEBP", lossless=True)}
BMP, GRAY_BMP = saved(PHOTO, "BMP"), saved(PHOTO.convert("L"), "BMP")
TIFF = tiff(np.asarray(PHOTO), photometric="rgb", rowsperstrip=10)


@pytest.fixture
def spec(small_bundle):
    return read_spec(small_bundle).replace(width=SIZE[0], height=SIZE[1])


def segment(code, content, length=None):
    """A segment of a JPEG file, whose stated length may be wrong."""
    stated = len(content) + 2 if length is None else length
    return bytes([0xFF, code]) + struct.pack(">H", stated) + content


def place(code):
    """(first byte, end) of the first segment with this code."""
    return next((start, end) for found, start, end in segments(JPEG) if found == code)


def jpeg_with(content, code=0):
    """The JPEG file with bytes after its first marker, or before another one."""
    at = place(code)[0] if code else 2
    return JPEG[:at] + content + JPEG[at:]


def before_end(content):
    return JPEG[:-2] + content + JPEG[-2:]


def ifd(*entries, count=None, following=0):
    """An EXIF segment's directory of (tag, type, number of values, value or offset)."""
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries) if count is None else count)
    body = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return EXIF + head + body + struct.pack("<I", following)


def tagged(*entries, **options):
    return jpeg_with(segment(0xE1, ifd(*entries, **options)))


def oriented(value, kind=3, count=1):
    return tagged((0x0112, kind, count, value))


FRAME, TABLE, CODES, SCAN = place(0xC0), place(0xDB), 0xC4, place(0xDA)
TURNED = ifd((0x0112, 3, 1, bytes([UPSIDE_DOWN, 0, 0, 0])))
JFIF = b"JFIF\0\1\1\0\0\1\0\1\0\0"
TWO_IMAGES = "which of the images in the file is the picture"
DAMAGED = "damaged|broken data stream|no marker found"

JPEGS = {
    # Bytes where none belong.
    "bytes before a segment": (jpeg_with(b"\0\x12\x34", 0xDB), None),
    "fill bytes before a segment": (jpeg_with(b"\xff" * 5, 0xDB), None),
    "bytes between scans": (PROGRESSIVE.replace(b"\xff\xda", b"ab\xff\xda"), None),
    "fill bytes between scans": (PROGRESSIVE.replace(b"\xff\xda", b"\xff\xff\xff\xda"), None),
    "a comment between scans": (
        PROGRESSIVE.replace(b"\xff\xda", segment(0xFE, b"abc") + b"\xff\xda"),
        None,
    ),
    "two start markers": (jpeg_with(b"\xff\xd8"), None),
    "a stray restart marker": (jpeg_with(b"\xff\xd3", 0xDB), None),
    "a stray TEM": (jpeg_with(b"\xff\x01", 0xDB), None),
    "bytes before the start marker": (b"\n" + JPEG, "not an image in a known format"),
    "a segment of an unknown kind": (jpeg_with(segment(0xF0, b"abc"), 0xDB), DAMAGED),
    "a segment of a reserved kind": (jpeg_with(segment(0x02, b"abc"), 0xDB), DAMAGED),
    # What follows the pixels.
    "garbage after the end": (JPEG + b"\0\1\2garbage" * 99, None),
    "two end markers": (JPEG + b"\xff\xd9", None),
    "a thumbnail after the end": (JPEG + THUMBNAIL, None),
    "a video after the end": (JPEG + b"\0\0\0\x18ftypmp42" + bytes(5000), None),
    "bytes before the end": (before_end(b"garbage" * 9), None),
    "bytes with markers before the end": (before_end(b"garb\xff\xc4\xff\xffage" * 9), None),
    "a segment before the end": (before_end(segment(0xE5, b"abc\xff\xd9abc")), None),
    "a comment too long before the end": (before_end(segment(0xFE, b"abc", 5000)), None),
    "the number of rows once more": (before_end(segment(0xDC, b"\0\x2f")), None),
    "another image instead of the end": (JPEG[:-2] + THUMBNAIL, None),
    # Lengths.
    "an APP5 too long": (jpeg_with(segment(0xE5, b"abcdefgh", 14)), None),
    "an APP5 too short": (jpeg_with(segment(0xE5, b"abcdefgh", 5)), None),
    "an APP5 of 0 bytes": (jpeg_with(segment(0xE5, b"abcdefgh", 0)), None),
    "an APP5 of 1 byte": (jpeg_with(segment(0xE5, b"abcdefgh", 1)), None),
    "an APP5 too long by far": (jpeg_with(segment(0xE5, b"abcdefgh", 60000)), "truncated"),
    "an APP5 that takes a table": (
        jpeg_with(segment(0xE5, b"ab", 4 + 30), 0xDB),
        DAMAGED,
    ),
    "an EXIF too short before its thumbnail": (
        jpeg_with(segment(0xE1, TURNED + THUMBNAIL, 20)),
        TWO_IMAGES,
    ),
    "an EXIF of 0 bytes with a thumbnail": (
        jpeg_with(segment(0xE1, TURNED + THUMBNAIL, 0)),
        TWO_IMAGES,
    ),
    "an EXIF that ends in its thumbnail": (
        jpeg_with(segment(0xE1, TURNED + THUMBNAIL, 2 + len(TURNED) + 10)),
        TWO_IMAGES,
    ),
    "an empty comment": (jpeg_with(segment(0xFE, b"")), None),
    "a comment of odd length": (jpeg_with(segment(0xFE, b"abc")), None),
    "a frame header too long": (
        JPEG[: FRAME[0] + 3]
        + bytes([JPEG[FRAME[0] + 3] + 3])
        + JPEG[FRAME[0] + 4 : FRAME[1]]
        + b"abc"
        + JPEG[FRAME[1] :],
        DAMAGED,
    ),
    # Metadata.
    "orientation 0": (oriented(bytes(4)), None),
    "orientation 9": (oriented(b"\x09\0\0\0"), None),
    "orientation 65535": (oriented(b"\xff\xff\0\0"), None),
    "an orientation of text": (oriented(b"6\0\0\0", kind=2, count=2), None),
    "an orientation of two values": (oriented(b"\1\0\6\0", count=2), None),
    "an orientation of no value": (oriented(b"\6\0\0\0", count=0), None),
    "an orientation divided by zero": (
        jpeg_with(segment(0xE1, ifd((0x0112, 5, 1, b"\x1a\0\0\0")) + struct.pack("<II", 6, 0))),
        None,
    ),
    "an orientation that is no number": (oriented(struct.pack("<f", np.nan), kind=11), None),
    "a directory that follows itself": (tagged((0x8769, 4, 1, b"\x08\0\0\0"), following=8), None),
    "a directory of 65535 entries": (tagged((0x0112, 3, 1, b"\1\0\0\0"), count=65535), None),
    "a directory beyond the file": (
        jpeg_with(segment(0xE1, EXIF + b"II*\0\xff\xff\xff\x7f")),
        None,
    ),
    "a value of 4 GB": (tagged((0x010F, 2, 0xFFFFFFFF, b"\x08\0\0\0")), None),
    "an EXIF that is cut": (jpeg_with(segment(0xE1, TURNED[:17])), None),
    "an EXIF of garbage": (jpeg_with(segment(0xE1, EXIF + bytes(range(200)))), None),
    "an empty EXIF": (jpeg_with(segment(0xE1, EXIF)), None),
    "an EXIF in two segments": (
        jpeg_with(segment(0xE1, ifd() + bytes(60000)) + segment(0xE1, EXIF + bytes(60000))),
        None,
    ),
    "an XMP of garbage": (
        jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='banana'")),
        None,
    ),
    "a profile's piece 5 of 2": (jpeg_with(segment(0xE2, b"ICC_PROFILE\0\5\2garbage")), None),
    "a profile without content": (jpeg_with(segment(0xE2, b"ICC_PROFILE\0")), None),
    "a density of 0": (JPEG.replace(JFIF, b"JFIF\0\1\1\7\0\0\0\0\0\0"), None),
    "a JFIF thumbnail that isn't there": (JPEG.replace(JFIF, JFIF[:-2] + b"\x40\x40"), None),
    "a JFIF that is cut": (JPEG[:2] + segment(0xE0, b"JFIF\0") + without(JPEG, 0xE0)[2:], None),
    "no JFIF": (without(JPEG, 0xE0), None),
    "an Adobe that is cut": (jpeg_with(segment(0xEE, b"Adobe\0")), None),
    "Adobe's transform of CMYK": (jpeg_with(segment(0xEE, b"Adobe\0\x64\0\0\0\0\2")), None),
    # Tables and headers.
    "a table twice": (jpeg_with(JPEG[slice(*TABLE)], 0xDB), None),
    "no Huffman tables, as in MJPEG": (without(JPEG, CODES), None),
    "no quantization tables": (without(JPEG, 0xDB), "Quantization table 0x00 was not defined"),
    "two frame headers": (jpeg_with(JPEG[slice(*FRAME)], 0xC0), DAMAGED),
    "odd parameters of the scan": (JPEG[: SCAN[1] - 3] + b"\1\0\0" + JPEG[SCAN[1] :], None),
    "a restart interval of 0": (jpeg_with(segment(0xDD, b"\0\0"), 0xDB), None),
}


def patched(data, at, content):
    return data[:at] + content + data[at + len(content) :]


def png_with(*chunks):
    return PNG[:33] + b"".join(chunks) + PNG[33:]


def wrong(name, content):
    """A chunk whose checksum is wrong."""
    right = chunk(name, content)
    return right[:-1] + bytes([right[-1] ^ 1])


BEHIND = len(PNG) - 12  # the last chunk begins
BOMB = zlib.compress(bytes(1 << 27))
PNGS = {
    **{
        f"{name.decode()} with a wrong checksum": (png_with(wrong(name, content)), None)
        for name, content in {
            b"tEXt": b"Title\0cat",
            b"pHYs": bytes(9),
            b"gAMA": bytes(4),
            b"iCCP": b"p\0\0" + zlib.compress(b"profile"),
            b"eXIf": TURNED[6:],
            b"prVt": b"of some program",
        }.items()
    },
    **{
        f"{name} of {len(content)} bytes": (png_with(chunk(name.encode(), content)), None)
        for name in (
            *("gAMA", "cHRM", "sRGB", "pHYs", "bKGD", "tIME", "sBIT", "hIST", "sPLT", "iCCP"),
            *("tEXt", "zTXt", "iTXt", "eXIf", "acTL", "fcTL"),
        )
        for content in (b"", b"\1")
    },
    "a profile that isn't compressed": (png_with(chunk(b"iCCP", b"p\0\0garbage")), None),
    "a profile of an unknown method": (png_with(chunk(b"iCCP", b"p\0\7garbage")), None),
    "a profile of 128 MB": (png_with(chunk(b"iCCP", b"p\0\0" + BOMB)), None),
    "a text of 128 MB": (png_with(chunk(b"zTXt", b"Title\0\0" + BOMB)), None),
    "an EXIF of garbage": (png_with(chunk(b"eXIf", b"garbage")), None),
    "an XMP with a wrong checksum": (
        png_with(wrong(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='3'/>")),
        None,
    ),
    "garbage after the end": (PNG + b"garbage" * 9, None),
    "no end": (PNG[:BEHIND], None),
    "half an end": (PNG[:-7], None),
    "an end with a wrong checksum": (PNG[:-1] + b"x", None),
    "a wrong text after the pixels": (
        PNG[:BEHIND] + wrong(b"tEXt", b"Title\0cat") + PNG[BEHIND:],
        None,
    ),
    "a text after the pixels that is cut": (
        PNG[:BEHIND] + chunk(b"tEXt", b"Title\0" + b"cat" * 99)[:50],
        None,
    ),
    "a wrong length after the pixels": (
        PNG[:BEHIND] + b"\x7f\xff\xff\xfftEXtabc" + PNG[BEHIND:],
        None,
    ),
    "a text in place of pixels": (
        PNG[: BEHIND - 40] + b"\0\0\0\3tEXtabc\0\0\0\0" + PNG[BEHIND:],
        "truncated|incorrect data check",
    ),
    "pixels with a wrong checksum": (patched(PNG, BEHIND - 4, b"cats"), None),
    "pixels without a checksum": (PNG[: BEHIND - 4], None),
    "a header with a wrong checksum": (PNG[:32] + b"x" + PNG[33:], "checksum in b'IHDR'"),
    "a transparent colour with a wrong checksum": (
        png_with(wrong(b"tRNS", bytes(6))),
        "checksum in b'tRNS'",
    ),
    "a transparent colour that is cut": (png_with(chunk(b"tRNS", b"\1")), "damaged PNG"),
}
GIFS = {
    "no trailer": (GIF[:-1], None),
    "no last block": (GIF[:-2], None),
    "garbage after the end": (GIF + b"garbage", None),
    "a comment that is cut": (GIF[:-1] + b"!\xfe\x20abc", None),
    "blocks of an unknown kind": (GIF[:-1] + b"\0\0\0garbage", None),
    "an aspect ratio": (GIF[:12] + b"\xff" + GIF[13:], None),
    "a pixel less": (GIF[:-5], "truncated"),
}


def resized(data, change):
    """A WebP file that states another size."""
    size = int.from_bytes(data[4:8], "little") + change
    return data[:4] + struct.pack("<I", min(max(size, 0), 0xFFFFFFFF)) + data[8:]


def webp_with(name, content):
    return resized(
        WEBP["lossy"] + name + struct.pack("<I", len(content)) + content, 8 + len(content)
    )


UPRIGHT_WEBP = saved(PHOTO, "WEBP", exif=exif(1))
WEBPS = {
    **{
        f"{kind}, size off by {change}": (kind, resized(data, change), None)
        for kind, data in WEBP.items()
        for change in (-(1 << 32), -1000, -10, -1, 1, 2, 10, 1000, 1 << 32)
    },
    "garbage after the end": ("lossy", WEBP["lossy"] + b"garbage", None),
    "garbage within the size": ("lossy", resized(WEBP["lossy"] + b"garbage!", 8), None),
    "a chunk of some program": ("lossy", webp_with(b"prVt", b"garbage!"), None),
    "an EXIF that is cut": ("upright", UPRIGHT_WEBP[:-6], "could not create decoder"),
    "an EXIF of garbage": ("upright", UPRIGHT_WEBP[:-8] + b"garbage!", None),
    "a pixel less": ("lossy", WEBP["lossy"][:-3], "could not create decoder"),
    "a pixel less, size adapted": ("lossy", resized(WEBP["lossy"][:-4], -4), "could not"),
}
CLEAN_WEBP = {**WEBP, "upright": UPRIGHT_WEBP}


BMPS = {
    **{
        f"a file size of {size}": (BMP, patched(BMP, 2, struct.pack("<I", size)), None)
        for size in (0, 1, 54, 2 * len(BMP), 0xFFFFFFFF)
    },
    "no padding of the last row": (BMP, BMP[:-1], None),
    "no padding of three bytes": (GRAY_BMP, GRAY_BMP[:-3], None),
    "a pixel less": (GRAY_BMP, GRAY_BMP[:-4], "truncated"),
    "garbage after the end": (BMP, BMP + b"abc", None),
    "an image size of 0": (BMP, patched(BMP, 34, bytes(4)), None),
    "a wrong image size": (BMP, patched(BMP, 34, b"\7\0\0\0"), None),
    "reserved fields": (BMP, patched(BMP, 6, b"abcd"), None),
    "a negative resolution": (BMP, patched(BMP, 38, b"\xff" * 8), None),
    "no planes": (BMP, patched(BMP, 26, b"\0\0"), None),
    "a palette of 2 billion colours": (BMP, patched(BMP, 46, b"\0\0\0\x80"), None),
}


def tiff_with(tag, kind, count, value):
    """The TIFF file with a private tag."""
    pixels = np.asarray(PHOTO)
    options = {"photometric": "rgb", "rowsperstrip": 10}
    return tiff(pixels, extratags=[(tag, kind, count, value, True)], **options)


def tiff_entry(tag, at, content):
    """The TIFF file with other bytes in the entry of a tag: 2 type, 4 count, 8 value."""
    start = struct.unpack("<I", TIFF[4:8])[0] + 2
    count = struct.unpack("<H", TIFF[start - 2 : start])[0]
    if tag is None:  # the offset of the next page
        return patched(TIFF, start + 12 * count, content)
    places = range(start, start + 12 * count, 12)
    entry = next(p for p in places if struct.unpack("<H", TIFF[p : p + 2])[0] == tag)
    return patched(TIFF, entry + at, content)


OUT = b"\xf0\xff\xff\xff"
TIFFS = {
    "a private tag": (tiff_with(65000, 2, 5, b"abcd"), None),
    "orientation 9": (tiff_with(274, 3, 1, 9), None),
    "orientation 0": (tiff_with(274, 3, 1, 0), None),
    "a profile of garbage": (tiff_with(34675, 7, 7, b"garbage"), None),
    "an XMP of garbage": (tiff_with(700, 1, 7, b"garbage"), None),
    "a resolution beyond the file": (tiff_entry(282, 8, OUT), None),
    "a program's name beyond the file": (tiff_entry(305, 8, OUT), None),
    "a program's name of 4 GB": (tiff_entry(305, 4, b"\xff" * 4), None),
    "a type that doesn't exist": (tiff_entry(305, 2, b"\x63\0"), None),
    "a next page beyond the file": (tiff_entry(None, 0, OUT), None),
    "a next page that is this one": (tiff_entry(None, 0, TIFF[4:8]), None),
    "garbage after the end": (TIFF + b"garbage", None),
    "strips beyond the file": (
        tiff_entry(273, 8, OUT),
        "truncated|damaged|decoder error|image file",
    ),
}


def check(data, clean, verdict, spec):
    if verdict is None:
        decoded = decode_image(data, spec)
        np.testing.assert_array_equal(decoded.pixels, decode_image(clean, spec).pixels)
        assert not decoded.truncated
        return
    with pytest.raises((OSError, ValueError, SyntaxError)) as error:
        decode_image(data, spec)
    assert re.search(verdict, str(error.value))


@pytest.mark.parametrize("decode", ["exact", "fast"])
@pytest.mark.parametrize("name", JPEGS)
def test_jpeg(name, decode, spec):
    data, verdict = JPEGS[name]
    clean = PROGRESSIVE if "scans" in name else JPEG
    small = spec.replace(decode=decode, width=4, height=3) if decode == "fast" else spec
    check(data, clean, verdict, small)


def test_the_damaged_files_are_judged_by_pixels_that_differ(spec):
    """An orientation or a thumbnail that were taken would show."""
    upright = decode_image(JPEG, spec).pixels
    for other in (jpeg_with(segment(0xE1, TURNED)), THUMBNAIL):
        assert (decode_image(other, spec).pixels != upright).any()
    plain = decode_image(PNG, spec).pixels
    turned = decode_image(png_with(chunk(b"eXIf", TURNED[6:])), spec).pixels
    np.testing.assert_array_equal(turned, plain[::-1, ::-1])


@pytest.mark.parametrize("name", PNGS)
def test_png(name, spec):
    data, verdict = PNGS[name]
    check(data, PNG, verdict, spec)


@pytest.mark.parametrize("name", GIFS)
def test_gif(name, spec):
    data, verdict = GIFS[name]
    check(data, GIF, verdict, spec)


@pytest.mark.parametrize("name", WEBPS)
def test_webp(name, spec):
    kind, data, verdict = WEBPS[name]
    check(data, CLEAN_WEBP[kind], verdict, spec)


@pytest.mark.parametrize("name", BMPS)
def test_bmp(name, spec):
    clean, data, verdict = BMPS[name]
    check(data, clean, verdict, spec)


@pytest.mark.parametrize("name", TIFFS)
def test_tiff(name, spec):
    data, verdict = TIFFS[name]
    check(data, TIFF, verdict, spec)


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_that_is_cut_within_its_pixels_is_truncated_whatever_follows(interlaced, spec):
    """Pillow takes what follows for pixels, and reads no checksum."""
    data = png(np.asarray(PHOTO), interlaced=interlaced)
    for cut in range(18, 90, 7):
        for tail in (b"", data[-12:], chunk(b"tEXt", b"Title\0cat"), bytes(200), b"cat" * 99):
            with pytest.raises((OSError, ValueError)):
                decode_image(data[:-cut] + tail, spec)
