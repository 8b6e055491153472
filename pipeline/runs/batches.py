"""Batches of rows for planning: spread over partitions, a thousand rows in each.

A runner spends more time on an element than planning spends on a row. So the uris are spread over a
fixed number of partitions, and the elements are packed batches of rows.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import pyarrow as pa

from pipeline.dataset.changes import Seen
from pipeline.records import Image, Known, KnownTuple, Share

PARTITIONS = 64
_BATCH_ROWS = 1024
_SIZE_BYTES = 8  # of a packed batch: its size in memory, and its number of rows

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")
_Batch = TypeVar("_Batch")


class ListedBatch(NamedTuple):
    """Images that one input listed.

    Attributes:
        source: the text of the input.
        plain: (uri, version, bytes) of images without error, carried values and archive.
        others: all other images.
    """

    source: str
    plain: list[tuple[str, str, int]]
    others: list[Image]


class LinkedBatch(NamedTuple):
    """(uri of its path without links, image) of files that links lead to."""

    rows: list[tuple[str, Image]]


class KnownBatch(NamedTuple):
    """Rows of the output."""

    rows: list[KnownTuple]


class NamedBatch(NamedTuple):
    """Uris that a list named in an earlier state."""

    list_uri: str
    uris: list[str]


class SeenBatch(NamedTuple):
    """(uri, what happened to it), for the log of changes; see pipeline.dataset.changes."""

    rows: list[tuple[str, Seen]]


Batch: TypeAlias = ListedBatch | LinkedBatch | KnownBatch | NamedBatch | SeenBatch


def partition_of(uri: str) -> int:
    """The partition of a uri, 0 to PARTITIONS - 1; the same in every process."""
    return zlib.crc32(uri.encode()) % PARTITIONS


def share_of(uri: str, shares: int) -> Share:
    """The share of a uri, if its partition is divided into this many."""
    rest, partition = divmod(zlib.crc32(uri.encode()), PARTITIONS)
    return Share(partition, rest % shares, shares)


def row_count(batch: tuple[object, ...]) -> int:
    """The number of rows in a batch; 0 for a tuple that is no Batch."""
    if isinstance(batch, ListedBatch):
        return len(batch.plain) + len(batch.others)
    if isinstance(batch, NamedBatch):
        return len(batch.uris)
    return len(batch.rows) if isinstance(batch, LinkedBatch | KnownBatch | SeenBatch) else 0


def pack(batch: tuple[object, ...]) -> bytes:
    """A batch, a NamedTuple, as compressed bytes: uris have much in common."""
    data = pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL)
    packed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    sizes = (len(data), row_count(batch))
    return b"".join(size.to_bytes(_SIZE_BYTES, "big") for size in sizes) + packed


def rows_in(data: bytes) -> int:
    """The number of rows in a packed batch, which stays packed."""
    return int.from_bytes(data[_SIZE_BYTES : 2 * _SIZE_BYTES], "big")


def unpacked(data: bytes) -> Batch:
    """Unpack a batch of any kind."""
    size = int.from_bytes(data[:_SIZE_BYTES], "big")
    packed = memoryview(data)[2 * _SIZE_BYTES :]
    batch: Batch = pickle.loads(pa.decompress(packed, size, codec="zstd", asbytes=True))
    return batch


def unpack(data: bytes, kind: type[_Batch]) -> _Batch:
    """Unpack a batch.

    Raises:
        TypeError: the batch is of another kind.
    """
    batch = unpacked(data)
    if not isinstance(batch, kind):
        raise TypeError(f"a packed {type(batch).__name__}; expected {kind.__name__}")
    return batch


class Batches(Generic[_Key, _Row]):
    """Collects rows by key until there are enough for a batch."""

    def __init__(self) -> None:
        self._rows: dict[_Key, list[_Row]] = {}

    def add(self, key: _Key, row: _Row) -> list[_Row]:
        """Add a row. Returns all rows of its key if they are enough for a batch, else none."""
        rows = self._rows.setdefault(key, [])
        rows.append(row)
        return self._rows.pop(key) if len(rows) >= _BATCH_ROWS else []

    def rest(self) -> list[tuple[_Key, list[_Row]]]:
        """Remove and return all remaining rows by key."""
        rows, self._rows = self._rows, {}
        return list(rows.items())


def listed_batch(source: str, images: Iterable[Image]) -> bytes:
    """Pack images of one input."""
    plain: list[tuple[str, str, int]] = []
    others: list[Image] = []
    for image in images:
        if image.error or image.carried is not None or image.archive:
            others.append(image)
        else:
            plain.append((image.uri, image.version, image.bytes))
    return pack(ListedBatch(source, plain, others))


def as_known(row: KnownTuple) -> Known:
    """A row of the output in the form that the rules take."""
    _, part, version, sha256, stage, committed, carried = row
    return Known(part, version, sha256, stage, committed, carried)
