"""Take the rows of one partition into memory a share at a time, however many there are.

A runner gives all batches of a partition as one stream. Where they have more rows than a worker
should hold, they are written to a temporary file, divided by their uris, and read share by share.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa

from pipeline.records import Image, Share
from pipeline.runs.batches import (
    Batch,
    ListedBatch,
    NamedBatch,
    row_count,
    rows_in,
    share_of,
    unpacked,
)

MOST_ROWS = 100_000  # of a share; planning takes up to 1.1 kB of memory for each
_PIECE_ROWS = 1024

_Row = TypeVar("_Row")


def in_shares(partition: int, batches: Iterable[bytes]) -> Iterator[tuple[Share, Iterator[Batch]]]:
    """All batches of a partition, in shares of about MOST_ROWS rows; each uri is in one share.

    Args:
        partition: the number of the partition.
        batches: packed; they are iterated twice.
    """
    shares = max(1, -(-sum(map(rows_in, batches)) // MOST_ROWS))
    if shares == 1:
        yield Share(partition), map(unpacked, batches)
        return
    with tempfile.TemporaryFile(prefix="embed-images-") as file:
        spill = _Spill(file, shares)
        for batch in map(unpacked, batches):
            for number, piece in divided(batch, shares).items():
                spill.add(number, piece)
        for number in range(shares):
            yield Share(partition, number, shares), spill.read(number)


class _Spill:
    """Batches of several shares in one file.

    Args:
        file: empty.
        shares: their number.
    """

    def __init__(self, file: BinaryIO, shares: int) -> None:
        self._file = file
        self._waiting: list[list[Batch]] = [[] for _ in range(shares)]
        self._rows = [0] * shares
        self._places: list[list[tuple[int, int, int]]] = [[] for _ in range(shares)]

    def add(self, share: int, batch: Batch) -> None:
        """Add a batch to a share."""
        self._waiting[share].append(batch)
        self._rows[share] += row_count(batch)
        if self._rows[share] >= _PIECE_ROWS:
            self._write(share)

    def read(self, share: int) -> Iterator[Batch]:
        """The batches of a share; nothing may be added after the first one."""
        self._write(share)
        for start, packed, size in self._places[share]:
            self._file.seek(start)
            data = self._file.read(packed)
            yield from pickle.loads(pa.decompress(data, size, codec="zstd", asbytes=True))

    def _write(self, share: int) -> None:
        data = pickle.dumps(self._waiting[share], protocol=pickle.HIGHEST_PROTOCOL)
        packed = pa.compress(data, codec="zstd", asbytes=True)
        self._places[share].append((self._file.seek(0, 2), len(packed), len(data)))
        self._file.write(packed)
        self._waiting[share], self._rows[share] = [], 0


def divided(batch: Batch, shares: int) -> dict[int, Batch]:
    """The rows of a batch by the numbers of their shares."""
    if isinstance(batch, ListedBatch):
        plain = _by_share(batch.plain, _first, shares)
        others = _by_share(batch.others, _uri, shares)
        return {
            number: batch._replace(plain=plain.get(number, []), others=others.get(number, []))
            for number in {*plain, *others}
        }
    if isinstance(batch, NamedBatch):
        uris = _by_share(batch.uris, str, shares)
        return {number: batch._replace(uris=found) for number, found in uris.items()}
    # Any: rows are tuples of several types, which begin with the uri.
    rows: dict[int, list[Any]] = _by_share(batch.rows, _first, shares)
    return {number: batch._replace(rows=found) for number, found in rows.items()}


def _by_share(
    rows: Iterable[_Row], uri_of: Callable[[_Row], str], shares: int
) -> dict[int, list[_Row]]:
    found: dict[int, list[_Row]] = {}
    for row in rows:
        found.setdefault(share_of(uri_of(row), shares).number, []).append(row)
    return found


def _first(row: tuple[Any, ...]) -> str:
    return str(row[0])


def _uri(image: Image) -> str:
    return image.uri
