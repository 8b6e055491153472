"""Every kind of image file is decoded correctly."""

import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from encoder.images import pillow as pillow_files
from encoder.images.decode import decode_image
from encoder.spec import read_spec
from tests.support.image_files import (
    SIZE,
    chunk,
    every_kind,
    exif,
    photograph,
    png,
    saved,
    tiff,
    with_segment,
    without,
)

COLORS = np.asarray(photograph())
GRAYS = np.asarray(photograph().convert("L"))
# The mean error of lossy kinds, in levels of 255.
LOSSY = {"webp", "jpeg", "avif", "heic", "gif", "tiff jpeg", "png palette", "bmp palette"}
BLACK_OR_WHITE = {"png 1 bits", "bmp 1 bit", "tiff fax"}
COARSE = {"png 2 bits": 24, "png 4 bits": 6, "jpeg 2000 lossy": 16, "jpeg odd sampling": 8}


@pytest.fixture
def spec(small_bundle):
    return read_spec(small_bundle).replace(width=SIZE[0], height=SIZE[1])


def pixels(data, spec):
    return decode_image(data, spec).pixels


@pytest.mark.parametrize("kind", every_kind())
def test_every_kind_shows_the_photograph(kind, spec):
    decoded = decode_image(every_kind()[kind], spec)
    assert decoded[1:] == (*SIZE, False)
    given = decoded.pixels.astype(int)
    gray = bool((given[..., 0] == given[..., 1]).all() and (given[..., 0] == given[..., 2]).all())
    error = np.abs(given - (GRAYS[..., None] if gray else COLORS)).mean()
    if kind in BLACK_OR_WHITE:
        assert set(np.unique(given)) == {0, 255}
        assert np.corrcoef(given[..., 0].ravel(), GRAYS.ravel())[0, 1] > 0.2
    elif kind in COARSE:
        assert error < COARSE[kind]
    elif any(kind.startswith(name) for name in LOSSY) and "lossless" not in kind:
        assert error < 6
    else:
        assert error == 0


def lossless(image):
    wide = np.asarray(image).astype(np.uint16) * 257
    made = {kind: saved(image, kind) for kind in ("PNG", "BMP", "TIFF", "PPM", "TGA", "JPEG2000")}
    made["WebP"] = saved(image, "WEBP", lossless=True)
    made["PNG of 16 bits"] = png(wide, 16)
    photometric = "rgb" if image.mode == "RGB" else "minisblack"
    made["TIFF of 16 bits"] = tiff(wide, photometric=photometric)
    return made


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("size", [SIZE, (32, 32)])
def test_the_same_picture_gives_the_same_pixels(spec, mode, channels, size):
    image = photograph().convert(mode)
    spec = spec.replace(channels=channels, width=size[0], height=size[1])
    expected = np.asarray(image.convert("RGB" if channels == 3 else "L").resize(size, 2))
    for kind, data in lossless(image).items():
        found = pixels(data, spec)
        np.testing.assert_array_equal(found, expected.reshape(found.shape), err_msg=kind)


TURNED = {  # the pixels that a camera stores for an image with this orientation
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
    ],
)
def test_eight_orientations_give_the_same_pixels(spec, kind, options, orientation):
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](COLORS)))
    decoded = decode_image(saved(stored, kind, exif=exif(orientation), **options), spec)
    assert (decoded.stored_width, decoded.stored_height) == stored.size
    # A rotated image has other JPEG blocks, so pixels differ by rounding.
    error = np.abs(decoded.pixels.astype(int) - COLORS)
    assert error.max() <= (4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", TURNED)
def test_orientation_is_applied_once_where_the_container_has_its_own(spec, kind, orientation):
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](COLORS)))
    given = pixels(saved(stored, kind, exif=exif(orientation), quality=95), spec)
    assert np.abs(given.astype(int) - COLORS).mean() < 6


def test_a_broken_exif_block_costs_nothing(spec):
    data = saved(photograph(), "JPEG")
    broken = with_segment(data, 0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff and so on")
    np.testing.assert_array_equal(pixels(broken, spec), pixels(data, spec))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_colour_profiles_are_not_applied(spec, kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    with_profile = saved(photograph(), kind, icc_profile=profile)
    assert len(with_profile) > len(profile)
    np.testing.assert_array_equal(
        pixels(with_profile, spec), pixels(saved(photograph(), kind), spec)
    )


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_are_pillows(spec, mode, photo_folder):
    for path in sorted(photo_folder.rglob("*.jpg"))[:5]:
        with Image.open(path) as image:
            for options in ({}, {"progressive": True}, {"subsampling": 0}):
                data = saved(image.convert(mode), "JPEG", **options)
                expected = image_of(data).convert("RGB").resize(SIZE, Image.Resampling.BILINEAR)
                np.testing.assert_array_equal(pixels(data, spec), np.asarray(expected))


def image_of(data):
    return Image.open(io.BytesIO(data))


def test_cmyk_is_inverted_only_with_adobes_marker(spec):
    data = saved(photograph().convert("CMYK"), "JPEG", quality=95)
    plain = without(data, 0xEE)
    assert len(plain) < len(data)
    assert np.abs(pixels(data, spec).astype(int) - COLORS).mean() < 4
    inverted = Image.fromarray(255 - np.asarray(image_of(data))).copy()
    expected = Image.frombytes("CMYK", SIZE, inverted.tobytes()).convert("RGB")
    np.testing.assert_array_equal(pixels(plain, spec), np.asarray(expected))


@pytest.mark.parametrize("kind", ["jpeg", "jpeg progressive", "jpeg restarts", "jpeg cmyk"])
def test_bytes_after_a_jpeg_are_ignored(spec, kind):
    data = every_kind()[kind]
    np.testing.assert_array_equal(pixels(data + b"\0" * 999, spec), pixels(data, spec))
    padded = data[:-2] + b"\x12\x34" + data[-2:]  # as some cameras do
    np.testing.assert_array_equal(pixels(padded, spec), pixels(data, spec))


def test_odd_headers_of_jpegs_are_taken(spec):
    data = saved(photograph(), "JPEG")
    version = data.replace(b"JFIF\0\1", b"JFIF\0\7")
    adobe = with_segment(data, 0xEE, b"Adobe\0\x64" + bytes(4) + b"\7")
    for odd in (version, adobe):
        np.testing.assert_array_equal(pixels(odd, spec), pixels(data, spec))


@pytest.mark.parametrize(("bits", "top"), [(1, 1), (2, 3), (4, 15), (8, 255), (16, 65535)])
def test_a_transparent_gray_of_a_png_shows_the_background(spec, bits, top):
    values = np.zeros((48, 64), np.uint16)
    values[:10] = top
    data = png(values, bits, chunks=chunk(b"tRNS", top.to_bytes(2, "big")))
    given = pixels(data, spec.replace(background=(9, 8, 7)))
    assert (given[:10] == (9, 8, 7)).all()
    assert (given[10:] == 0).all()


@pytest.mark.parametrize(
    "kind", ["png alpha", "webp alpha", "tiff alpha", "heic alpha", "avif alpha"]
)
def test_alpha_shows_the_background(spec, kind):
    clear = Image.new("RGBA", SIZE, (250, 250, 250, 0))
    name = kind.split()[0].upper().replace("HEIC", "HEIF")
    given = pixels(saved(clear, name), spec.replace(background=(9, 8, 7)))
    assert (given == (9, 8, 7)).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 256, 32767, 65535], np.uint16), [0, 1, 127, 255]),
        (np.array([0, 1, 200, 255], np.uint16), [0, 0, 0, 0]),  # dark values, not 8-bit values
        (np.array([0, 1, 200, 255], np.uint32), [0, 1, 200, 255]),
        (np.array([0, 256, 32767, 65535], np.uint32), [0, 1, 127, 255]),
        (np.array([-100, 0, 100, 155], np.int32), [0, 100, 200, 255]),
        (np.array([0, 256, 512, 32767], np.int16), [0, 1, 2, 127]),
        (np.array([0, 0.2, 0.5, 1], np.float32), [0, 51, 128, 255]),
        (np.array([0, 2.2, 99.6, 255], np.float32), [0, 2, 100, 255]),
        (np.array([0, 255.5, 512, 65535], np.float32), [0, 0, 2, 255]),
        (np.array([-1, 0, 1, 1], np.float32), [0, 128, 255, 255]),
    ],
)
def test_wide_pixels_are_scaled(spec, values, expected):
    given = pixels(tiff(values.reshape(1, 4)), spec.replace(width=4, height=1, channels=1))
    assert given.ravel().tolist() == expected


def test_a_dark_pgm_of_16_bits_stays_dark(spec):
    data = b"P5 4 1 65535\n" + np.array([0, 1, 255, 256], ">u2").tobytes()
    given = pixels(data, spec.replace(width=4, height=1, channels=1))
    assert given.ravel().tolist() == [0, 0, 0, 1]


def test_white_is_zero_in_some_tiffs(spec):
    data = tiff(np.array([[0, 65535]], np.uint16), photometric="miniswhite")
    assert pixels(data, spec.replace(width=2, height=1, channels=1)).ravel().tolist() == [255, 0]


def test_pixels_that_are_no_numbers(spec):
    values = np.array([[0, np.nan, np.inf, 1]], np.float32)
    with pytest.raises(ValueError, match="2 of 4 pixels are no finite numbers"):
        decode_image(tiff(values), spec)


def test_heic_without_its_package(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    pillow_files._heic_opener.cache_clear()
    with pytest.raises(OSError, match=r"pip install 'image-collection-embeddings\[heic\]'"):
        decode_image(every_kind()["heic"], spec)
    monkeypatch.undo()
    pillow_files._heic_opener.cache_clear()


def test_an_avif_file_whose_first_brand_is_that_of_all_heif_files(spec):
    data = every_kind()["avif"]
    assert data[4:12] == b"ftypavif"
    other = data.replace(b"ftypavif", b"ftypmif1", 1)
    np.testing.assert_array_equal(pixels(other, spec), pixels(data, spec))
