"""Targets: the markers of JPEG, the chunks of PNG and WebP, the tags of TIFF, and decoding."""

import contextlib
import dataclasses
import io

import numpy as np
from PIL import Image

from encoder.images import chunks, jpeg_stream
from encoder.images.decode import decode_image
from encoder.images.kinds import HEAD_BYTES, kind_of
from encoder.images.limits import Limits
from encoder.spec import EncoderSpec
from tests.fuzz.documents import older
from tests.fuzz.target import Target
from tests.support.image_files import every_kind

# What decode_image documents.
EXPECTED = (OSError, ValueError, SyntaxError, MemoryError)
MOST_PIXELS = 1 << 20
SPEC = EncoderSpec.from_json(older("bundle/encoder.json")[0])
FAST = dataclasses.replace(SPEC, decode="fast", height=8, width=8)
JPEG_WORDS = tuple(
    bytes([0xFF, code]) for code in (0, 1, 0xC0, 0xC2, 0xC4, 0xC9, *range(0xD0, 0xE2))
)


def check_jpeg(data):
    found = list(jpeg_stream.markers(data))
    ends = [0, *(end for _, _, end in found[:-1])]
    assert all(end <= start for end, (_, start, _) in zip(ends, found, strict=False))
    with contextlib.suppress(ValueError):
        ending = jpeg_stream.ending_of(data)
        assert data.startswith(ending.stream)
    check_decoding(data)


def check_png(data):
    essential = chunks.essential_png(data)
    assert len(essential) <= len(data)
    assert chunks.essential_png(essential) == essential
    check_decoding(data)


def check_webp(data):
    whole = chunks.whole_webp(data)
    assert chunks.whole_webp(whole) == whole
    check_decoding(data)


def check_decoding(data):
    """Decode as a run does, and compare the size with Pillow's."""
    assert kind_of(data) == kind_of(data[:HEAD_BYTES])
    for spec, truncated in ((SPEC, False), (SPEC, True), (FAST, False)):
        with contextlib.suppress(*EXPECTED):
            decoded = decode_image(data, spec, Limits(MOST_PIXELS, truncated))
            assert decoded.pixels.dtype == np.uint8
            assert decoded.pixels.shape == (spec.height, spec.width, spec.channels)
            kind = kind_of(data)
            if kind is not None and kind.name == "JPEG" and not decoded.truncated:
                with contextlib.suppress(*EXPECTED), Image.open(io.BytesIO(data)) as image:
                    assert image.size == (decoded.stored_width, decoded.stored_height)


def of(*beginnings):
    def seeds():
        return [data for name, data in every_kind().items() if name.startswith(beginnings)]

    return seeds


TARGETS = (
    Target("jpeg", check_jpeg, of("jpeg", "tiff jpeg"), JPEG_WORDS),
    Target(
        "png", check_png, of("png"), (b"IDAT", b"IEND", b"eXIf", b"tRNS", b"\xff" * 4, b"\0" * 4)
    ),
    Target("webp", check_webp, of("webp"), (b"VP8X", b"EXIF", b"ANMF", b"\xff" * 4)),
    Target("tiff", check_decoding, of("tiff"), (b"\0\0", b"\xff" * 4, b"\1\0", b"\0\1")),
    Target("other images", check_decoding, of("gif", "bmp", "jpeg 2000", "ppm", "pgm", "tga")),
)
