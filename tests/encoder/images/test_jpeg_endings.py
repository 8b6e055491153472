"""JPEG files without an end marker: whole if all pixels are there, whatever follows them."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from encoder.errors import TruncatedError
from encoder.images.decode import decode_image
from encoder.images.jpeg_stream import ending_of
from encoder.images.limits import Limits
from encoder.spec import read_spec
from tests.support.image_files import photograph, saved

SIZES = {"whole blocks": (64, 48), "parts of blocks": (97, 61)}
KINDS = {
    "4:2:0": {},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "gray": {"mode": "L"},
    "cmyk": {"mode": "CMYK", "subsampling": 0},
    "odd sampling": {"mode": "CMYK", "subsampling": 2},
}
WAYS = {
    "baseline": {},
    "own tables": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "progressive with restarts": {"progressive": True, "restart_marker_blocks": 3},
}
TAILS = {
    "nothing": b"",
    "half a marker": b"\xff",
    "erased memory": b"\xff" * 100,
    "a zero": b"\0",
    "zeros": bytes(500),
    "half a marker and zeros": b"\xff" + bytes(9),
    "text": b"<html>502 Bad Gateway</html>",
    "the next image": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "a stray table": b"\xff\xc4\0\x08garbage",
    "a comment that is cut": b"\xff\xfe\xff\xffgarbage",
}
SIZED_KINDS = [(size, kind, way) for size in SIZES for kind in KINDS for way in WAYS]


def jpeg(size, kind, way):
    """The file without its end marker."""
    options = {"mode": "RGB", **KINDS[kind], **WAYS[way]}
    image = photograph(*SIZES[size]).convert(options.pop("mode"))
    return saved(image, "JPEG", quality=90, **options)[:-2]


@pytest.fixture(params=["exact", "fast"])
def spec(small_bundle, request):
    """That of an encoder whose input is so small that a fast decode takes an eighth."""
    return read_spec(small_bundle).replace(width=4, height=3, decode=request.param)


@pytest.fixture
def full(small_bundle):
    return read_spec(small_bundle).replace(width=97, height=61)


@pytest.mark.parametrize(("size", "kind", "way"), SIZED_KINDS)
def test_whole_pixels_are_whole_however_the_file_ends(size, kind, way, spec):
    body = jpeg(size, kind, way)
    expected = decode_image(body + b"\xff\xd9", spec).pixels
    for name, tail in TAILS.items():
        decoded = decode_image(body + tail, spec)
        assert not decoded.truncated
        np.testing.assert_array_equal(decoded.pixels, expected, err_msg=name)


@pytest.mark.parametrize(("size", "kind", "way"), SIZED_KINDS)
def test_one_byte_less_is_too_little(size, kind, way, full):
    """Some last bytes of CMYK files carry no pixel: they may be missing."""
    body = jpeg(size, kind, way)
    whole = decode_image(body + b"\xff\xd9", full).pixels
    refused = 0
    for cut in (1, 2, 3, 5, 9, 17):
        for tail in (b"", b"\xff", bytes(3), bytes(500), b"\xff\xd8\xff\xe0", b"\x55" * 500):
            try:
                part = decode_image(body[:-cut] + tail, full).pixels
            except (OSError, ValueError):
                refused += 1
            else:
                np.testing.assert_array_equal(part, whole, err_msg=f"{cut} less, then {tail[:4]!r}")
                assert KINDS[kind].get("mode") == "CMYK"
    assert refused or way == "progressive with restarts"


@pytest.mark.parametrize("way", ["restarts", "progressive with restarts"])
def test_a_file_that_ends_at_a_restart_marker_lacks_what_follows_it(way, full):
    body = jpeg("parts of blocks", "4:2:0", way)
    last = max(
        body.rindex(bytes([0xFF, code]))
        for code in range(0xD0, 0xD8)
        if bytes([0xFF, code]) in body
    )
    for length in (last, last + 1, last + 2):
        with pytest.raises(TruncatedError):
            decode_image(body[:length], full)
    trailing = bytes([0xFF, 0xD0 + (body[last + 1] + 1) % 8])  # some encoders write one too many
    whole = decode_image(body + b"\xff\xd9", full).pixels
    np.testing.assert_array_equal(decode_image(body + trailing, full).pixels, whole)


def test_every_scan_of_a_progressive_file_is_needed(full):
    body = jpeg("parts of blocks", "4:2:0", "progressive")
    for length in range(body.index(b"\xff\xda"), len(body), 5):
        with pytest.raises(TruncatedError):
            decode_image(body[:length], full)


def one_component_a_scan(way):
    """A baseline file whose three components come one after the other."""
    parts = {}
    for component in (1, 2, 3):
        gray = photograph(*SIZES["parts of blocks"]).convert("YCbCr").getchannel(component - 1)
        data = saved(gray, "JPEG", **WAYS[way])
        at = data.index(b"\xff\xda")
        header = bytearray(data[at : at + 10])
        header[5] = component
        parts[component] = bytes(header) + data[at + 10 : -2]
        frame = data.index(b"\xff\xc0")
        head = data[:frame], data[frame + 2 + data[frame + 3] : at]
        size = data[frame + 4 : frame + 9]
    three = b"".join(bytes([component, 0x11, 0]) for component in (1, 2, 3))
    return head[0] + b"\xff\xc0\0\x11" + size + b"\x03" + three + head[1] + b"".join(parts.values())


@pytest.mark.parametrize("way", ["baseline", "restarts"])
def test_components_one_after_the_other(way, full):
    body = one_component_a_scan(way)
    whole = decode_image(body + b"\xff\xd9", full).pixels
    assert np.abs(whole.astype(int) - np.asarray(photograph(97, 61))).mean() < 5
    for name, tail in TAILS.items():
        np.testing.assert_array_equal(decode_image(body + tail, full).pixels, whole, err_msg=name)
    last = body.rindex(b"\xff\xda")
    for length in (last, last + 10, *range(len(body) - 9, len(body))):
        with pytest.raises(TruncatedError):
            decode_image(body[:length], full)


def test_zeros_that_may_stand_for_pixels_are_no_pixels(full):
    body = jpeg("whole blocks", "4:2:0", "baseline")
    with pytest.raises(TruncatedError, match="ends in bytes of 0x00, which may stand for the rest"):
        decode_image(body[:-1] + bytes(200), full)


def test_a_flat_image_may_end_in_a_zero_of_its_own(full):
    endings = set()
    for width in range(8, 72, 8):  # a block takes 14 bits
        body = saved(Image.new("RGB", (width, 8)), "JPEG", subsampling=0)[:-2]
        assert not decode_image(body, full).pixels.any()
        endings.add(body[-1])
    assert 0 in endings


def test_arithmetic_coding_shows_no_end_of_its_own(full):
    coded = jpeg("whole blocks", "4:2:0", "baseline").replace(b"\xff\xc0", b"\xff\xc9", 1)
    decode_image(coded + b"\xff\xd9", full)
    with pytest.raises(TruncatedError, match="an arithmetic coded image without an end marker"):
        decode_image(coded, full)


def test_the_end_of_the_image_is_found_in_the_markers():
    body = jpeg("whole blocks", "4:2:0", "progressive")
    assert ending_of(body + b"\xff\xd9rest") == (body + b"\xff\xd9rest", True, "")
    assert ending_of(body + b"\xff\xd8\xff\xe0") == (body, False, "")
    first = body.index(b"\xff\xda")
    second = body.index(b"\xff\xc4", first)
    cut_table = ending_of(body[: second + 9])
    assert cut_table == (body[:second], False, "some of its scans aren't there")


HASHES = """
import hashlib, sys
from encoder.images.jpeg import read_header
data = sys.stdin.buffer.read()
for length in range(data.index(b"\\xff\\xda") + 14, len(data) - 9, 7):
    image, truncated = read_header(data[:length]).load(allow_truncated=True)
    assert truncated
    print(hashlib.sha256(image.tobytes()).hexdigest())
"""


def test_what_is_there_has_the_same_pixels_in_every_process():
    """Also if the file ends within a table, where the decoder leaves memory as it was."""
    data = jpeg("parts of blocks", "4:2:0", "progressive")
    found = []
    for fill in ("1", "77"):  # glibc fills new memory with this
        result = subprocess.run(
            [sys.executable, "-c", HASHES],
            input=data,
            capture_output=True,
            env={**os.environ, "MALLOC_PERTURB_": fill},
            check=True,
        )
        found.append(result.stdout.split())
    assert len(found[0]) > 100
    assert found[0] == found[1]


def test_an_error_of_the_decoder_is_no_picture(full):
    data = jpeg("parts of blocks", "4:2:0", "progressive")
    at = data.index(b"\xff\xc4", data.index(b"\xff\xda")) + 5  # counts of a table between scans
    data = data[:at] + b"\xff" * 16 + data[at + 16 :]
    for allowed in (False, True):
        with pytest.raises(ValueError, match="damaged: Bogus Huffman table definition"):
            decode_image(data, full, Limits(allow_truncated=allowed))
