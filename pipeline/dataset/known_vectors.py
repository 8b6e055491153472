"""Find vectors in the output by content: copied and renamed images need no model call.

No worker holds the contents of all rows. They are spread over buckets, which a worker fetches one
at a time. A filter of bounded size tells for most new contents, without fetching anything, that
there is no vector.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from cachetools import LRUCache
from numpy.typing import NDArray

from pipeline.dataset.part_files import opened

_COLUMNS = ["embedding", "width", "height", "sha256"]
_DIGEST_BYTES = 16  # bytes of a sha256 in a bucket; reading a row compares the whole sha256
_BUCKET_ROWS = 4096
_BUFFER_ROWS = 1 << 16
_FILTER_BITS = 16  # for each row, as long as the filter does not get too large
_LARGEST_FILTER = 1 << 29  # bits, 64 MiB
_PARTS_KNOWN = 10_000
_READ_AT_ONCE = 16
_SEGMENTS = 64  # of the filter, which are made side by side
ROW_GROUP_BYTES = 128 << 20  # row groups kept in memory, since equal content is often near


class Contents(NamedTuple):
    """The contents of rows of several parts.

    Attributes:
        parts: paths of the parts, relative to the output.
        digests: 16 bytes per row.
        part_of: for each row the place of its part in ``parts``, int32.
        row_of: for each row its place in the part, int32.
    """

    parts: tuple[str, ...]
    digests: bytes
    part_of: bytes
    row_of: bytes


class Place(NamedTuple):
    """A row of a part, whose path is relative to the output."""

    part: str
    row: int


class KnownContent(NamedTuple):
    """An embedding (dim,), float32, of some content; width and height in pixels."""

    embedding: NDArray[np.float32]
    width: int
    height: int


def digests_of(hashes: Iterable[str | None]) -> bytes:
    """The first 16 bytes of each sha256 in hex; zeros for None, which is never found."""
    length = 2 * _DIGEST_BYTES
    return b"".join(bytes.fromhex(f"{each or '':0<{length}.{length}}") for each in hashes)


@dataclasses.dataclass(frozen=True)
class Buckets:
    """How contents are spread over buckets, and over the bits of the filter.

    Attributes:
        rows: about how many rows the output has; any number is right, and a good one is fast.
    """

    rows: int

    @property
    def count(self) -> int:
        """The number of buckets."""
        return max(1, self.rows // _BUCKET_ROWS)

    @property
    def segment_bits(self) -> int:
        """The number of bits in each segment of the filter."""
        bits = min(_FILTER_BITS * max(self.rows, 1024), _LARGEST_FILTER)
        return 8 * -(-bits // (8 * _SEGMENTS))

    def bucket_of(self, sha256: str) -> int:
        """The bucket of some content, sha256 in hex."""
        return int(sha256[:16], 16) % self.count

    def spread(self, contents: Contents) -> Iterator[tuple[int, Contents]]:
        """The contents by bucket."""
        words = _words(contents.digests)
        buckets = words[:, 0] % self.count
        order = np.argsort(buckets, kind="stable")
        part_of = np.frombuffer(contents.part_of, np.int32)
        row_of = np.frombuffer(contents.row_of, np.int32)
        found, starts = np.unique(buckets[order], return_index=True)
        for bucket, rows in zip(found, np.split(order, starts[1:]), strict=True):
            parts, places = np.unique(part_of[rows], return_inverse=True)
            yield (
                int(bucket),
                Contents(
                    tuple(contents.parts[part] for part in parts),
                    words[rows].astype(">u8").tobytes(),
                    places.astype(np.int32).tobytes(),
                    row_of[rows].tobytes(),
                ),
            )

    def bits_of(self, contents: Contents) -> Iterator[tuple[int, bytes]]:
        """(segment of the filter, the bits that these contents set there, each as uint32)."""
        places = _words(contents.digests)[:, 1]
        segments = places % _SEGMENTS
        bits = (places // _SEGMENTS % self.segment_bits).astype(np.uint32)
        for segment in np.unique(segments):
            yield int(segment), bits[segments == segment].tobytes()

    def segment(self, bits: Iterable[bytes]) -> bytes:
        """A segment of the filter, from what bits_of gave for it."""
        found = np.zeros(self.segment_bits, np.bool_)
        for each in bits:
            found[np.frombuffer(each, np.uint32)] = True
        return np.packbits(found).tobytes()


def _words(digests: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(digests, ">u8").reshape(-1, 2).astype(np.uint64)


class ContentsBuffer:
    """Collects the contents of parts until there are enough to spread them over buckets."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, bytes]] = []
        self._rows = 0

    def add(self, part: str, digests: bytes) -> Contents | None:
        """Add a part. Returns all contents if there are enough."""
        self._parts.append((part, digests))
        self._rows += len(digests) // _DIGEST_BYTES
        return self.rest() if self._rows >= _BUFFER_ROWS else None

    def rest(self) -> Contents | None:
        """Remove and return all contents; None if there are none."""
        parts, self._parts, self._rows = self._parts, [], 0
        digests = np.frombuffer(b"".join(each for _, each in parts), np.uint8)
        digests = digests.reshape(-1, _DIGEST_BYTES)
        counts = [len(each) // _DIGEST_BYTES for _, each in parts]
        part_of = np.repeat(np.arange(len(parts), dtype=np.int32), counts)
        row_of = [np.empty(0, np.int32), *(np.arange(n, dtype=np.int32) for n in counts)]
        known = digests.any(axis=1)
        if not known.any():
            return None
        return Contents(
            tuple(path for path, _ in parts),
            digests[known].tobytes(),
            part_of[known].tobytes(),
            np.concatenate(row_of)[known].tobytes(),
        )


def place_in(contents: Iterable[Contents], sha256: str) -> Place | None:
    """The row with some content, sha256 in hex, among the contents of its bucket."""
    wanted = np.frombuffer(bytes.fromhex(sha256)[:_DIGEST_BYTES], ">u8").astype(np.uint64)
    for each in contents:
        found = np.flatnonzero((_words(each.digests) == wanted).all(axis=1))
        if len(found):
            part = np.frombuffer(each.part_of, np.int32)[found[0]]
            return Place(each.parts[part], int(np.frombuffer(each.row_of, np.int32)[found[0]]))
    return None


def _bytes_held(row_group: pa.Table) -> int:
    return int(row_group.nbytes)


class KnownVectors:
    """Reads the vectors of known contents. Safe to use from several threads.

    Args:
        output: the dataset's folder.
        buckets: how contents are spread.
        segments: of the filter, by their numbers.
    """

    def __init__(
        self, output: str, buckets: Buckets, segments: Mapping[int, bytes] | None = None
    ) -> None:
        self.buckets = buckets
        self._output = output
        self._segments = segments or {}
        self._lock = threading.Lock()
        # One thread reads a row group, others that want it wait; those of other parts do not.
        self._opening = [threading.Lock() for _ in range(_READ_AT_ONCE)]
        # Of each part that was opened, the first row of each row group.
        self._starts: LRUCache[str, list[int]] = LRUCache(_PARTS_KNOWN)
        self._row_groups: LRUCache[tuple[str, int], pa.Table] = LRUCache(
            ROW_GROUP_BYTES, _bytes_held
        )

    def may_have(self, sha256: str) -> bool:
        """Whether there may be a vector of some content, sha256 in hex. False is certain."""
        if not self._segments:
            return False
        place = int(sha256[16:32], 16)
        segment = self._segments.get(place % _SEGMENTS)
        if segment is None:
            return False
        bit = place // _SEGMENTS % self.buckets.segment_bits
        return bool(segment[bit // 8] & (0x80 >> bit % 8))

    def read(self, place: Place, sha256: str) -> KnownContent | None:
        """The row at a place, if it has this content.

        Also None if the part can't be read any more: the content is then embedded again.
        """
        try:
            return self._read(place.part, place.row, sha256)
        except Exception:  # whatever the error: embedding again is right
            return None

    def _read(self, part: str, row: int, sha256: str) -> KnownContent | None:
        with self._opening[hash(part) % _READ_AT_ONCE]:
            table, row = self._kept(part, row) or self._opened(part, row)
        if table.column("sha256")[row].as_py() != sha256:
            return None
        # A copy: a slice would keep the whole row group in memory.
        vector = np.array(table.column("embedding")[row].values, np.float32)
        return KnownContent(
            vector, table.column("width")[row].as_py(), table.column("height")[row].as_py()
        )

    def _kept(self, part: str, row: int) -> tuple[pa.Table, int] | None:
        """The row's row group, if it is in memory, and the row's place in it."""
        with self._lock:
            starts = self._starts.get(part)
            if starts is None:
                return None
            group = bisect.bisect_right(starts, row) - 1
            table = self._row_groups.get((part, group))
        return None if table is None else (table, row - starts[group])

    def _opened(self, part: str, row: int) -> tuple[pa.Table, int]:
        """The row's row group, read from the part, and the row's place in it."""
        with opened(self._output, part) as file:
            groups = map(file.metadata.row_group, range(file.num_row_groups))
            starts = [0, *itertools.accumulate(group.num_rows for group in groups)]
            group = bisect.bisect_right(starts, row) - 1
            table = file.read_row_group(group, columns=_COLUMNS)
        with self._lock, contextlib.suppress(ValueError):  # a row group larger than the cache
            self._starts[part] = starts
            self._row_groups[part, group] = table
        return table, row - starts[group]
