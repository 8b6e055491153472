"""The uris of files and of packed images, and the way back to paths.

The uri of a file is its absolute local path or its address, such as gs://, unchanged. The uri of
an image in an archive is ``ARCHIVE#NAME``. A local path that is not UTF-8, or that looks like the
uri of a packed image, becomes a percent-encoded ``file://`` uri.
"""

from __future__ import annotations

import contextlib
import pathlib
import reprlib
import urllib.parse

from encoder.errors import InputError
from encoder.storage.base import FILE_PREFIX
from encoder.storage.registry import is_remote, path_of_file_uri
from pipeline.inputs.file_kinds import archive_kind

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = 120  # characters
_LONGEST_END = 100  # characters; no name of a kind of archive has an end longer than this
_ENCODED_NAME = "bytes:"  # marks a packed name that is percent-encoded since it is not UTF-8


def member_uri(archive: str, name: str) -> str:
    """The uri of the image that is packed under a name in an archive.

    Args:
        archive: its uri.
        name: bytes that are not UTF-8 as surrogates, as os.fsdecode gives them.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        name = _ENCODED_NAME + urllib.parse.quote(name.encode("utf-8", "surrogateescape"))
    return f"{archive}#{name}"


def archive_of(uri: str) -> str | None:
    """The uri of the archive that holds a packed image; None for an image in a file of its own."""
    place = uri.find("#")
    while place >= 0:
        if archive_kind(uri[max(place - _LONGEST_END, 0) : place]):
            return uri[:place]
        place = uri.find("#", place + 1)
    return None


def uri_of(path: str) -> str:
    """The uri of a file, from its absolute path or its address; path_of is the inverse."""
    if is_remote(path) or (_is_utf8(path) and not archive_of(path)):
        return path
    return pathlib.PurePosixPath(path).as_uri()


def path_of(uri: str) -> str:
    """The path or address of a file, from its uri. Never raises: other text stays as it is."""
    if not uri.startswith(FILE_PREFIX):
        return uri
    with contextlib.suppress(InputError):
        return path_of_file_uri(uri)
    return uri


def readable(text: str) -> str:
    """A path or message as valid UTF-8; bytes of a name that are not become ``\\udcNN``."""
    return text.encode("utf-8", "backslashreplace").decode()


def brief(value: object) -> str:
    """A value in quotes for a message, without its middle if it is long."""
    return _BRIEF.repr(value)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
