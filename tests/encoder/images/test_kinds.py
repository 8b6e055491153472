"""The table of image kinds against real files of every kind."""

import pathlib
import struct

import pytest
from PIL import Image

from encoder.images.kinds import (
    HEAD_BYTES,
    IMAGE_EXTENSIONS,
    IMAGE_KINDS,
    content_of,
    kind_named,
    kind_of,
    looks_like_image,
)
from encoder.images.pillow import open_file
from tests.support.image_files import every_kind, photograph, saved
from tests.support.packed import tar, zipped

# The kind of each file of tests.support.image_files, by the first word of its name.
NAMES = {
    "jpeg": "JPEG",
    "png": "PNG",
    "gif": "GIF",
    "webp": "WEBP",
    "bmp": "BMP",
    "tiff": "TIFF",
    "avif": "AVIF",
    "heic": "HEIC",
    "ppm": "PPM",
    "pgm": "PPM",
    "tga": "TGA",
}
BRANDS = {
    **dict.fromkeys(("avif", "avis"), "AVIF"),
    **dict.fromkeys(
        ("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "msf1"), "HEIC"
    ),
}


def name_of(label):
    return "JPEG2000" if label.startswith("jpeg 2000") else NAMES[label.split()[0]]


@pytest.mark.parametrize("label", every_kind())
def test_every_file_is_recognised_by_its_first_bytes(label):
    head = every_kind()[label][:HEAD_BYTES]
    expected = kind_named(name_of(label))
    assert kind_of(head) is (expected if expected.signature else None)


def test_only_kinds_without_a_signature_go_unrecognised():
    without = {kind.name for kind in IMAGE_KINDS if kind.signature is None}
    assert without == {"DIB", "TGA"}


@pytest.mark.parametrize("label", every_kind())
def test_the_decoder_of_the_table_takes_the_file(label):
    kind = kind_named(name_of(label))
    if kind.decoder == "libjpeg-turbo":
        return
    found = open_file(every_kind()[label]).image.format
    assert found == {"HEIC": "HEIF"}.get(kind.name, kind.name)


@pytest.mark.parametrize("extension", IMAGE_EXTENSIONS)
def test_every_extension_belongs_to_one_kind(extension):
    assert len([kind for kind in IMAGE_KINDS if extension in kind.extensions]) == 1
    assert extension == extension.lower()


@pytest.mark.parametrize("extension", IMAGE_EXTENSIONS)
def test_every_extension_belongs_to_the_kind_that_pillow_gives_it(extension):
    (kind,) = [kind for kind in IMAGE_KINDS if extension in kind.extensions]
    heic = dict.fromkeys((".heic", ".heif"), "HEIC")  # pillow-heif is not registered
    assert kind.name == {**Image.registered_extensions(), **heic}[extension]


def test_folders_are_searched_for_these():
    text = (pathlib.Path(__file__).parents[3] / "docs" / "inputs.md").read_text()
    listed = text.split("Image extensions: ")[1].split(".")[0].split()
    assert sorted(f".{word}" for word in listed) == sorted(IMAGE_EXTENSIONS)


@pytest.mark.parametrize(("brand", "name"), BRANDS.items())
def test_brands_of_media_files(brand, name):
    assert kind_of(b"\0\0\0\x1cftyp" + brand.encode() + b"\0\0\0\0mif1").name == name


@pytest.mark.parametrize(
    "head",
    [
        b"II+\0\x08\0\0\0" + b"\x10" + bytes(7),
        b"MM\0+\0\x08\0\0" + bytes(7) + b"\x10",
        b"II*\0\x08\0\0\0",
        b"MM\0*\0\0\0\x08",
    ],
)
def test_tiff_in_both_sizes_and_byte_orders(head):
    assert kind_of(head).name == "TIFF"


@pytest.mark.parametrize("size", [12, 40, 52, 56, 64, 108, 124])
def test_bmp_with_every_header(size):
    assert kind_of(b"BM" + struct.pack("<IHHII", 1000, 0, 0, 54, size)).name == "BMP"


@pytest.mark.parametrize(
    "head", [b"P6\n64 48\n255\n", b"P5\n# by a camera\n64 48\n", b"P6\n1000000\n#", b"P4 8 8\n\xff"]
)
def test_netpbm_with_and_without_comments(head):
    assert kind_of(head[:HEAD_BYTES]).name == "PPM"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"BM",
        b"BM is the code of a country, not a picture",
        b"BMW, Audi and others\n",
        b"GIF",
        b"GIF88a",
        b"P6",
        b"P2 3 rooms, a kitchen",
        b"P1 2026-11-27 a text",
        b"PK\x03\x04",
        b"%PDF-1.7\n",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\0\0\0\x18ftypisom\0\0\x02\0",
        b"\0\0\0\x18ftypmp42\0\0\0\0",
        b"II+\0" + bytes(12),  # a BigTIFF states that its offsets take 8 bytes
        b"IIS\0",
        b"\x89HDF\r\n\x1a\n",
        b"\x7fELF\x02\x01\x01",
        b"#!/bin/sh\n",
    ],
)
def test_other_files_are_no_images(head):
    assert not looks_like_image(head[:HEAD_BYTES])


@pytest.mark.parametrize("make", [tar, zipped])
def test_files_without_an_extension_in_archives(tmp_path, make):
    """As docs/inputs.md says: files of every kind are recognized by their first bytes."""
    from pipeline.inputs.archives.base import Packing
    from pipeline.inputs.archives.registry import index_archive
    from pipeline.records import Image as ListedImage

    files = [(f"d/{number}", data) for number, data in enumerate(every_kind().values())]
    files += [("bmp", saved(photograph(), "BMP")), ("LICENSE", b"BM and other letters, a text")]
    path = make(tmp_path / f"a.{make.__name__[:3]}", files)
    state = path.stat()
    archive = ListedImage(str(path), f"{state.st_mtime_ns}-{state.st_size}", state.st_size)
    found = {member.name for member in index_archive(archive, Packing())}
    expected = {name for name, data in files if looks_like_image(data[:HEAD_BYTES])}
    assert found == expected
    assert len(files) - len(found) == 3  # two TGA files, which have no signature, and the text


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<!-- a --> <!-- b -->\n<svg viewBox='0 0 1 1'>", "an SVG drawing"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "x">\n<svg>', "an SVG drawing"),
        (b"\n<!-- saved from url -->\n<!DOCTYPE html>", "an HTML page"),
        (b'<?xml version="1.0"?><rss/>', "XML"),
        (b"<!-- x --><b>", "text"),
        # Forms that a pattern with repetitions inside of repetitions would try for years.
        (b"<!---->" * 146, "text"),
        (b"<!--" * 256, "text"),
        (b"<?xml><!-- -->" * 73, "XML"),
        (b" " * 1024, "text"),
        (bytes(100), "zeros"),
        (b"\x80\x81", "content of an unknown kind"),
    ],
)
def test_content_that_is_no_image_is_named(data, kind):
    assert content_of(data) == kind
