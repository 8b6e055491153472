import io

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from encoder.images.decode import decode_image
from encoder.spec import read_spec


@pytest.fixture
def spec(small_bundle):
    return read_spec(small_bundle)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height=30, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_pixels_are_pillows(spec):
    image = Image.fromarray(noise())
    decoded = decode_image(encoded(image), spec)
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert (decoded.stored_width, decoded.stored_height) == (40, 30)


def test_the_right_size_is_left_alone(spec):
    pixels = noise(32, 32)
    np.testing.assert_array_equal(
        decode_image(encoded(Image.fromarray(pixels)), spec).pixels, pixels
    )


def test_grayscale_input(spec):
    decoded = decode_image(encoded(Image.fromarray(noise())), spec.replace(channels=1))
    assert decoded.pixels.shape == (32, 32, 1)


def test_fit(spec):
    wide = Image.new("RGB", (64, 32), (200, 0, 0))
    wide.paste((0, 0, 200), (0, 0, 16, 32))
    cropped = decode_image(encoded(wide), spec.replace(fit="crop")).pixels
    assert (cropped == (200, 0, 0)).all()  # the 16 blue columns are cut off
    padded = decode_image(encoded(wide), spec.replace(fit="pad", background=(1, 2, 3))).pixels
    assert (padded[:8] == (1, 2, 3)).all()
    assert (padded[8:24] != (1, 2, 3)).any(axis=-1).all()
    assert (padded[24:] == (1, 2, 3)).all()


def test_transparent_pixels_show_the_background(spec):
    image = Image.new("RGBA", (32, 32), (250, 250, 250, 0))
    pixels = decode_image(encoded(image), spec.replace(background=(9, 8, 7))).pixels
    assert (pixels == (9, 8, 7)).all()


def test_sixteen_bits_are_scaled(spec):
    wide = np.full((32, 32), 65535, np.uint16)
    wide[:16] = 257 * 100
    image = Image.fromarray(wide)
    pixels = decode_image(encoded(image), spec.replace(channels=1)).pixels
    assert (pixels[:16] == 100).all()
    assert (pixels[16:] == 255).all()


def test_the_exif_orientation_is_applied(spec):
    pixels = noise(32, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF: viewers rotate the image by 90 degrees clockwise
    data = encoded(Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(decode_image(data, spec).pixels, np.rot90(pixels, -1))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", UnidentifiedImageError, "empty"),
        (b"hello, this is text", UnidentifiedImageError, r"but text \(19 bytes\)"),
        (encoded(Image.fromarray(noise()), "JPEG")[:-200], OSError, "truncated"),
        (encoded(Image.fromarray(noise()))[:-200], OSError, "truncated"),
    ],
)
def test_bad_images(spec, data, error, message):
    with pytest.raises(error, match=message):
        decode_image(data, spec)


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"topsecret:x:0:0\n", "text"),
        (b"Python topsecret", "text"),  # Pillow's opener for PPM takes what begins like these
        (b"P4 topsecret topsecret", "text"),
        (b"P6 12 topsecrettopsecret", "text"),
        (b"Pf\ntopsecrettopsecret", "text"),
        (b"P2\n12 12\ntopsecrettopsecret", "a damaged PPM file"),
        (b"BMtopsecret" * 20, "text"),
        (b"<!DOCTYPE html>\n<html>topsecret", "an HTML page"),
        (b"%PDF-1.4 topsecret", "PDF"),
        (b'{"key": "topsecret"}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid topsecret", "a Git LFS pointer"),
        (b"\0\0\0\x18ftypmp42topsecret", "a video"),
        (b"SQLite format 3\0topsecret", "a SQLite database"),
        (bytes(40), "zeros"),
        (b"\xe9topsecret\xff\x80", "content of an unknown kind"),
    ],
)
def test_messages_show_nothing_of_files_that_are_no_images(spec, data, content):
    with pytest.raises((OSError, ValueError), match=content) as caught:
        decode_image(data, spec)
    assert "secret" not in str(caught.value)
