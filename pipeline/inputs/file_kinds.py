"""What names say: which files are images, archives or lists, and how uris are written.

A uri is an absolute local path or an object's gs:// address, as it is. What is packed in an
archive is written ``ARCHIVE#NAME``. A local path that can't be written like that, since it is not
UTF-8 or since it looks like something packed, is written as a percent-encoded ``file://`` uri.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import urllib.parse

from encoder.errors import InputError
from encoder.storage.base import FILE_PREFIX
from encoder.storage.registry import is_remote, path_of_file_uri

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
_ENCODED_NAME = "bytes:"  # before a packed name that is not UTF-8, percent-encoded


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


def member_uri(archive: str, name: str) -> str:
    """The uri of what is packed under a name in an archive."""
    try:
        name.encode()
    except UnicodeEncodeError:
        name = _ENCODED_NAME + urllib.parse.quote(name.encode("utf-8", "surrogateescape"))
    return f"{archive}#{name}"


def archive_of(uri: str) -> str:
    """The uri of the archive that something is packed in; "" for a file of its own."""
    place = uri.find("#")
    while place >= 0:
        if archive_kind(uri[:place]):
            return uri[:place]
        place = uri.find("#", place + 1)
    return ""


def uri_of(path: str) -> str:
    """The uri of a file, from its absolute path or its gs:// address. See path_of."""
    if is_remote(path) or (_is_utf8(path) and not archive_of(path)):
        return path
    return pathlib.PurePosixPath(path).as_uri()


def path_of(uri: str) -> str:
    """The path or address of a file, from its uri. Any text is taken; most are their own path."""
    if not uri.startswith(FILE_PREFIX):
        return uri
    with contextlib.suppress(InputError):
        return path_of_file_uri(uri)
    return uri


def readable(text: str) -> str:
    """A path or message as text that can be written; what is not UTF-8 becomes \\udcNN."""
    return text.encode("utf-8", "backslashreplace").decode()


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
