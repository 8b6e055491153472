"""Large JPEGs decoded at a fraction of their size: only the pixels differ a little."""

import contextlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from encoder.errors import TruncatedError
from encoder.images import decode as images
from encoder.images.decode import Limits, decode_image, jpeg
from encoder.spec import FITS, read_spec
from tests.encoder.images.test_kinds_of_files import TURNED
from tests.support.image_files import every_kind, exif, photograph, saved

LARGE = (451, 300)  # not a multiple of eight, so a half, a quarter and an eighth are rounded


@pytest.fixture
def exact(small_bundle):
    return read_spec(small_bundle).replace(width=28, height=18)


@pytest.fixture
def fast(exact):
    return exact.replace(decode="fast")


def pixels(data, spec):
    return decode_image(data, spec).pixels


def cosine(one, other):
    one, other = (each.astype(float).ravel() for each in (one, other))
    one, other = one - one.mean(), other - other.mean()
    return one @ other / np.sqrt((one @ one) * (other @ other))


def read_at(data, spec):
    return images._eighths(jpeg.read_header(data), spec)


LARGE_KINDS = {
    "colour": {},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "gray": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
    "odd sampling": {"mode": "CMYK", "subsampling": 2},
}


def large(mode="RGB", size=LARGE, **options):
    return saved(photograph(*size).convert(mode), "JPEG", quality=90, **options)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("kind", LARGE_KINDS)
def test_a_large_photograph_is_almost_the_same(exact, fast, kind, fit):
    data = large(**LARGE_KINDS[kind])
    assert read_at(data, fast.replace(fit=fit)) == 1
    decoded = decode_image(data, fast.replace(fit=fit))
    assert decoded[1:] == (*LARGE, False)
    expected = pixels(data, exact.replace(fit=fit))
    # At an eighth, blocks are averaged before the image is resized, which makes edges softer.
    assert cosine(decoded.pixels, expected) > 0.998
    assert np.array_equal(decoded.pixels, expected) == (kind == "odd sampling")  # by Pillow


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["bilinear", "lanczos"])
def test_channels_and_filters(exact, fast, channels, resize):
    options = {"channels": channels, "resize": resize}
    given = pixels(large(), fast.replace(**options))
    assert cosine(given, pixels(large(), exact.replace(**options))) > 0.998


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("orientation", TURNED)
def test_all_orientations(exact, fast, orientation, fit):
    stored = np.ascontiguousarray(TURNED[orientation](np.asarray(photograph(*LARGE))))
    data = saved(Image.fromarray(stored), "JPEG", quality=95, exif=exif(orientation))
    spec = fast.replace(fit=fit)
    assert read_at(data, spec) == 1
    decoded = decode_image(data, spec)
    assert (decoded.stored_width, decoded.stored_height) == stored.shape[1::-1]
    assert cosine(decoded.pixels, pixels(data, exact.replace(fit=fit))) > 0.998


@pytest.mark.parametrize("orientation", TURNED)
def test_what_lies_beyond_the_last_row_and_column_is_not_seen(exact, fast, orientation):
    """Gray gradients with known pixels. The block of the last column has 3 of 8 pixels."""
    spec = {"width": 16, "height": 16, "channels": 1}
    down, across = np.mgrid[:299, :403]
    slopes = (across * 0.4 + down * 0.3).astype(np.uint8)
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](slopes)))
    data = saved(stored, "JPEG", quality=100, exif=exif(orientation))
    assert read_at(data, fast.replace(**spec)) == 1
    difference = pixels(data, fast.replace(**spec)).astype(int) - pixels(
        data, exact.replace(**spec)
    )
    assert np.abs(difference).max() <= 1  # an error of one column would give 3


@pytest.mark.parametrize(
    ("size", "fit", "eighths"),
    [
        ((448, 288), "stretch", 1),
        ((447, 288), "stretch", 2),
        ((448, 287), "stretch", 2),
        ((448, 287), "crop", 2),
        ((448, 287), "pad", 1),
        ((223, 144), "stretch", 4),
        ((111, 500), "stretch", 8),
        ((20, 1000), "stretch", 8),
        ((20, 1000), "pad", 1),
    ],
)
def test_twice_the_size_in_view_is_left(fast, size, fit, eighths):
    data = large(size=size)
    assert read_at(data, fast.replace(fit=fit)) == eighths
    image, _ = jpeg.read_header(data)._replace(eighths=eighths).load(allow_truncated=False)
    assert image.size == tuple(-(-side * eighths // 8) for side in size)
    assert pixels(data, fast.replace(fit=fit)).shape == (18, 28, 3)


def test_a_turned_photograph_is_measured_upright(fast):
    assert read_at(large(size=(288, 448), exif=exif(6)), fast) == 1
    assert read_at(large(size=(448, 288), exif=exif(6)), fast) == 2


@pytest.mark.parametrize("kind", every_kind())
def test_small_images_and_other_formats_are_exact(exact, fast, kind):
    data = every_kind()[kind]
    np.testing.assert_array_equal(pixels(data, fast), pixels(data, exact))


def test_a_large_png_is_exact(exact, fast):
    data = saved(photograph(*LARGE), "PNG")
    np.testing.assert_array_equal(pixels(data, fast), pixels(data, exact))


@pytest.mark.parametrize("kind", LARGE_KINDS)
def test_missing_data_is_noticed(fast, kind):
    data = large(**LARGE_KINDS[kind])
    whole = pixels(data, fast)
    cut = data[: len(data) * 2 // 3]
    for damaged in (cut, cut + b"\xff\xd9", cut + b"\x12\x34\x56\xff\xd9"):
        with pytest.raises(TruncatedError):
            pixels(damaged, fast)
    decoded = decode_image(cut, fast, Limits(allow_truncated=True))
    assert decoded.truncated
    if kind != "progressive":  # the last scans don't affect the image at an eighth
        assert (decoded.pixels != whole).any()
        np.testing.assert_array_equal(decoded.pixels[:6], whole[:6])


@pytest.mark.parametrize("kind", LARGE_KINDS)
@pytest.mark.parametrize("end", [b"\xff\xd9", b"\x12\x34\x56\xff\xd9"], ids=["end", "garbage"])
def test_what_passes_cut_also_passes_exactly(exact, fast, kind, end):
    """Missing data is an error, even if it doesn't affect the image at an eighth."""
    data = large(size=(131, 97), **LARGE_KINDS[kind])[:-2]
    small = {"width": 8, "height": 6}
    assert read_at(data, fast.replace(**small)) == 1
    start = data.rindex(b"\xff\xda") + 14
    for length in (*range(start, len(data), 211), *range(len(data) - 60, len(data))):
        passed = []
        for spec in (exact, fast):
            with contextlib.suppress(OSError, ValueError):
                pixels(data[:length] + end, spec.replace(**small))
                passed.append(spec.decode)
        assert passed in ([], ["exact", "fast"]), f"{length} of {len(data)} bytes"


def test_good_files_with_bytes_before_their_end_pass(exact, fast):
    data = large()[:-2] + bytes(20) + b"\xff\xd9"
    np.testing.assert_array_equal(pixels(data, fast), pixels(large(), fast))


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (61, 47), (200, 9), (28, 18)])
def test_exact_is_cropped_as_ever(exact, size):
    image = photograph(*size)
    expected = np.asarray(ImageOps.fit(image, (28, 18), Image.Resampling.BILINEAR))
    given = pixels(saved(image, "PNG"), exact.replace(fit="crop"))
    np.testing.assert_array_equal(given, expected)
