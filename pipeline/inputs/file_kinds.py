"""Which files are images, archives or lists: by their names, or by their first bytes."""

from __future__ import annotations

import re

# Names that folders and archives are searched for. A file that is named takes whatever it is.
IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"),
    *(".avif", ".jp2", ".j2k", ".jpx", ".heic", ".heif"),
)
TAR, ZIP, TFRECORD, PARQUET = "tar", "zip", "tfrecord", "parquet"
TEXT, CSV, JSON_LINES = "text", "csv", "json lines"

_ARCHIVES = {
    TAR: re.compile(r"\.(tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.I),
    ZIP: re.compile(r"\.zip$", re.I),
    # The second form is how TensorFlow names shards; its checkpoints have a .data before it.
    TFRECORD: re.compile(
        r"(\.(tfrecords?|tfrec)(-\d+-of-\d+)?|(?<!\.data)-\d{5}-of-\d{5})(\.gz)?$", re.I
    ),
    PARQUET: re.compile(r"\.parquet$", re.I),
}
# A Parquet file is searched for only where it is named: many a folder has one of other data.
_IN_FOLDERS = (TAR, ZIP, TFRECORD)
_LISTS = {
    TEXT: re.compile(r"\.(txt|lst|list)$", re.I),
    CSV: re.compile(r"\.(csv|tsv)$", re.I),
    JSON_LINES: re.compile(r"\.(jsonl|ndjson)$", re.I),
    PARQUET: _ARCHIVES[PARQUET],
}
HEAD_BYTES = 12
_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
)
_BRANDS = (b"ftypavif", b"ftypavis", b"ftypheic", b"ftypheix", b"ftypmif1")


def archive_kind(name: str) -> str:
    """TAR, ZIP, TFRECORD or PARQUET; "" for what is no archive."""
    return next((kind for kind, form in _ARCHIVES.items() if form.search(name)), "")


def list_kind(name: str) -> str:
    """TEXT, CSV, JSON_LINES or PARQUET; "" for what is no list of images."""
    return next((kind for kind, form in _LISTS.items() if form.search(name)), "")


def is_hidden(name: str) -> bool:
    """Whether a relative path has a file or folder whose name starts with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def is_image_name(name: str) -> bool:
    """Whether the extension is that of an image and nothing in the relative path is hidden."""
    return name.lower().endswith(IMAGE_EXTENSIONS) and not is_hidden(name)


def is_searched(name: str) -> bool:
    """Whether a search of a folder takes a file of this name, relative to the folder."""
    return is_image_name(name) or (archive_kind(name) in _IN_FOLDERS and not is_hidden(name))


def looks_like_image(head: bytes) -> bool:
    """Whether a file that starts like this is an image, by the signature of its format."""
    return (
        head.startswith(_STARTS)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or head[4:12] in _BRANDS
    )


def has_no_extension(name: str) -> bool:
    """Whether a name says nothing of what is in the file; hidden files are left alone."""
    return "." not in name.rpartition("/")[2] and not is_hidden(name)
