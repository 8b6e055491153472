"""Files with missing data, or with additional data."""

import contextlib
import io
import logging
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from encoder.errors import LimitError, TruncatedError
from encoder.images.decode import decode_image
from encoder.images.limits import Limits
from encoder.spec import read_spec
from tests.support.image_files import (
    SIZE,
    every_kind,
    gif,
    photograph,
    png,
    png_rows,
    run_length_bmp,
    saved,
    tiff,
)

GRAYS = np.asarray(photograph().convert("L"))
COLORS = np.asarray(photograph())
LENIENT = Limits(allow_truncated=True)


@pytest.fixture
def spec(small_bundle):
    return read_spec(small_bundle).replace(width=SIZE[0], height=SIZE[1])


def cuts(data):
    """Lengths at which to cut: everywhere in the header and at the end, and 10 to 99 percent."""
    shares = [len(data) * percent // 100 for percent in (*range(10, 100, 5), 99)]
    return sorted({*range(1, min(150, len(data))), *shares, *range(len(data) - 30, len(data))})


@pytest.mark.parametrize("kind", every_kind())
def test_no_part_of_a_file_passes_for_the_whole(kind, spec):
    data = every_kind()[kind]
    whole = decode_image(data, spec).pixels
    refused = 0
    for length in cuts(data):
        try:
            part = decode_image(data[:length], spec).pixels
        except (OSError, ValueError, SyntaxError):
            refused += 1
        else:  # cut after the last pixel
            np.testing.assert_array_equal(part, whole, err_msg=f"{length} of {len(data)} bytes")
    assert refused


JPEGS = [kind for kind in every_kind() if kind.startswith("jpeg") and "2000" not in kind]


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("end", [b"\xff\xd9", b"\x12\x34\x56\xff\xd9"], ids=["end", "garbage"])
def test_a_cut_jpeg_with_an_end_put_to_it(kind, end, spec):
    data = every_kind()[kind]
    data = data[: data.index(b"\xff\xd9")] if kind == "jpeg mpo" else data[:-2]
    whole = decode_image(data + b"\xff\xd9", spec).pixels
    start = data.index(b"\xff\xda") + 14
    # The last bytes may be replaced by any others, so a file without them lacks no data.
    for length in range(start, len(data) - 8, 7):
        with contextlib.suppress(OSError, ValueError):
            part = decode_image(data[:length] + end, spec).pixels
            np.testing.assert_array_equal(part, whole, err_msg=f"{length} of {len(data)} bytes")


def test_a_progressive_jpeg_without_its_last_scan(spec):
    data = saved(photograph(), "JPEG", progressive=True)
    with pytest.raises(TruncatedError, match="some of its scans aren't there"):
        decode_image(data[: data.rindex(b"\xff\xda")] + b"\xff\xd9", spec)


def test_jpegs_of_endless_scans_are_refused(spec):
    data = saved(photograph(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ValueError, match="500 scans"):
        decode_image(data[:last] + data[last:-2] * 600 + b"\xff\xd9", spec)


def short_tiff(**options):
    """A TIFF whose last strip begins after the end of the file, or has no bytes."""
    data = tiff(COLORS, photometric="rgb", rowsperstrip=10, **options)
    with Image.open(io.BytesIO(data)) as image:
        counts = image.tag_v2[279]
    at = data.index(struct.pack(f"<{len(counts)}H", *counts))
    return (
        data[:at] + struct.pack(f"<{len(counts)}H", 0, *counts[1:]) + data[at + 2 * len(counts) :]
    )


def short_tiles(drop):
    data = saved(photograph(), "JPEG2000", tile_size=(32, 32))
    last = data.rindex(b"\xff\x90")
    return data[:last] + (b"" if drop else b"\xff\xd9")


@pytest.mark.parametrize(
    "data",
    [
        png(COLORS, rows=png_rows(COLORS)[: 193 * 24]),
        png(COLORS, rows=png_rows(COLORS)[:-1]),
        png(COLORS, rows=png_rows(COLORS[:40], interlaced=True), interlaced=True),
        gif(GRAYS, end_after=1500),
        gif(GRAYS, end_after=1500, interlaced=True),
        run_length_bmp(GRAYS, rows=20),
        short_tiff(),
        short_tiff(compression="zlib"),
        short_tiles(drop=True),
        short_tiles(drop=False),
    ],
    ids=[
        *("png rows", "png byte", "png interlaced", "gif", "gif interlaced", "bmp"),
        *("tiff", "tiff deflated", "jpeg 2000 cut", "jpeg 2000 with an end"),
    ],
)
def test_files_that_end_in_good_order_but_early(data, spec):
    with pytest.raises((OSError, ValueError)):
        decode_image(data, spec)


def test_a_jpeg_within_a_tiff_is_heard(spec):
    data = bytearray(saved(photograph(), "TIFF", compression="jpeg"))
    with Image.open(io.BytesIO(data)) as image:
        middle = image.tag_v2[273][0] + image.tag_v2[279][0] // 2
    data[middle : middle + 2] = b"\xff\xd9"
    with pytest.raises(TruncatedError, match="premature end"):
        decode_image(bytes(data), spec)


def test_black_rows_are_no_missing_rows(spec):
    pixels = COLORS.copy()
    pixels[-5:] = 0
    for interlaced in (False, True):
        given = decode_image(png(pixels, interlaced=interlaced), spec).pixels
        np.testing.assert_array_equal(given, pixels)


@pytest.mark.parametrize(
    "kind",
    ["jpeg", "jpeg progressive", "jpeg odd sampling", "png", "gif", "bmp", "tiff pages", "tga"],
)
def test_what_is_there_can_be_had(kind, spec):
    data = every_kind()[kind]
    whole = decode_image(data, spec, LENIENT)
    assert not whole.truncated
    rows = SIZE[1] // 8
    if kind == "tiff pages":  # its tags come first
        data = data[: len(data) // 4]
    decoded = decode_image(data[: len(data) * 3 // 4], spec, LENIENT)
    assert decoded.truncated
    shown = slice(-rows, None) if kind in ("bmp", "tga") else slice(rows)
    if "progressive" not in kind:
        np.testing.assert_array_equal(decoded.pixels[shown], whole.pixels[shown])
    assert (decoded.pixels != whole.pixels).any()
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("kind", ["avif", "heic", "webp", "jpeg 2000"])
def test_some_decoders_have_all_or_nothing(kind, spec):
    data = every_kind()[kind]
    with pytest.raises((OSError, ValueError, SyntaxError)):
        decode_image(data[: len(data) * 3 // 4], spec, LENIENT)


@pytest.mark.parametrize(
    "kind", ["jpeg", "png", "gif", "webp", "bmp", "tiff pages", "avif", "heic"]
)
def test_too_many_pixels(kind, spec):
    data = every_kind()[kind]
    count = SIZE[0] * SIZE[1]
    decode_image(data, spec, Limits(max_pixels=count))
    with pytest.raises(LimitError, match=r"64 x 48 = 3,072 pixels.*3,071: raise max_pixels"):
        decode_image(data, spec, Limits(max_pixels=count - 1))


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff pages", "tiff lzw", "jpeg 2000", "webp"])
def test_pillows_own_limit_is_not_ours(kind, spec, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    decode_image(every_kind()[kind], spec)


def test_a_bomb_is_refused_before_it_goes_off(spec):
    side = 50_000
    header = png(np.zeros((1, 1), np.uint8))
    size = struct.pack(">II", side, side)
    fields = b"IHDR" + size + header[24:29]
    data = header[:12] + fields + struct.pack(">I", zlib.crc32(fields)) + header[33:]
    with pytest.raises(LimitError, match="2,500,000,000 pixels; expected at most 200,000,000"):
        decode_image(data, spec)


def test_a_tile_larger_than_its_image(spec):
    data = tiff(COLORS, photometric="rgb", tile=(16, 32), compression="zlib")
    tag = struct.pack("<HHI", 323, 4, 1)
    if tag not in data:
        tag = struct.pack("<HHI", 323, 3, 1)
    at = data.index(tag)
    huge = data[:at] + struct.pack("<HHII", 323, 4, 1, 1 << 24) + data[at + 12 :]
    with pytest.raises(ValueError, match="tiles have 536,870,912 pixels"):
        decode_image(huge, spec)


def test_pixels_are_admitted_around_decoding(spec):
    events = []

    @contextlib.contextmanager
    def admit(count):
        events.append(count)
        yield
        events.append("left")

    decode_image(every_kind()["jpeg"], spec, admit=admit)
    assert events == [SIZE[0] * SIZE[1], "left"]
    with pytest.raises(LimitError):
        decode_image(every_kind()["jpeg"], spec, Limits(max_pixels=1), admit)
    assert len(events) == 2


class Chatty(PngImagePlugin.PngImageFile):
    """An image reader that warns, as readers of Pillow do."""

    def _open(self):
        warnings.warn("odd metadata", stacklevel=1)
        logging.getLogger("PIL.TiffImagePlugin").error("More samples than can be decoded")
        super()._open()


def test_no_warning_leaves_and_no_filter_of_others_changes(spec, monkeypatch, recwarn, caplog):
    Image.init()
    monkeypatch.setitem(Image.OPEN, "PNG", (Chatty, Image.OPEN["PNG"][1]))
    warnings.simplefilter("error")  # as with python -W error
    decode_image(every_kind()["png"], spec)
    assert not recwarn.list
    assert not caplog.records
    with pytest.raises(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)


def test_other_threads_are_warned_as_ever(spec):
    inside, heard = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def admit(_):
        inside.set()
        heard.wait(10)
        yield

    thread = threading.Thread(
        target=decode_image, args=(every_kind()["png"], spec, Limits(), admit)
    )
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        thread.start()
        inside.wait(10)
        warnings.warn("from another thread", stacklevel=1)
        heard.set()
        thread.join()
    assert [str(message.message) for message in messages] == ["from another thread"]


def test_libtiff_is_silent(spec, capfd):
    data = bytearray(every_kind()["tiff deflated tiles"])
    with Image.open(io.BytesIO(data)) as image:
        first = image.tag_v2[324][0]
    data[first : first + 100] = bytes(100)
    with pytest.raises(OSError, match="decoder error"):
        decode_image(bytes(data), spec)
    assert capfd.readouterr() == ("", "")
