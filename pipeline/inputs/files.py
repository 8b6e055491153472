"""List the files of an input, on disk or in a bucket.

On disk, links are followed; a folder is never entered again from inside itself. A file that the
inputs of a run reach by several names, through links, is listed under one of them: the name without
a link below an input, or else the first in the order of names.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from encoder.storage.base import FileInfo, join
from encoder.storage.file_systems import describe_special
from encoder.storage.registry import is_remote, store_for
from pipeline.inputs.file_kinds import is_searched
from pipeline.inputs.left_aside import LeftAside
from pipeline.inputs.roots import Roots
from pipeline.inputs.source import TAKEN, Input
from pipeline.inputs.stores.name_ranges import NameRange, UnorderedError, list_start
from pipeline.inputs.stores.timeouts import in_time
from pipeline.inputs.uris import archive_of, readable, uri_of
from pipeline.options import DEFAULT_READ_TIMEOUT
from pipeline.records import Image

_ANYWHERE = Roots()


class Unreadable(NamedTuple):
    """A folder below an input that could not be read, and why; its files are unknown."""

    folder: str
    error: str


class Linked(NamedTuple):
    """A file that has another name, too.

    Attributes:
        image: the file under the name by which the input reaches it.
        place: its path without links.
        uri: the file's uri in this run; None if only links lead to it: then the first of these
            names is its uri, see first_name.
    """

    image: Image
    place: str
    uri: str | None


class Names:
    """The names that the inputs of a run have for files on disk.

    Args:
        inputs: all inputs of the run.
    """

    def __init__(self, inputs: Iterable[Input]) -> None:
        self._at: dict[str, list[Input]] = {}  # by their place, which is their base without links
        for each in inputs:
            if not is_remote(each.base):
                self._at.setdefault(os.path.realpath(each.base), []).append(each)
        self._overlap = any(
            name != source.base
            for place, sources in self._at.items()
            for source in sources
            for _, name in self._names_of(place)
        )

    def of(self, path: str, image: Image, place: str | None) -> Image | Linked:
        """A file under its name in this run, as far as the inputs tell it.

        Args:
            path: how an input reaches the file.
            image: the file of this path.
            place: its path without links; None if no link is below the input.
        """
        if image.error or (place is None and not self._overlap):
            return image
        place = place or os.path.realpath(path)
        name = self._without_links(place)
        if name == path:
            return image
        return Linked(image, place, None if name is None else uri_of(name))

    def _without_links(self, place: str) -> str | None:
        """The first name without a link below an input, its path if that is one; None for none."""
        found = [name for source, name in self._names_of(place) if source.takes(name)]
        return min(found, key=lambda name: (name != place, name.split("/")), default=None)

    def _names_of(self, place: str) -> Iterator[tuple[Input, str]]:
        """The names of a place, seen from each input at it or above it."""
        above = place
        while True:
            inside = place[len(above) :].strip("/")
            for source in self._at.get(above or "/", ()):
                yield source, join(source.base, inside) if inside else source.base
            if not above.strip("/"):
                return
            above = above.rpartition("/")[0]


def first_name(images: Iterable[Image]) -> Image:
    """The listing of a file whose name comes first; folder by folder, in the order of names."""
    return min(images, key=lambda image: (image.uri.split("/"), image.source))


def list_files(
    source: Input,
    aside: LeftAside | None = None,
    names: Names | None = None,
    roots: Roots = _ANYWHERE,
    seconds: float = DEFAULT_READ_TIMEOUT,
) -> Iterator[Image | Linked | Unreadable]:
    """The files of an input that exist now: images, archives and lists.

    A file that can't be an image is an Image with an error.

    Args:
        source: the input.
        aside: counts the files and folders that are left aside; None for no counting.
        names: the names that all inputs of the run have for files; None if it is the only one.
        roots: what links may reach.
        seconds: that may pass, on disk, until the next file or folder is looked at.

    Raises:
        OSError: the input's own folder is missing or can't be read, or does not answer in time. The
            listing is then incomplete, and no image may be taken for deleted.
    """
    aside, names = aside or LeftAside(source), names or Names([source])
    if is_remote(source.base):
        yield from _list_remote(source, aside)
    elif source.is_file:
        for image in look_at(source.base, source.text):
            yield names.of(source.base, image, None)
    else:
        looked = _look_below(source, aside, names, roots)
        for found in in_time(looked, seconds, f"listing {source.base}"):
            yield from found


def _look_below(
    source: Input, aside: LeftAside, names: Names, roots: Roots
) -> Iterator[list[Image | Linked | Unreadable]]:
    """What is at each path below a folder; an empty list where it is left aside."""
    for found in _walk(source, aside, roots):
        if isinstance(found, Unreadable):
            yield [found]
            continue
        path, place = found
        verdict = source.verdict(path)
        aside.add_file(path, verdict)
        if verdict != TAKEN:
            yield []
            continue
        # Other entries are where their folder is.
        is_link = bool(roots.allowed) and os.path.islink(path)
        if is_link and (refusal := roots.refusal_of_link(path)):
            yield [Image(uri_of(path), "", 0, error=refusal, source=source.text)]
        else:
            yield [names.of(path, image, place) for image in look_at(path, source.text)]


def look_at(path: str, source: str, expected: bool = False) -> Iterator[Image]:
    """The image at a path; with an error where there is something else.

    Args:
        path: absolute, or an address such as gs://.
        source: the text of the input.
        expected: give an error for a missing file, too; otherwise it gives no image.

    Raises:
        TimeoutError: the store did not answer before the deadline.
    """
    uri = uri_of(path)
    try:
        info = store_for(path).stat(path)
    except TimeoutError:
        raise
    except OSError as error:
        yield Image(uri, "", 0, error=str(error.strerror or error), source=source)
        return
    except ValueError as error:  # a null byte in the name
        yield Image(uri, "", 0, error=str(error), source=source)
        return
    if info is not None:
        yield Image(uri, info.version, info.bytes, source=source)
    elif problem := _problem_with(path, expected):
        yield Image(uri, "", 0, error=problem, source=source)


def _problem_with(path: str, expected: bool) -> str | None:
    """Why a path is not a file; None for a missing file that was not expected."""
    if is_remote(path):
        return f"there is no such object{_packed_hint(path)}" if expected else None
    if os.path.isdir(path):
        return "a folder, not a file"
    if os.path.exists(path):
        return f"not a regular file: {describe_special(path)}"
    if os.path.islink(path):
        return f"broken link to {readable(os.readlink(path))!r}"
    return f"there is no such file{_packed_hint(path)}" if expected else None


def _packed_hint(path: str) -> str:
    hint = "; what is packed in an archive can't be named alone, name the archive"
    return hint if archive_of(path) else ""


def _list_remote(source: Input, aside: LeftAside) -> Iterator[Image]:
    if source.is_file:
        yield from look_at(source.base, source.text)
        return
    store = store_for(source.base)
    found = store.list_files(source.base, source.start(), source.is_deep())
    yield from images_of(found, source, aside)


def images_of(found: Iterable[FileInfo], source: Input, aside: LeftAside) -> Iterator[Image]:
    """The images among the files that listing an input in a bucket came across.

    Args:
        found: files below the input's base.
        source: the input.
        aside: counts the files that are left aside.
    """
    for info in found:
        verdict = source.verdict(info.path)
        aside.add_file(info.path, verdict)
        if verdict == TAKEN:
            clash = "looks like a part of an archive; rename it" if archive_of(info.path) else None
            yield Image(info.path, info.version, info.bytes, error=clash, source=source.text)


def start_listing(
    source: Input, aside: LeftAside, names: Names, roots: Roots, seconds: float
) -> Iterator[Image | Linked | Unreadable | NameRange]:
    """Like list_files. Of a large input in a bucket, only the first files, and the rest as ranges.

    An input that may hold lists is never split, since the rows of its lists are counted in order.
    """
    if source.may_have_ranges():
        whole = NameRange(join(source.base, source.start()), source.is_deep())
        try:
            turn = list_start(whole)
        except UnorderedError:
            yield from _list_remote(source, aside)
        else:
            yield from images_of(turn.files, source, aside)
            yield from turn.rest
    else:
        yield from list_files(source, aside, names, roots, seconds)


class _Folder(NamedTuple):
    """A folder to list.

    Attributes:
        path: the folder's path.
        place: its path without links, if there is a link below the input; else None.
        depth: how many levels of folders to list, this one included; None for all.
        above: (device, inode) of the folders above it.
    """

    path: str
    place: str | None
    depth: int | None
    above: frozenset[tuple[int, int]]


class _File(NamedTuple):
    """What is no folder: its path, and its place as in _Folder."""

    path: str
    place: str | None


def _walk(source: Input, aside: LeftAside, roots: Roots) -> Iterator[_File | Unreadable]:
    """Everything but folders. Not recursive: trees may be deeper than Python's stack."""
    waiting = [_Folder(source.base, None, source.depth(), frozenset())]
    root, by_name = join(os.path.realpath(source.base), ""), source.takes_by_name()
    linked: set[tuple[int, int]] = set()  # (device, inode) of folders behind links
    while waiting:
        folder = waiting.pop()
        try:
            state = os.stat(folder.path)
            with os.scandir(folder.path) as scanned:
                entries = sorted(scanned, key=_name)
        except FileNotFoundError:
            if not folder.above:
                raise
            continue  # deleted meanwhile, with all its files
        except OSError as error:
            if not folder.above:
                raise
            yield Unreadable(folder.path, str(error.strerror or error))
            continue
        place = (state.st_dev, state.st_ino)
        if place in folder.above:
            continue
        if by_name and folder.place:
            # By another name there are the same files. Without this check, folders that are full of
            # links to each other would be searched on all ways through them.
            inside = join(folder.place, "-.jpg").removeprefix(root)
            if place in linked or (inside[:1] != "/" and source.takes(join(source.base, inside))):
                continue
            linked.add(place)
        below = None if folder.depth is None else folder.depth - 1
        above = folder.above | {place}
        deeper = []
        for entry in entries:
            path = join(folder.path, entry.name)
            inner = join(folder.place, entry.name) if folder.place else None
            try:
                is_folder = entry.is_dir()
                if entry.is_symlink():
                    inner = os.path.realpath(path)
            except OSError as error:  # a circular link, or one without permission
                is_folder = False
                if error.errno != errno.ELOOP and not is_searched(entry.name):
                    yield Unreadable(path, str(error.strerror or error))
                    continue
            if not is_folder:
                yield _File(path, inner)
            elif below == 0:
                aside.add_unsearched(path)
            else:
                verdict = source.folder_verdict(path)
                aside.add_folder(path, verdict)
                if verdict != TAKEN:
                    continue
                if entry.is_symlink() and (refusal := roots.refusal_of_link(path)):
                    yield Unreadable(path, refusal)
                else:
                    deeper.append(_Folder(path, inner, below, above))
        waiting.extend(reversed(deeper))


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
