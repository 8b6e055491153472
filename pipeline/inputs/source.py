"""Parse an ``--input``: a folder, a glob, an image, an archive or a list of images."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from encoder.errors import InputError
from encoder.storage.registry import is_remote, normalize, short_deadline, store_for
from pipeline.inputs.file_kinds import (
    PARQUET,
    has_searched_extension,
    is_left_out,
    is_named_as_input,
    leftovers_in,
    list_kind,
)
from pipeline.inputs.patterns import (
    MAGIC,
    excluding,
    extension_of,
    extensions_of,
    fits,
    including,
    is_reached,
    lifting,
    matches,
    names,
)
from pipeline.inputs.stores.timeouts import in_time
from pipeline.inputs.uris import archive_of, path_of

# What an input does with a file or a folder that listing comes across.
Verdict = Literal["taken", "excluded", "leftover", "hidden", "other", "outside"]
TAKEN: Final = "taken"
EXCLUDED: Final = "excluded"  # by --exclude
LEFTOVER: Final = "leftover"  # in a folder that a NAS or a system keeps for itself
HIDDEN: Final = "hidden"
OTHER: Final = "other"  # the extension or the glob does not take it
OUTSIDE: Final = "outside"  # not below the input, or in the job's own output


_LOOK_SECONDS = 30.0  # for the file system to say whether an input exists


class Input(NamedTuple):
    """One ``--input``.

    Attributes:
        text: as the user wrote it.
        base: the folder or file where listing starts, an absolute path or an address such as gs://.
        pattern: a glob relative to the base; "" for a folder or a file.
        is_file: whether the base is a file.
        excluded: a folder that is never listed, the job's own output; None for none.
        include: patterns of files that a folder search takes, too; see docs/inputs.md.
        exclude: patterns of files and folders that folder searches and globs leave out.
    """

    text: str
    base: str
    pattern: str = ""
    is_file: bool = False
    excluded: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def covers(self, uri: str) -> bool:
        """Whether the input speaks of a uri: if the image is not listed, it counts as gone.

        Files that are left out by --exclude, or in the folders of systems, are covered, too.
        Images that a list names don't count; for those see pipeline.dataset.named_uris.
        """
        path = path_of(archive_of(uri) or uri)
        if self.is_file:
            return path == self.base
        inside = self._inside(path)
        if inside is None:
            return False
        kind = self._kind(inside)
        if kind == LEFTOVER:
            return bool(self.pattern) or has_searched_extension(inside)
        return kind == TAKEN or path.endswith("/")

    def excludes(self, uri: str) -> bool:
        """Whether the input covers a uri, but leaves it out by --exclude or as a leftover."""
        path = path_of(archive_of(uri) or uri).rstrip("/")
        return self.covers(uri) and self.verdict(path) in (EXCLUDED, LEFTOVER)

    def takes(self, path: str) -> bool:
        """Whether the input includes a file of this path, absolute or an address."""
        return self.verdict(path) == TAKEN

    def verdict(self, path: str) -> Verdict:
        """What listing the input does with a file of this path."""
        if self.is_file:
            return TAKEN if path == self.base else OUTSIDE
        inside = self._inside(path)
        if inside is None:
            return OUTSIDE
        return EXCLUDED if self.excluding(path) else self._kind(inside)

    def folder_verdict(self, path: str) -> Verdict:
        """What listing the input does with a folder below it: TAKEN means that it is searched."""
        inside = self._inside(path)
        if inside is None:
            return OUTSIDE
        if self.excluding(path, is_folder=True):
            return EXCLUDED
        name = inside.rpartition("/")[2]
        patterns = (self.pattern,) if self.pattern else self.include
        if not is_left_out(f"{name}/") or any(names(each, name) for each in patterns):
            return TAKEN
        return LEFTOVER if leftovers_in(f"{name}/") else HIDDEN

    def excluding(self, path: str, is_folder: bool = False) -> list[str]:
        """The patterns of --exclude that leave out a path below the base."""
        inside = self._inside(path) if self.exclude else None
        return excluding(self.exclude, self.base, inside, is_folder) if inside else []

    def including(self, path: str) -> list[str]:
        """The patterns of --include that take a file, or name a folder above it."""
        inside = self._inside(path) if self.include and not self.pattern else None
        if not inside:
            return []
        takes = including(self.include, self.base, inside)
        return list(dict.fromkeys([*takes, *lifting(self.include, self.base, inside)]))

    def start(self) -> str:
        """The prefix that all files of the input share, relative to its base; may be ""."""
        literal = re.split(r"[*?\[{\\]", self.pattern)[0]
        folder, slash, name = literal.rpartition("/")
        return folder + slash + name.partition(".")[0]  # extensions match in any case

    def is_deep(self) -> bool:
        """Whether files of the input may lie in subfolders of its base."""
        return not self.pattern or "/" in self.pattern or "**" in self.pattern

    def depth(self) -> int | None:
        """How many levels of folders may hold files of the input; None for any number."""
        if not self.pattern or "**" in self.pattern:
            return None
        return self.pattern.count("/") + 1

    def takes_as_list(self, path: str) -> bool:
        """Whether the input takes a file of this path as a list of images.

        A glob or a pattern of --include takes lists only by their extension: ``*.csv`` takes lists,
        ``*`` takes images only. For a Parquet file, True means only that it may be a list; see
        resolve.is_list.
        """
        if list_kind(path) is None or not self.takes(path):
            return False
        return self.is_file or extension_of(path) in self._extensions()

    def takes_by_name(self) -> bool:
        """Whether the names of folders and files alone decide, and not where they are."""
        patterns = (*self.include, *self.exclude)
        return not self.pattern and not any("/" in each.rstrip("/") for each in patterns)

    def may_have_ranges(self) -> bool:
        """Whether listing the input may leave ranges of names for other workers."""
        return is_remote(self.base) and not self.is_file and not self.may_hold_lists()

    def may_hold_lists(self) -> bool:
        """Whether files of the input can be lists."""
        if self.is_file:
            return list_kind(self.base) is not None
        return any(list_kind(extension) for extension in self._extensions())

    def _extensions(self) -> frozenset[str]:
        patterns = (self.pattern,) if self.pattern else self.include
        return frozenset().union(*map(extensions_of, patterns))

    def _inside(self, path: str) -> str | None:
        inside = path.removeprefix(self.base.rstrip("/") + "/")
        if inside == path or (self.excluded and f"{path}/".startswith(f"{self.excluded}/")):
            return None
        return inside

    def _kind(self, inside: str) -> Verdict:
        """The verdict on a file below the base, without --exclude."""
        if self.pattern:
            if matches(self.pattern, inside):
                return TAKEN
            return LEFTOVER if fits(self.pattern, inside) else OTHER
        if self.include and including(self.include, self.base, inside):
            return TAKEN
        if not is_reached(self.include, self.base, inside):
            return LEFTOVER if leftovers_in(inside) else HIDDEN
        return TAKEN if has_searched_extension(inside) else OTHER


def parse_input(
    text: str,
    excluding: str | None = None,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
) -> Input:
    """Parse one ``--input``.

    A path that exists is taken literally, even if its name has wildcards. In a glob, the folders at
    the beginning that exist are taken literally.

    Args:
        text: as the user wrote it.
        excluding: the job's output, which is not listed even where the input contains it.
        include: the patterns of ``--include``.
        exclude: the patterns of ``--exclude``.

    Raises:
        InputError: a local path without wildcards, or the folder of a glob, does not exist; or the
            store is unknown or can't be reached, or a package or an option that it needs is
            missing.
    """
    try:
        path = normalize(text)
        store_for(path)  # raises if a package or an option is missing
    except InputError as error:
        raise InputError(f"--input {error}") from error
    source = Input(text, path, excluded=excluding, include=include, exclude=exclude)
    if not is_remote(path):
        return _on_disk_in_time(source)
    try:
        with short_deadline():
            return _in_bucket(source)
    except OSError as error:
        raise InputError(f"--input: {error}") from error


def may_be_list(path: str) -> bool:
    """Whether a file can be a list or an archive of images; only its content shows which."""
    return list_kind(path) == PARQUET


def _on_disk_in_time(source: Input) -> Input:
    try:
        return next(in_time(map(_on_disk, [source]), _LOOK_SECONDS, source.base))
    except TimeoutError as error:
        raise InputError(
            f"--input {source.text!r}: the file system gave no answer within {_LOOK_SECONDS:g} s; "
            "is a mount dead?"
        ) from error


def _on_disk(source: Input) -> Input:
    path = source.base
    if os.path.lexists(path):
        return source._replace(is_file=not os.path.isdir(path))
    base, pattern = _split(path, os.path.isdir)
    if not pattern:
        raise InputError(f"--input {source.text!r}: there is no such file or folder ({path})")
    if not os.path.isdir(base):
        raise InputError(f"--input {source.text!r}: the folder {base!r} does not exist")
    return source._replace(base=base, pattern=pattern)


def _in_bucket(source: Input) -> Input:
    path = source.base
    if MAGIC.search(path.partition("://")[2].partition("/")[0]):
        raise InputError(f"--input {source.text!r}: the name of a bucket has no wildcards")
    store = store_for(path)
    if _is_object(source):
        return source._replace(is_file=True)
    if "*" not in path and MAGIC.search(path) and store.is_folder(path):
        return source

    def is_folder(place: str) -> bool:
        name = place.rpartition("/")[2]
        return not MAGIC.search(name) or bool(name.strip("*") and store.is_folder(place))

    base, pattern = _split(path, is_folder)
    return source._replace(base=base, pattern=pattern)


def _is_object(source: Input) -> bool:
    """Whether an input in a bucket is one object; it may be gone if it is named like an image."""
    path, store = source.base, store_for(source.base)
    if "*" in path or source.text.endswith("/"):
        return False
    if store.stat(path) is not None:
        return is_named_as_input(path) or not store.is_folder(path)
    return is_named_as_input(path) and not MAGIC.search(path) and not store.is_folder(path)


def _split(path: str, is_folder: Callable[[str], bool]) -> tuple[str, str]:
    """A glob as the folder where it starts, and its pattern; the pattern is "" without wildcards.

    The folder is the longest beginning that exists.
    """
    magic = MAGIC.search(path)
    if not magic:
        return path, ""
    base = path[: magic.start()].rpartition("/")[0]
    parts = path[len(base) + 1 :].split("/")
    while len(parts) > 1 and is_folder(f"{base}/{parts[0]}"):
        base = f"{base}/{parts.pop(0)}"
    return base or "/", "/".join(parts)
