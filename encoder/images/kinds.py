"""The kinds of image files: one table of names, extensions, signatures and decoders.

Which files a folder search takes, which files without an extension are images, and which decoders
are tried all follow from this table. Imports neither Pillow nor NumPy.
"""

from __future__ import annotations

import codecs
import re
from typing import Literal, NamedTuple

# The number of first bytes of a file that suffice to recognise its kind.
HEAD_BYTES = 18

Decoder = Literal["libjpeg-turbo", "pillow", "pillow-heif"]

# Major brands of ISO base media files, at byte 8. Those of HEIC are from ISO/IEC 23008-12, annex B.
_AVIF_BRANDS = ("avif", "avis")
_HEIC_BRANDS = ("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "msf1")
# Sizes of a BMP's second header, at byte 14: those that Pillow decodes. The letters BM alone also
# start ordinary texts.
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)


class ImageKind(NamedTuple):
    """One kind of image file.

    Attributes:
        name: the format's name in Pillow, if Pillow decodes it.
        decoder: the library that decodes it.
        extensions: folders and archives are searched for these, in lower case.
        signature: matches the first bytes of each file; None if the kind has no signature.
        row_by_row: whether the rows before missing data can be decoded; else the file fails.
    """

    name: str
    decoder: Decoder = "pillow"
    extensions: tuple[str, ...] = ()
    signature: re.Pattern[bytes] | None = None
    row_by_row: bool = False

    def matches(self, head: bytes) -> bool:
        """Whether a file that starts with these bytes has this kind's signature."""
        return self.signature is not None and self.signature.match(head) is not None


def _starts_with(*forms: bytes) -> re.Pattern[bytes]:
    return re.compile(b"|".join(forms), re.DOTALL)


def _media_file(brands: tuple[str, ...]) -> re.Pattern[bytes]:
    return _starts_with(rb".{4}ftyp(?:" + "|".join(brands).encode() + rb")")


# In the order in which decoders are tried: some accept files of others, and TGA accepts nearly any.
IMAGE_KINDS = (
    ImageKind(
        "JPEG",
        "libjpeg-turbo",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        _starts_with(rb"\xff\xd8\xff"),
        row_by_row=True,
    ),
    ImageKind("PNG", "pillow", (".png",), _starts_with(rb"\x89PNG\r\n\x1a\n"), row_by_row=True),
    ImageKind("GIF", "pillow", (".gif",), _starts_with(rb"GIF87a", rb"GIF89a"), row_by_row=True),
    ImageKind("WEBP", "pillow", (".webp",), _starts_with(rb"RIFF.{4}WEBP")),
    ImageKind(
        "BMP",
        "pillow",
        (".bmp",),
        _starts_with(
            rb"BM.{12}(?:"
            + b"|".join(re.escape(size.to_bytes(4, "little")) for size in _BMP_HEADER_SIZES)
            + rb")"
        ),
        row_by_row=True,
    ),
    ImageKind("DIB", row_by_row=True),
    ImageKind(
        "TIFF",
        "pillow",
        (".tif", ".tiff"),
        # Classic and BigTIFF, in both byte orders.
        _starts_with(rb"II\*\0", rb"MM\0\*", rb"II\+\0\x08\0\0\0", rb"MM\0\+\0\x08\0\0"),
        row_by_row=True,
    ),
    ImageKind(
        "JPEG2000",
        "pillow",
        (".jp2", ".j2k", ".jpx"),
        _starts_with(rb"\0\0\0\x0cjP  \r\n\x87\n", rb"\xff\x4f\xff\x51"),
    ),
    ImageKind("AVIF", "pillow", (".avif",), _media_file(_AVIF_BRANDS)),
    ImageKind("HEIC", "pillow-heif", (".heic", ".heif"), _media_file(_HEIC_BRANDS)),
    # A width follows and then a height or a comment: "P2 " alone also starts ordinary texts.
    ImageKind("PPM", signature=_starts_with(rb"P[1-6]\s+(?:#|\d+\s+[#\d])"), row_by_row=True),
    ImageKind("TGA", row_by_row=True),
)

IMAGE_EXTENSIONS = tuple(extension for kind in IMAGE_KINDS for extension in kind.extensions)


def kind_of(head: bytes) -> ImageKind | None:
    """The kind of a file, by its first HEAD_BYTES bytes; None if no signature matches."""
    head = head[:HEAD_BYTES]  # otherwise it would depend on how much is given
    return next((kind for kind in IMAGE_KINDS if kind.matches(head)), None)


def looks_like_image(head: bytes) -> bool:
    """Whether a file that starts with these bytes is an image, by the signature of its kind."""
    return kind_of(head) is not None


def kind_named(name: str) -> ImageKind:
    """The kind of that name. Raises KeyError if there is none."""
    return _BY_NAME[name]


# What is often taken for an image, by its first bytes. Messages name it, since they must not show
# the content of files that are no images.
_OTHER_CONTENT = (
    ("a Git LFS pointer", _starts_with(rb"version https://git-lfs\.")),
    ("an SVG drawing", _starts_with(rb"\s*<svg\b", rb"\s*<(?:\?xml|!--).*<svg\b")),
    ("an HTML page", re.compile(rb"\s*<(?:!--.*<)?(?:!doctype\s+html|html)\b", re.I | re.S)),
    ("XML", _starts_with(rb"\s*<\?xml\b")),
    ("PDF", _starts_with(rb"%PDF-")),
    ("PostScript", _starts_with(rb"%!PS")),
    ("a JPEG XL image", _starts_with(rb"\xff\x0a", rb"\0\0\0\x0cJXL \r\n\x87\n")),
    ("a Photoshop document", _starts_with(rb"8BPS")),
    ("an icon", _starts_with(rb"\0\0[\x01\x02]\0[^\0]\0")),
    ("a video", _starts_with(rb".{4}ftyp", rb"\x1aE\xdf\xa3", rb"RIFF.{4}AVI ", rb"\0\0\x01\xba")),
    ("a sound", _starts_with(rb"RIFF.{4}WAVE", rb"ID3", rb"OggS", rb"fLaC")),
    (
        "a compressed file",
        _starts_with(rb"\x1f\x8b", rb"BZh[1-9]", rb"\xfd7zXZ\0", rb"\x28\xb5\x2f\xfd"),
    ),
    (
        "an archive",
        _starts_with(rb"PK[\x03\x05]", rb"7z\xbc\xaf\x27\x1c", rb"Rar!", rb".{257}ustar"),
    ),
    ("a program", _starts_with(rb"\x7fELF", rb"MZ.{60}", rb"\xca\xfe\xba\xbe")),
    ("a SQLite database", _starts_with(rb"SQLite format 3\0")),
    ("HDF5", _starts_with(rb"\x89HDF\r\n\x1a\n")),
    ("a NumPy array", _starts_with(rb"\x93NUMPY")),
    ("Parquet", _starts_with(rb"PAR1")),
    ("JSON", _starts_with(rb"\s*(?:\{\s*[\"}]|\[\s*[\[{\"\d\]-])")),
)
_LOOKED_AT = 1024  # bytes, to recognise other content
_NOT_IN_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def content_of(data: bytes) -> str:
    """The kind of content that is no image, for messages; shows nothing of the content itself."""
    start = data[:_LOOKED_AT]
    for name, signature in _OTHER_CONTENT:
        if signature.match(start):
            return name
    if not start.strip(b"\0"):
        return "zeros"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "text"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # may end amid a character
    except UnicodeDecodeError:
        return "content of an unknown kind"
    return "content of an unknown kind" if _NOT_IN_TEXT.search(start) else "text"


_BY_NAME = {kind.name: kind for kind in IMAGE_KINDS}
