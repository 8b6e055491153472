"""Find vectors in the output by content: copied and renamed images need no model call."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import threading
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from cachetools import LRUCache
from numpy.typing import NDArray

from pipeline.dataset.part_files import opened

_COLUMNS = ["embedding", "width", "height", "sha256"]
_DIGEST_BYTES = 16  # bytes of a sha256 in the index; reading a row compares the whole sha256
ROW_GROUP_BYTES = 128 << 20  # row groups kept in memory, since equal content is often near


class Contents(NamedTuple):
    """The contents of a part's rows.

    Attributes:
        part: the part's path, relative to the output.
        digests: 16 bytes per row, in order of the rows; zeros where the content is not known.
    """

    part: str
    digests: bytes


class KnownContent(NamedTuple):
    """An embedding (dim,), float32, of some content; width and height in pixels."""

    embedding: NDArray[np.float32]
    width: int
    height: int


def contents_of(part: str, hashes: Iterable[str | None]) -> Contents:
    """The contents of a part.

    Args:
        part: the part's path, relative to the output.
        hashes: sha256 of each row in hex; None for rows that find must not return.
    """
    length = 2 * _DIGEST_BYTES
    return Contents(
        part, b"".join(bytes.fromhex(f"{each or '':0<{length}.{length}}") for each in hashes)
    )


def _bytes_held(row_group: pa.Table) -> int:
    return int(row_group.nbytes)


class VectorIndex:
    """Finds rows by content. Safe to use from several threads.

    Args:
        output: the dataset's folder.
        contents: of its parts.
    """

    def __init__(self, output: str, contents: Iterable[Contents]) -> None:
        every = list(contents)
        self._output = output
        self._parts = [each.part for each in every]
        words = np.frombuffer(b"".join(each.digests for each in every), ">u8").reshape(-1, 2)
        counts = [len(each.digests) // _DIGEST_BYTES for each in every]
        first = words[:, 0].astype(np.uint64)
        order = np.argsort(first, kind="stable")
        self._first = first[order]
        self._second = words[:, 1].astype(np.uint64)[order]
        self._part_of = np.repeat(np.arange(len(every), dtype=np.int32), counts)[order]
        rows = [np.arange(count, dtype=np.int32) for count in counts]
        self._row_of = np.concatenate([*rows, np.empty(0, np.int32)])[order]
        self._lock = threading.Lock()
        self._starts: dict[int, list[int]] = {}  # part -> first row of each row group
        self._row_groups: LRUCache[tuple[int, int], pa.Table] = LRUCache(
            ROW_GROUP_BYTES, _bytes_held
        )

    def find(self, sha256: str) -> KnownContent | None:
        """The row with some content (sha256 in hex); None if there is none.

        Also None if the part can't be read any more: the content is then embedded again.
        """
        digest = bytes.fromhex(sha256)[:_DIGEST_BYTES]
        first, second = np.frombuffer(digest, ">u8").astype(np.uint64)
        place = int(np.searchsorted(self._first, first))
        while place < len(self._first) and self._first[place] == first:
            if self._second[place] == second:
                try:
                    return self._read(int(self._part_of[place]), int(self._row_of[place]), sha256)
                except Exception:  # whatever the error: embedding again is right
                    return None
            place += 1
        return None

    def _read(self, part: int, row: int, sha256: str) -> KnownContent | None:
        with self._lock:
            table, row = self._kept(part, row) or self._opened(part, row)
        if table.column("sha256")[row].as_py() != sha256:
            return None
        # A copy: a slice would keep the whole row group in memory.
        vector = np.array(table.column("embedding")[row].values, np.float32)
        return KnownContent(
            vector, table.column("width")[row].as_py(), table.column("height")[row].as_py()
        )

    def _kept(self, part: int, row: int) -> tuple[pa.Table, int] | None:
        """The row's row group, if it is in memory, and the row's place in it."""
        starts = self._starts.get(part)
        if starts is None:
            return None
        group = bisect.bisect_right(starts, row) - 1
        table = self._row_groups.get((part, group))
        return None if table is None else (table, row - starts[group])

    def _opened(self, part: int, row: int) -> tuple[pa.Table, int]:
        """The row's row group, read from the part, and the row's place in it."""
        with opened(self._output, self._parts[part]) as file:
            groups = map(file.metadata.row_group, range(file.num_row_groups))
            starts = [0, *itertools.accumulate(group.num_rows for group in groups)]
            group = bisect.bisect_right(starts, row) - 1
            table = file.read_row_group(group, columns=_COLUMNS)
        self._starts[part] = starts
        with contextlib.suppress(ValueError):  # one row group is larger than the whole cache
            self._row_groups[part, group] = table
        return table, row - starts[group]
