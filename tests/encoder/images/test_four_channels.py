"""Images for networks of four channels: RGBA, or RGB with one more band such as near infrared."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

import encoder
from encoder.images.decode import decode_image
from encoder.spec import read_spec
from tests.conftest import small_network


def pixels(height=32, width=32):
    """Noise; its fourth channel is 0 in the upper quarter, where alpha would hide the colours."""
    values = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    values[: height // 4, :, 3] = 0
    return values


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(values, bands="unspecified", **options):
    buffer = io.BytesIO()
    extra = [bands] if bands else None
    tifffile.imwrite(buffer, values, **{"photometric": "rgb", "extrasamples": extra, **options})
    return buffer.getvalue()


@pytest.fixture
def spec(small_bundle):
    return read_spec(small_bundle).replace(channels=4)


FILES = {
    "PNG": encoded(Image.fromarray(pixels())),
    "lossless WebP": encoded(Image.fromarray(pixels()), "WEBP", lossless=True, exact=True),
    "TIFF with alpha": encoded(Image.fromarray(pixels()), "TIFF"),
    "TIFF with a fourth band": tiff(pixels()),
    "TIFF that is packed": tiff(pixels(), compression="zlib"),
    "TIFF with tiles": tiff(pixels(), tile=(16, 16)),
    "BigTIFF": tiff(pixels(), bigtiff=True),
    "TIFF of 16 bits": tiff(pixels() * np.uint16(257)),
    "TIFF of 16 bits that is packed": tiff(pixels() * np.uint16(257), compression="zlib"),
    "TIFF of 16 bits, the high byte first": tiff(pixels() * np.uint16(257), byteorder=">"),
    "TIFF of 16 bits with alpha": tiff(pixels() * np.uint16(257), "unassalpha"),
}


@pytest.mark.parametrize("name", FILES)
def test_the_four_channels_are_those_of_the_file(spec, name):
    np.testing.assert_array_equal(decode_image(FILES[name], spec).pixels, pixels())


@pytest.mark.parametrize("name", [name for name in FILES if "TIFF" in name and "alpha" not in name])
def test_a_band_that_is_not_alpha_leaves_rgb_as_it_is(spec, name):
    rgb = decode_image(FILES[name], spec.replace(channels=3)).pixels
    np.testing.assert_array_equal(rgb, pixels()[..., :3])


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("resize", ["bilinear", "lanczos", "nearest"])
def test_each_channel_is_resized_by_itself(spec, fit, resize):
    """As tf.image.resize does; Pillow multiplies the colours of RGBA by alpha first."""
    values = pixels(40, 60)
    found = decode_image(
        encoded(Image.fromarray(values)), spec.replace(fit=fit, resize=resize)
    ).pixels
    for channel in range(4):
        gray = encoded(Image.fromarray(values[..., channel]))
        alone = spec.replace(channels=1, fit=fit, resize=resize)
        np.testing.assert_array_equal(found[..., channel], decode_image(gray, alone).pixels[..., 0])


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("RGB", "JPEG"), ("L", "PNG"), ("L", "JPEG"), ("P", "GIF"), ("CMYK", "JPEG")],
)
def test_images_without_a_fourth_channel_get_255(spec, mode, kind):
    data = encoded(Image.fromarray(pixels()[..., :3]).convert(mode), kind)
    found = decode_image(data, spec).pixels
    rgb = decode_image(data, spec.replace(channels=3)).pixels
    np.testing.assert_array_equal(found[..., :3], rgb)
    assert (found[..., 3] == 255).all()


def test_transparency_of_palettes_and_single_colours_is_the_fourth_channel(spec):
    image = Image.new("RGB", (32, 32), (9, 8, 7))
    image.paste((200, 100, 50), (0, 0, 16, 32))
    found = decode_image(encoded(image, transparency=(9, 8, 7)), spec).pixels
    assert (found[:, :16] == (200, 100, 50, 255)).all()
    assert (found[:, 16:] == (9, 8, 7, 0)).all()


def test_padding_has_a_fourth_channel_of_zero(spec):
    data = encoded(Image.new("RGBA", (64, 32), (200, 0, 0, 255)))
    found = decode_image(data, spec.replace(fit="pad", background=(1, 2, 3))).pixels
    assert (found[:8] == (1, 2, 3, 0)).all()
    assert (found[8:24] == (200, 0, 0, 255)).all()


def test_the_orientation_is_applied_to_all_channels(spec):
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode_image(encoded(Image.fromarray(pixels()), exif=exif), spec).pixels
    np.testing.assert_array_equal(found, np.rot90(pixels(), -1))


SEPARATE = np.moveaxis(pixels(), -1, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(np.dstack([pixels(), pixels()[..., 0]]), ""), "5 bands, of which only three"),
        (tiff(SEPARATE, planarconfig="separate", compression="zlib"), "4 bands, of which only"),
        (tiff(SEPARATE, planarconfig="separate"), "4 bands of 8 bits, in a form"),
        (tiff(pixels(), "", photometric="minisblack", planarconfig="contig"), "4 bands of 8 bits"),
        (tiff(pixels().astype(np.float32)), "4 bands of 32 bits"),
        (
            tiff(
                np.zeros((8, 8, 13), np.uint16), "", photometric="minisblack", planarconfig="contig"
            ),
            "13 bands of 16 bits",
        ),
    ],
)
def test_bands_that_can_not_be_read_are_named(spec, data, message):
    """No value is made up for a band that the file holds."""
    with pytest.raises(ValueError, match=message):
        decode_image(data, spec)


def test_a_network_of_four_channels(tmp_path):
    made = encoder.extract(small_network(channels=4), tmp_path / "b", preprocess="unit")
    assert (made.spec.channels, made.spec.dim) == (4, 16)
    assert encoder.load(tmp_path / "b").spec == made.spec
    decoded = made.decode(FILES["TIFF with a fourth band"])
    opaque = made.decode(encoded(Image.fromarray(pixels()[..., :3])))
    vectors = made.embed(np.stack([decoded, opaque]))
    assert vectors.shape == (2, 16)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3, "the fourth channel counts"


@pytest.mark.parametrize("mode", ["caffe", "torch"])
def test_preprocessing_of_three_channels_is_refused_for_four(tmp_path, mode):
    with pytest.raises(encoder.InputError, match=r"RGB images only.*takes 4 channel"):
        encoder.extract(small_network(channels=4), tmp_path, preprocess=mode)


@pytest.mark.parametrize("channels", [2, 5, 13])
def test_other_numbers_of_channels_are_refused(tmp_path, channels):
    with pytest.raises(encoder.InputError, match=rf"{channels} channels; .*get_encoder"):
        encoder.extract(small_network(channels=channels), tmp_path)
