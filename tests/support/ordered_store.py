"""A store in memory that lists names in the order of UTF-8 bytes, some on each page."""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterable, Iterator

from encoder.storage.base import FileInfo, Page

ROOT = "mem://bucket/"


class OrderedMemory:
    """Objects below mem://bucket/.

    Args:
        names: of the objects; the version of each is its own.
        page: names on a page.

    Attributes:
        requests: the number of requests by kind.
        closed: whether listing is refused.
        obeys: whether names are in order, and listings begin where they shall.
        gaps: whether some pages are empty, as real stores may send them.
    """

    def __init__(self, names: Iterable[str], page: int = 3) -> None:
        self._files = {f"{ROOT}{name}": FileInfo(f"{ROOT}{name}", f"v{name}", 7) for name in names}
        self._paths = sorted(self._files, key=str.encode)
        self._page = page
        self._lock = threading.Lock()
        self.requests = {"list": 0, "stat": 0}
        self.closed = False
        self.obeys = True
        self.gaps = False

    def __call__(self) -> OrderedMemory:
        """The store itself, as encoder.storage.registry makes it for each access."""
        return self

    def is_ordered(self, path: str) -> bool:
        return True

    def is_folder(self, path: str) -> bool:
        return True

    def stat(self, path: str) -> FileInfo | None:
        self._count("stat")
        return self._files.get(path)

    def list_files(self, folder: str, start: str = "", deep: bool = True) -> Iterator[FileInfo]:
        for page in self.pages(f"{folder.rstrip('/')}/{start}", deep):
            yield from (info for info in page.files if not info.path.endswith("/"))

    def pages(
        self,
        prefix: str,
        deep: bool = True,
        start: str = "",
        end: str | None = None,
        most: int | None = None,
    ) -> Iterator[Page]:
        size = min(most or self._page, self._page)
        first = bisect.bisect_left(self._paths, max(prefix, start)) if self.obeys else 0
        last = bisect.bisect_left(self._paths, end) if self.obeys and end else len(self._paths)
        fits = (
            path
            for path in (self._paths[first:last] if self.obeys else reversed(self._paths))
            if path.startswith(prefix) and (deep or "/" not in path[len(prefix) :])
        )
        paths = list(itertools.islice(fits, size))
        while True:
            self._count("list")
            if self.closed:
                raise PermissionError(f"{prefix}: listing is refused")
            following = list(itertools.islice(fits, size))
            yield Page([self._files[path] for path in paths], bool(following))
            if not following:
                return
            if self.gaps:
                yield Page([], True)
            paths = following

    def _count(self, kind: str) -> None:
        with self._lock:
            self.requests[kind] += 1
