"""Find the states of many files by listing the ranges of names that they fill.

A request for one file costs as much time as one for a page of a listing, which has a thousand.
Where the files of a list lie close together, pages take the place of hundreds of requests.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable

from encoder.storage.base import FileInfo, OrderedStore
from encoder.storage.registry import ordered_store_for

_WORTH = 64  # files on a page from which it is quicker than a request for each of them
_POOR_PAGES = 1  # with fewer files, after which the others are left


class Listings:
    """Finds files by listing. Remembers the buckets that can't be listed."""

    def __init__(self) -> None:
        self._closed: set[str] = set()

    def states_of(self, paths: Iterable[str]) -> dict[str, FileInfo]:
        """The states of the files that are found by listing, by path; others may exist as well.

        Args:
            paths: addresses in buckets.
        """
        found: dict[str, FileInfo] = {}
        for bucket, several in itertools.groupby(sorted(set(paths)), _bucket_of):
            wanted = list(several)
            if len(wanted) < _WORTH or bucket in self._closed:
                continue
            store = ordered_store_for(bucket)
            if store is None:
                continue
            try:
                found.update(_found(store, wanted))
            except OSError:  # a request for each may be allowed, or shows what is wrong
                self._closed.add(bucket)
        return found


def _bucket_of(path: str) -> str:
    scheme, _, rest = path.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/"


def _found(store: OrderedStore, wanted: list[str]) -> dict[str, FileInfo]:
    """The files of some paths, which are sorted, as far as it is worth to list them."""
    found: dict[str, FileInfo] = {}
    place = poor = 0
    while len(wanted) - place >= _WORTH and poor < _POOR_PAGES:
        first = wanted[place]
        page = next(store.pages(_common_beginning(first, wanted[-1]), start=first), None)
        if page is None or not page.files:
            break
        behind = max(bisect.bisect_right(wanted, page.files[-1].path), place + 1)
        names = set(wanted[place:behind])
        before = len(found)
        found.update((info.path, info) for info in page.files if info.path in names)
        poor += len(found) - before < _WORTH
        if not page.more:
            break
        place = behind
    return found


def _common_beginning(one: str, other: str) -> str:
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(character for character, _ in alike)
