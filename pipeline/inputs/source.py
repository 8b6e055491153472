"""What an ``--input`` means: a folder, a glob, an image, an archive or a list of images."""

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
        base: the folder (or the one file) where listing starts; absolute, or in a store such as gs://.
        pattern: a glob relative to the base; empty for a folder or a file.
        is_file: whether the base is itself the one file.
        excluded: a folder that is never listed: the job's own output.
    """

    text: str
    base: str
    pattern: str = ""
    is_file: bool = False
    excluded: str = ""

    def covers(self, uri: str) -> bool:
        """Whether listing this input would have named the uri if it existed.

        What a list names is another matter: see pipeline.inputs.lists.registry.
        """
        archive = archive_of(uri)
        path = path_of(archive or uri)
        if self.is_file:
            return path == self.base
        return self.takes(path) or (path.endswith("/") and self._inside(path) is not None)

    def takes(self, path: str) -> bool:
        """Whether a file of this path is part of the input."""
        if self.is_file:
            return path == self.base
        inside = self._inside(path)
        if inside is None:
            return False
        if self.pattern:
            return _matcher(self.pattern).fullmatch(_lower_extension(inside)) is not None
        return is_searched(inside)

    def start(self) -> str:
        """How the paths of all files of the input begin, inside its base; "" if that is open."""
        literal = re.split(r"[*?\[{\\]", self.pattern)[0]
        folder, slash, name = literal.rpartition("/")
        return folder + slash + name.partition(".")[0]  # an extension may be in any case

    def is_deep(self) -> bool:
        """Whether files of the input may lie in folders below its base."""
        return not self.pattern or "/" in self.pattern or "**" in self.pattern

    def takes_as_list(self, path: str) -> bool:
        """Whether a file of this path is a list of images, by how the input names it.

        A glob must say so by its extension: ``*.csv`` is lists, and ``*`` is images only. Of a
        Parquet file this says only that it may be one.
        """
        if not list_kind(path) or not self.takes(path):
            return False
        return self.is_file or _extension(path) in _extensions(self.pattern)

    def may_hold_lists(self) -> bool:
        """Whether files of the input can be lists."""
        if self.is_file:
            return bool(list_kind(self.base))
        return any(list_kind(extension) for extension in _extensions(self.pattern))

    def _inside(self, path: str) -> str | None:
        inside = path.removeprefix(self.base.rstrip("/") + "/")
        if inside == path or (self.excluded and path.startswith(f"{self.excluded}/")):
            return None
        return inside


def parse_input(text: str, excluding: str = "") -> Input:
    """Understand one ``--input``.

    A local path that exists is taken literally, whatever characters are in its name.

    Args:
        text: as the user wrote it.
        excluding: the job's output, which is not listed even where the input contains it.

    Raises:
        InputError: a local path without wildcards does not exist, or the folder of a glob; or a
            store is unknown, or can't be used here.
    """
    try:
        path = normalize(text)
        store_for(path)  # refuses one for which a package or an option is missing
    except InputError as error:
        raise InputError(f"--input {error}") from error
    if not is_remote(path) and os.path.lexists(path):
        return Input(text, path, "", not os.path.isdir(path), excluding)
    magic = _MAGIC.search(path)
    if magic:
        base, _, _ = path[: magic.start()].rpartition("/")
        if not is_remote(path) and not os.path.isdir(base or "/"):
            raise InputError(f"--input {text!r}: the folder {base!r} does not exist")
        pattern = path.removeprefix(base.rstrip("/") + "/")
        return Input(text, base or "/", pattern, False, excluding)
    if not is_remote(path):
        raise InputError(f"--input {text!r}: there is no such file or folder ({path})")
    named = is_image_name(path) or archive_kind(path) or list_kind(path)
    return Input(text, path, "", bool(named) and not text.endswith("/"), excluding)


def may_be_list(path: str) -> bool:
    """Whether only the content tells if the file is a list of images or an archive of them."""
    return list_kind(path) == PARQUET


@functools.cache
def _matcher(pattern: str) -> re.Pattern[str]:
    """Matches what `_lower_extension` gives: extensions in any case, all else as written."""
    forms: list[str] = []
    for each in bracex.iexpand(pattern, limit=0):
        forms.extend(glob.translate(_lower_extension(each), flags=glob.GLOBSTAR)[0])
    return re.compile("|".join(forms))


@functools.cache
def reaches_hidden(pattern: str) -> bool:
    """Whether a glob matches in folders whose names start with a dot."""
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
