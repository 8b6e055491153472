"""Rows that are compared with each other travel many at a time, as bytes.

One row alone costs an engine more than the comparison does. So the uris are spread over a fixed
number of buckets, and what meets there are packed batches of rows.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.records import Image, Known, KnownTuple

PARTITIONS = 64
_BATCH_ROWS = 1024
_SIZE_BYTES = 8


class ListedBatch(NamedTuple):
    """Images that one input listed.

    Attributes:
        source: the text of the input.
        plain: those of which nothing else is to be said, as uri, version and bytes.
        others: all others.
    """

    source: str
    plain: list[tuple[str, str, int]]
    others: list[Image]


class NamedBatch(NamedTuple):
    """Uris that a list named in an earlier state."""

    list_uri: str
    uris: list[str]


def partition_of(uri: str) -> int:
    """The bucket of a uri; the same in every process."""
    return zlib.crc32(uri.encode()) % PARTITIONS


def pack(batch: Any) -> bytes:
    """A batch as bytes, compressed: uris have much in common."""
    data = pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL)
    packed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return len(data).to_bytes(_SIZE_BYTES, "big") + packed


def unpack(data: bytes) -> Any:
    """The batch that was packed."""
    size = int.from_bytes(data[:_SIZE_BYTES], "big")
    return pickle.loads(pa.decompress(data[_SIZE_BYTES:], size, codec="zstd", asbytes=True))


class Batches:
    """Collects rows by bucket, or by any other key, and packs them when they are many."""

    def __init__(self) -> None:
        self._rows: dict[Any, list[Any]] = {}

    def add(self, key: Any, row: Any) -> Iterator[tuple[Any, list[Any]]]:
        """Take a row; gives the key's rows when they are enough."""
        rows = self._rows.setdefault(key, [])
        rows.append(row)
        if len(rows) >= _BATCH_ROWS:
            yield key, self._rows.pop(key)

    def rest(self) -> Iterator[tuple[Any, list[Any]]]:
        """All that is left; empty afterwards."""
        rows, self._rows = self._rows, {}
        yield from rows.items()


def listed_batch(source: str, images: Iterable[Image]) -> bytes:
    """Images of one input, packed."""
    plain: list[tuple[str, str, int]] = []
    others: list[Image] = []
    for image in images:
        if image.error or image.carried is not None or image.archive:
            others.append(image)
        else:
            plain.append(image[:3])
    return pack(ListedBatch(source, plain, others))


def as_known(row: KnownTuple) -> Known:
    """A row of the output as planning takes it."""
    return Known(*row[1:])
