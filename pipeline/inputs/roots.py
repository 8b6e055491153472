"""Where lists and symbolic links may lead: --allow-root.

A list may come from somebody else than who runs the job, and so may a folder with links in it.
Both could name any file that the process can read. The roots bound that: files outside are neither
opened nor asked for their state.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import BinaryIO, NamedTuple

from encoder.errors import InputError
from encoder.storage.registry import is_remote, normalize, scheme_of
from pipeline.inputs.source import Input
from pipeline.inputs.uris import readable

_DESCRIPTORS = "/proc/self/fd"


class RefusedError(PermissionError):
    """A file is outside what the job may reach."""


class Roots(NamedTuple):
    """What lists and links may reach.

    Without a root, links may lead anywhere, lists on disk may name anything, and lists in buckets
    anything but local files. With roots, both reach these, and what the inputs list themselves.

    Attributes:
        allowed: the roots, from parse_root.
        inputs: the run's inputs.
    """

    allowed: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()

    def refusal_of_listed(self, path: str, list_path: str) -> str | None:
        """Why a list may not name a file; None if it may.

        Looks at local files only if their paths are allowed, to see where links lead.

        Args:
            path: of the file, from encoder.storage.registry.resolve.
            list_path: of the list.
        """
        if any(source.takes(path) for source in self.inputs):
            return self.refusal_of_link(path)
        if not self.allowed:
            if is_remote(list_path) and not is_remote(path):
                return f"a local file, named by a list that is not local; {_way_on(path)}"
            return None
        if any(_is_inside(path, root) for root in (*self.allowed, *_real(self.allowed))):
            return self.refusal_of_link(path)
        return f"outside of --allow-root ({self._named()}); {_way_on(path)}"

    def refusal_of_link(self, path: str) -> str | None:
        """Why a local path may not be read, because of where its links lead; None if it may."""
        if not self.allowed or is_remote(path):
            return None
        try:
            return self._refusal_of_real(os.path.realpath(path))
        except ValueError:  # a null byte in the name; there is no such file
            return None

    def check_opened(self, file: BinaryIO, path: str) -> None:
        """Check a local file that is open, before its content is read.

        Links may have changed since they were looked at. The system knows where the opened file is.

        Raises:
            RefusedError: it is outside what the job may reach.
        """
        if not self.allowed or is_remote(path):
            return
        refusal = self._refusal_of_real(_place_of(file.fileno()))
        if refusal is not None:
            raise RefusedError(refusal)

    def _refusal_of_real(self, real: str) -> str | None:
        files = tuple(source.base for source in self.inputs if source.is_file)
        folders = tuple(source.base for source in self.inputs if not source.is_file)
        roots = (*_real(self.allowed), *_real(folders))
        if real in _real(files) or any(_is_inside(real, root) for root in roots):
            return None
        return (
            f"a link to {readable(real)!r}, outside of --allow-root ({self._named()}); "
            f"{_way_on(real)}"
        )

    def _named(self) -> str:
        return readable(", ".join(self.allowed))


def parse_root(text: str) -> str:
    """Parse one --allow-root: an existing local folder, or the address of a bucket or a folder.

    ``gs://`` alone allows all buckets there.

    Raises:
        InputError: it is something else.
    """
    if not text.strip():
        raise InputError("--allow-root is empty; expected a folder, or an address such as gs://B/F")
    scheme = scheme_of(text)
    if scheme is not None and text[len(scheme) :] == "":
        return scheme
    try:
        root = normalize(text)
    except InputError as error:
        raise InputError(f"--allow-root {error}") from error
    if not is_remote(root):
        if not os.path.isdir(root):
            raise InputError(f"--allow-root {text!r}: there is no such folder ({root})")
    elif "*" in root or _has_dots(root):
        raise InputError(
            f"--allow-root {text!r}: expected an address without '*', '.' and '..'; it allows "
            "everything below it"
        )
    return root


def _is_inside(path: str, root: str) -> bool:
    """Whether a path is a root or below it. Some stores resolve dots in names, so these are not."""
    if is_remote(path) and _has_dots(path):
        return False
    return path == root or path.startswith(root if root.endswith("/") else f"{root}/")


def _has_dots(path: str) -> bool:
    return not {".", ".."}.isdisjoint(path.split("/"))


@functools.lru_cache(maxsize=64)
def _real(places: tuple[str, ...]) -> tuple[str, ...]:
    """Local places without links; they are found once, so that links can't widen them later."""
    return tuple(os.path.realpath(place) for place in places if not is_remote(place))


def _place_of(descriptor: int) -> str:
    """The path of an open file, without links."""
    if sys.platform == "darwin":
        import fcntl

        name = fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024))
        return os.fsdecode(name.rstrip(b"\0"))
    return os.readlink(f"{_DESCRIPTORS}/{descriptor}")


def _way_on(path: str) -> str:
    folder = path.rpartition("/")[0] or "/"
    return f"--allow-root {readable(folder)} would allow it"
