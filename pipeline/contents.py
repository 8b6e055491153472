"""What content the output has vectors of: copies, renamed files and the like need no model."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from encoder.storage import join, store_for

_DIGEST_BYTES = 16  # of a sha256, for finding; the whole of it is compared when a row is read
_ROW_GROUPS_KEPT = 8


class Contents(NamedTuple):
    """What the rows of a part are of: its path in the output, and their digests in a row."""

    part: str
    digests: bytes


class KnownContent(NamedTuple):
    """A row that the output has of some content. Embedding (dim,) float32; sizes in pixels."""

    embedding: NDArray[np.float32]
    width: int
    height: int


def contents_of(part: str, hashes: Iterable[str]) -> Contents:
    """The contents of a part, by the sha256 of its rows, in hex and in order; "" for none."""
    length = 2 * _DIGEST_BYTES
    return Contents(part, b"".join(bytes.fromhex(f"{each:0<{length}.{length}}") for each in hashes))


class ContentIndex:
    """Finds rows by content. Safe to use from several threads.

    Args:
        output: of the dataset.
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
        self._row_groups: collections.OrderedDict[tuple[int, int], Any] = collections.OrderedDict()

    def find(self, sha256: str) -> KnownContent | None:
        """The row of some content, if there is one; sha256 in hex.

        A part that can't be read any more is as good as none: the content is embedded again.
        """
        digest = bytes.fromhex(sha256)[:_DIGEST_BYTES]
        first, second = np.frombuffer(digest, ">u8").astype(np.uint64)
        place = int(np.searchsorted(self._first, first))
        while place < len(self._first) and self._first[place] == first:
            if self._second[place] == second:
                try:
                    return self._read(int(self._part_of[place]), int(self._row_of[place]), sha256)
                except Exception:  # whatever it is, embedding again is right
                    return None
            place += 1
        return None

    def _read(self, part: int, row: int, sha256: str) -> KnownContent | None:
        path = join(self._output, self._parts[part])
        with self._lock, store_for(path).open(path) as file:
            opened = pq.ParquetFile(file)
            group = 0
            while row >= (size := opened.metadata.row_group(group).num_rows):
                row, group = row - size, group + 1
            table = self._row_groups.pop((part, group), None)
            if table is None:
                columns = ["embedding", "width", "height", "sha256"]
                table = opened.read_row_group(group, columns=columns)
            self._row_groups[part, group] = table
            if len(self._row_groups) > _ROW_GROUPS_KEPT:
                self._row_groups.popitem(last=False)
        if table.column("sha256")[row].as_py() != sha256:
            return None
        vector = np.asarray(table.column("embedding")[row].values, np.float32)
        return KnownContent(
            vector, table.column("width")[row].as_py(), table.column("height")[row].as_py()
        )
