"""Which images there are: folders, globs and single files, on disk or in a bucket."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from wcmatch import glob

from encoder.errors import InputError
from encoder.storage import is_remote, join, normalize, store_for
from pipeline.records import Image

# Names that a folder is searched for. A glob or a file that is named takes whatever it says.
IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png")
_FLAGS = glob.GLOBSTAR | glob.BRACE
_MAGIC = re.compile(r"[*?\[{]")


class Input(NamedTuple):
    """One ``--input``: all image files below a folder, what matches a glob, or one file.

    Attributes:
        text: as the user wrote it.
        base: the folder (or the one file) where listing starts; absolute, or gs://.
        pattern: a glob relative to the base; empty for a folder or a file.
        is_file: whether the base is itself the one image.
    """

    text: str
    base: str
    pattern: str = ""
    is_file: bool = False

    def covers(self, uri: str) -> bool:
        """Whether listing this input would have named the uri if it existed."""
        if self.is_file:
            return uri == self.base
        inside = uri.removeprefix(self.base.rstrip("/") + "/")
        if inside == uri:
            return False
        if self.pattern:
            return glob.globmatch(inside, self.pattern, flags=_FLAGS)
        return _is_image_name(inside)

    def list_images(self) -> Iterator[Image]:
        """The images that exist now.

        Raises:
            OSError: the folder is missing or can't be read; nothing may be concluded then.
        """
        if self.is_file:
            info = store_for(self.base).stat(self.base)
            if info is not None:
                yield Image(*info)
            return
        every = _list_remote(self.base) if is_remote(self.base) else self._list_local()
        for image in every:
            if self.covers(image.uri):
                yield image

    def _list_local(self) -> Iterator[Image]:
        deep = not self.pattern or "**" in self.pattern
        yield from _walk(self.base, None if deep else self.pattern.count("/") + 1, ())


def parse_input(text: str) -> Input:
    """Understand one ``--input``.

    A local path that exists is taken literally, whatever characters are in its name.

    Raises:
        InputError: a local path without wildcards does not exist, or the folder of a glob.
    """
    path = normalize(text)
    if not is_remote(path) and os.path.exists(path):
        return Input(text, path, is_file=not os.path.isdir(path))
    magic = _MAGIC.search(path)
    if magic:
        base, _, _ = path[: magic.start()].rpartition("/")
        if not is_remote(path) and not os.path.isdir(base or "/"):
            raise InputError(f"--input {text!r}: the folder {base!r} does not exist")
        return Input(text, base or "/", path.removeprefix(base.rstrip("/") + "/"))
    if not is_remote(path):
        raise InputError(f"--input {text!r}: there is no such file or folder ({path})")
    return Input(text, path, is_file=_is_image_name(path) and not text.endswith("/"))


def _is_image_name(path: str) -> bool:
    """Whether a folder search takes the file; hidden files and folders are left alone."""
    hidden = path.startswith(".") or "/." in path
    return path.lower().endswith(IMAGE_EXTENSIONS) and not hidden


def _list_remote(base: str) -> Iterator[Image]:
    for info in store_for(base).list_files(base):
        yield Image(*info)


def _walk(folder: str, depth: int | None, above: tuple[tuple[int, int], ...]) -> Iterator[Image]:
    """Files below a folder, through links but never in circles; at most `depth` levels."""
    state = os.stat(folder)
    place = (state.st_dev, state.st_ino)
    if place in above:
        return
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=_name):
            path = join(folder, entry.name)
            if entry.is_dir():
                if depth is None or depth > 1:
                    below = None if depth is None else depth - 1
                    yield from _walk(path, below, (*above, place))
            else:
                yield from _local_image(path)


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _local_image(path: str) -> Iterator[Image]:
    try:
        path.encode()
    except UnicodeEncodeError:
        readable = os.fsencode(path).decode(errors="backslashreplace")
        yield Image(readable, "", 0, "the name is not valid UTF-8; rename the file")
        return
    info = store_for(path).stat(path)
    if info is not None:
        yield Image(*info)
    elif os.path.islink(path):
        yield Image(path, "", 0, f"broken link to {os.readlink(path)!r}")
