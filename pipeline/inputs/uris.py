"""How files and packed images are named: uris, and the way back to paths.

A uri is an absolute local path or an object's gs:// address, as it is. What is packed in an
archive is written ``ARCHIVE#NAME``. A local path that can't be written like that, since it is not
UTF-8 or since it looks like something packed, is written as a percent-encoded ``file://`` uri.
"""

from __future__ import annotations

import contextlib
import pathlib
import urllib.parse

from encoder.errors import InputError
from encoder.storage.base import FILE_PREFIX
from encoder.storage.registry import is_remote, path_of_file_uri
from pipeline.inputs.file_kinds import archive_kind

_ENCODED_NAME = "bytes:"  # before a packed name that is not UTF-8, percent-encoded


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
