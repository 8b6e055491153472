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
        excluded: a folder that is never listed: the job's own output.
    """

    text: str
    base: str
    pattern: str = ""
    is_file: bool = False
    excluded: str = ""

    def covers(self, uri: str) -> bool:
        """Whether listing this input would have named the uri if it existed."""
        if self.is_file:
            return uri == self.base
        inside = uri.removeprefix(self.base.rstrip("/") + "/")
        if inside == uri or (self.excluded and uri.startswith(f"{self.excluded}/")):
            return False
        if self.pattern:
            return glob.globmatch(inside, self.pattern, flags=_FLAGS, limit=0)
        return _is_image_name(inside)

    def list_images(self) -> Iterator[Image]:
        """The images that exist now.

        Raises:
            OSError: the folder is missing or can't be read; nothing may be concluded then.
        """
        if is_remote(self.base):
            every = _list_remote(self.base, self.is_file)
        elif self.is_file:
            every = _local_image(self.base)
        else:
            every = self._list_local()
        for image in every:
            if image.error or self.covers(image.uri):
                yield image

    def _list_local(self) -> Iterator[Image]:
        depth = None if not self.pattern or "**" in self.pattern else self.pattern.count("/") + 1
        hidden = self.pattern.startswith(".") or "/." in self.pattern
        for path in _walk(self.base, depth, hidden, ()):
            if self.covers(path):
                yield from _local_image(path)


def parse_input(text: str, excluding: str = "") -> Input:
    """Understand one ``--input``.

    A local path that exists is taken literally, whatever characters are in its name.

    Args:
        text: as the user wrote it.
        excluding: the job's output, which is not listed even where the input contains it.

    Raises:
        InputError: a local path without wildcards does not exist, or the folder of a glob.
    """
    path = normalize(text)
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
    return Input(text, path, "", _is_image_name(path) and not text.endswith("/"), excluding)


def _is_image_name(path: str) -> bool:
    """Whether a folder search takes the file; hidden files and folders are left alone."""
    hidden = path.startswith(".") or "/." in path
    return path.lower().endswith(IMAGE_EXTENSIONS) and not hidden


def _list_remote(base: str, is_file: bool) -> Iterator[Image]:
    store = store_for(base)
    if is_file:
        info = store.stat(base)
        infos = iter([info] if info is not None else [])
    else:
        infos = store.list_files(base)
    for info in infos:
        yield Image(*info)


def _walk(
    folder: str, depth: int | None, hidden: bool, above: tuple[tuple[int, int], ...]
) -> Iterator[str]:
    """Paths of what is no folder, through links but never in circles; at most `depth` levels."""
    try:
        state = os.stat(folder)
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=_name)
    except FileNotFoundError:
        if above:  # it vanished meanwhile, with all that was in it
            return
        raise
    place = (state.st_dev, state.st_ino)
    if place in above:
        return
    for entry in entries:
        path = join(folder, entry.name)
        if not _is_folder(entry):
            yield path
        elif (depth is None or depth > 1) and (hidden or not entry.name.startswith(".")):
            below = None if depth is None else depth - 1
            yield from _walk(path, below, hidden, (*above, place))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a place that may not be entered
        return False


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _local_image(path: str) -> Iterator[Image]:
    """The image at a path; with an error where it can't be one; none where it has vanished."""
    try:
        path.encode()
    except UnicodeEncodeError:
        readable = os.fsencode(path).decode(errors="backslashreplace")
        yield Image(readable, "", 0, "the name is not valid UTF-8; rename the file")
        return
    try:
        info = store_for(path).stat(path)
    except OSError as error:
        yield Image(path, "", 0, str(error.strerror or error))
        return
    if info is not None:
        yield Image(*info)
    elif os.path.exists(path):
        yield Image(path, "", 0, "not a regular file")
    elif os.path.islink(path):
        yield Image(path, "", 0, f"broken link to {os.readlink(path)!r}")
