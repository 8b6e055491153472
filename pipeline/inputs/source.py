"""Parse an ``--input``: a folder, a glob, an image, an archive or a list of images."""

from __future__ import annotations

import functools
import os
import re
from typing import NamedTuple

import bracex
from wcmatch import glob

from encoder.errors import InputError
from encoder.storage.registry import is_remote, normalize, store_for
from pipeline.inputs.file_kinds import (
    PARQUET,
    archive_kind,
    is_hidden,
    is_image_name,
    is_searched,
    list_kind,
)
from pipeline.inputs.uris import archive_of, path_of

_MAGIC = re.compile(r"[*?\[{]")
_EXTENSION = re.compile(r"(\.[^./]*)?\.(gz|bz2|xz)$|\.[^./]*$", re.I)


class Input(NamedTuple):
    """One ``--input``.

    Attributes:
        text: as the user wrote it.
        base: the folder or file where listing starts, an absolute path or an address such as gs://.
        pattern: a glob relative to the base; "" for a folder or a file.
        is_file: whether the base is a file.
        excluded: a folder that is never listed, the job's own output; None for none.
    """

    text: str
    base: str
    pattern: str = ""
    is_file: bool = False
    excluded: str | None = None

    def covers(self, uri: str) -> bool:
        """Whether listing this input would give the uri if its file existed.

        Images that a list names don't count; for those see pipeline.dataset.named_uris.
        """
        path = path_of(archive_of(uri) or uri)
        if self.is_file:
            return path == self.base
        return self.takes(path) or (path.endswith("/") and self._inside(path) is not None)

    def excludes(self, uri: str) -> bool:
        """Whether the input covers a uri by its place, but leaves it out."""
        return False

    def takes(self, path: str) -> bool:
        """Whether the input includes a file of this path, absolute or an address."""
        if self.is_file:
            return path == self.base
        inside = self._inside(path)
        if inside is None:
            return False
        if self.pattern:
            return _matcher(self.pattern).fullmatch(_lower_extension(inside)) is not None
        return is_searched(inside)

    def start(self) -> str:
        """The prefix that all files of the input share, relative to its base; may be ""."""
        literal = re.split(r"[*?\[{\\]", self.pattern)[0]
        folder, slash, name = literal.rpartition("/")
        return folder + slash + name.partition(".")[0]  # extensions match in any case

    def is_deep(self) -> bool:
        """Whether files of the input may lie in subfolders of its base."""
        return not self.pattern or "/" in self.pattern or "**" in self.pattern

    def takes_as_list(self, path: str) -> bool:
        """Whether the input takes a file of this path as a list of images.

        A glob takes lists only by their extension: ``*.csv`` takes lists, ``*`` takes images only.
        For a Parquet file, True means only that it may be a list; see resolve.is_list.
        """
        if list_kind(path) is None or not self.takes(path):
            return False
        return self.is_file or _extension(path) in _extensions(self.pattern)

    def may_hold_lists(self) -> bool:
        """Whether files of the input can be lists."""
        if self.is_file:
            return list_kind(self.base) is not None
        return any(list_kind(extension) for extension in _extensions(self.pattern))

    def _inside(self, path: str) -> str | None:
        inside = path.removeprefix(self.base.rstrip("/") + "/")
        if inside == path or (self.excluded and path.startswith(f"{self.excluded}/")):
            return None
        return inside


def parse_input(text: str, excluding: str | None = None) -> Input:
    """Parse one ``--input``.

    A local path that exists is taken literally, even if its name has wildcards.

    Args:
        text: as the user wrote it.
        excluding: the job's output, which is not listed even where the input contains it.

    Raises:
        InputError: a local path without wildcards, or the folder of a glob, does not exist; or the
            store is unknown, or a package or an option that it needs is missing.
    """
    try:
        path = normalize(text)
        store_for(path)  # raises if a package or an option is missing
    except InputError as error:
        raise InputError(f"--input {error}") from error
    if not is_remote(path) and os.path.lexists(path):
        return Input(text, path, is_file=not os.path.isdir(path), excluded=excluding)
    magic = _MAGIC.search(path)
    if magic:
        base, _, _ = path[: magic.start()].rpartition("/")
        if not is_remote(path) and not os.path.isdir(base or "/"):
            raise InputError(f"--input {text!r}: the folder {base!r} does not exist")
        pattern = path.removeprefix(base.rstrip("/") + "/")
        return Input(text, base or "/", pattern, excluded=excluding)
    if not is_remote(path):
        raise InputError(f"--input {text!r}: there is no such file or folder ({path})")
    is_file_name = bool(is_image_name(path) or archive_kind(path) or list_kind(path))
    is_file = is_file_name and not text.endswith("/")
    return Input(text, path, is_file=is_file, excluded=excluding)


def may_be_list(path: str) -> bool:
    """Whether a file can be a list or an archive of images; only its content shows which."""
    return list_kind(path) == PARQUET


@functools.cache
def _matcher(pattern: str) -> re.Pattern[str]:
    """Matches paths from `_lower_extension`, so that only extensions match in any case."""
    forms: list[str] = []
    for each in bracex.iexpand(pattern, limit=0):
        forms.extend(glob.translate(_lower_extension(each), flags=glob.GLOBSTAR)[0])
    return re.compile("|".join(forms))


@functools.cache
def reaches_hidden(pattern: str) -> bool:
    """Whether a glob can match files in hidden folders, whose names start with a dot."""
    return any(is_hidden(each) for each in bracex.iexpand(pattern, limit=0))


@functools.cache
def _extensions(pattern: str) -> frozenset[str]:
    return frozenset(_extension(each) for each in bracex.iexpand(pattern, limit=0))


def _extension(name: str) -> str:
    found = _EXTENSION.search(name)
    return found[0].lower() if found else ""


def _lower_extension(name: str) -> str:
    found = _EXTENSION.search(name)
    return name[: found.start()] + found[0].lower() if found else name
