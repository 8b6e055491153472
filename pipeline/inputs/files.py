"""Which files there are: on disk, through links and never in circles, or in a bucket."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from encoder.storage.base import join
from encoder.storage.registry import is_remote, store_for
from pipeline.inputs.file_kinds import is_searched
from pipeline.inputs.source import Input, reaches_hidden
from pipeline.inputs.uris import archive_of, readable, uri_of
from pipeline.records import Image


class Unreadable(NamedTuple):
    """A folder below an input that could not be read. Nothing is known of what is in it."""

    folder: str
    error: str


def list_files(source: Input) -> Iterator[Image | Unreadable]:
    """The files of an input that exist now: images, archives and lists alike.

    Raises:
        OSError: the input's own folder is missing or can't be read; nothing may be concluded then.
    """
    if is_remote(source.base):
        yield from _list_remote(source)
    elif source.is_file:
        yield from look_at(source.base, source.text)
    else:
        depth = None
        if source.pattern and "**" not in source.pattern:
            depth = source.pattern.count("/") + 1
        hidden = reaches_hidden(source.pattern)
        for path in _walk(source.base, depth, hidden):
            if isinstance(path, Unreadable):
                yield path
            elif source.takes(path):
                yield from look_at(path, source.text)


def look_at(path: str, source: str, expected: bool = False) -> Iterator[Image]:
    """The image at a path or gs:// address; with an error where there can be none.

    Args:
        path: absolute, or gs://.
        source: the text of the input.
        expected: what is not there is an error; otherwise it has vanished, and is not given.

    Raises:
        TimeoutError: the store was asked until the deadline.
    """
    uri = uri_of(path)
    try:
        info = store_for(path).stat(path)
    except TimeoutError:
        raise
    except OSError as error:
        yield Image(uri, "", 0, str(error.strerror or error), source=source)
        return
    except ValueError as error:  # a null byte in the name
        yield Image(uri, "", 0, str(error), source=source)
        return
    if info is not None:
        yield Image(uri, info.version, info.bytes, source=source)
    elif is_remote(path):
        if expected:
            yield Image(uri, "", 0, f"there is no such object{_alone(path)}", source=source)
    elif os.path.isdir(path):
        yield Image(uri, "", 0, "a folder, not a file", source=source)
    elif os.path.exists(path):
        yield Image(uri, "", 0, "not a regular file", source=source)
    elif os.path.islink(path):
        target = readable(os.readlink(path))
        yield Image(uri, "", 0, f"broken link to {target!r}", source=source)
    elif expected:
        yield Image(uri, "", 0, f"there is no such file{_alone(path)}", source=source)


def _alone(path: str) -> str:
    hint = "; what is packed in an archive can't be named alone, name the archive"
    return hint if archive_of(path) else ""


def _list_remote(source: Input) -> Iterator[Image]:
    if source.is_file:
        yield from look_at(source.base, source.text)
        return
    store = store_for(source.base)
    for info in store.list_files(source.base, source.start(), source.is_deep()):
        if source.takes(info.path):
            clash = "looks like a part of an archive; rename it" if archive_of(info.path) else ""
            yield Image(*info, error=clash, source=source.text)


class _Folder(NamedTuple):
    """A folder to be read, the folders above it, and how many levels may be entered below."""

    path: str
    depth: int | None
    above: frozenset[tuple[int, int]]


def _walk(base: str, depth: int | None, hidden: bool) -> Iterator[str | Unreadable]:
    """Paths of what is no folder; not recursive, since trees may be deeper than Python's stack."""
    waiting = [_Folder(base, depth, frozenset())]
    while waiting:
        folder = waiting.pop()
        try:
            state = os.stat(folder.path)
            with os.scandir(folder.path) as scanned:
                entries = sorted(scanned, key=_name)
        except FileNotFoundError:
            if not folder.above:
                raise
            continue  # it vanished meanwhile, with all that was in it
        except OSError as error:
            if not folder.above:
                raise
            yield Unreadable(folder.path, str(error.strerror or error))
            continue
        place = (state.st_dev, state.st_ino)
        if place in folder.above:
            continue
        below = None if folder.depth is None else folder.depth - 1
        above = folder.above | {place}
        deeper = []
        for entry in entries:
            path = join(folder.path, entry.name)
            try:
                is_folder = entry.is_dir()
            except OSError as error:  # a link in a circle, or to where nobody may go
                is_folder = False
                if error.errno != errno.ELOOP and not is_searched(entry.name):
                    yield Unreadable(path, str(error.strerror or error))
                    continue
            if not is_folder:
                yield path
            elif below != 0 and (hidden or not entry.name.startswith(".")):
                deeper.append(_Folder(path, below, above))
        waiting.extend(reversed(deeper))


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
