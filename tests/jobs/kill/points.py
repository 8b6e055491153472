"""Named points of a run. Functions that write and remove files are wrapped to report them.

A point is KIND:MOMENT. Kinds of files: part, rewrite (a part that is written again), failures,
list, record, manifest. Moments: before, half (a temporary file exists with half of its bytes) and
after (the file is visible). The points of a removed file are removal:before and removal:after.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

from encoder.storage import local as local_files
from encoder.storage.base import is_temporary
from encoder.storage.local import LocalStore
from pipeline.dataset.parts import PartWriter

_here = threading.local()


def install(reached: Callable[[str, str], None], patch: Callable[..., None] = setattr) -> None:
    """Call `reached(point, path)` at every point from now on, in any thread.

    The product handles errors of `reached` like errors of the system call.
    """
    write, delete, rewrite = LocalStore.write, LocalStore.delete, PartWriter.rewrite

    @functools.wraps(write)
    def wrapped_write(self: LocalStore, path: str, data: bytes) -> None:
        reached(f"{kind_of(path)}:before", path)
        write(self, path, data)
        reached(f"{kind_of(path)}:after", path)

    @functools.wraps(delete)
    def wrapped_delete(self: LocalStore, path: str) -> None:
        kind = "cleaning" if is_temporary(path) else "removal"
        reached(f"{kind}:before", path)
        delete(self, path)
        reached(f"{kind}:after", path)

    @functools.wraps(rewrite)
    def wrapped_rewrite(*arguments: Any) -> Any:
        _here.rewriting = True
        try:
            return rewrite(*arguments)
        finally:
            _here.rewriting = False

    patch(LocalStore, "write", wrapped_write)
    patch(LocalStore, "delete", wrapped_delete)
    patch(PartWriter, "rewrite", wrapped_rewrite)
    patch(local_files, "os", _Os(reached))


def kind_of(path: str) -> str:
    """The kind of a file, by its path."""
    folder, _, name = path.rpartition("/")
    if name.startswith("part-"):
        if "/failures/" in path:
            return "failures"
        return "rewrite" if getattr(_here, "rewriting", False) else "part"
    if name.startswith("uris-"):
        return "list"
    if folder.endswith("/runs"):
        return "record"
    return "manifest" if name == "manifest.json" else "other"


class _Os:
    """The module os for encoder.storage.local."""

    def __init__(self, reached: Callable[[str, str], None]) -> None:
        self._reached = reached

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def replace(self, source: str, target: str) -> None:
        """Make a complete file visible."""
        self._reached(f"{kind_of(target)}:half", source)
        os.replace(source, target)
