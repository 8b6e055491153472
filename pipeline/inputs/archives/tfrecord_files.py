"""Images in TFRecord files of tf.train.Example, plain or with gzip. Needs no TensorFlow.

A record is its length, a checksum of that, the data, a checksum of the data; see
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import contextlib
import gzip
import struct
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import google_crc32c

from pipeline.inputs.archives.base import SEGMENT_BYTES, ArchiveError, Member, Packing
from pipeline.inputs.archives.examples import features_of, find_image, find_text
from pipeline.records import Image

_HEADER = struct.Struct("<QI")  # length, checksum of its eight bytes
_FOOTER = struct.Struct("<I")  # checksum of the data
_MASK_DELTA = 0xA282EAD8


class _Record(NamedTuple):
    """A record's number, where it begins, and the length of its data in bytes."""

    number: int
    offset: int
    length: int


def index(file: BinaryIO, packing: Packing) -> Iterator[Member]:
    """Every record, by its number or by its feature of the packing's id_field."""
    with _stream(file) as (stream, compressed):
        for record in _records(stream):
            name, error = str(record.number), ""
            if packing.id_field and record.length <= packing.max_bytes:
                try:
                    data = _data(stream, record)
                    name = find_text(features_of(data), packing.id_field)
                except ArchiveError as wrong:
                    error = str(wrong)
            place = record.number if compressed else record.offset
            segment = 0 if compressed else record.offset // SEGMENT_BYTES
            yield Member(name, record.length, place, segment, error)


def read(
    file: BinaryIO, wanted: Iterable[Image], packing: Packing
) -> Iterator[tuple[Image, bytes | Exception]]:
    """See base.Kind. Checksums are verified."""
    with _stream(file) as (stream, compressed):
        records = _records(stream)
        for image in wanted:
            if compressed:
                record = next(each for each in records if each.number == image.place)
            else:
                stream.seek(image.place)
                record = _parsed(stream.read(_HEADER.size), 0, image.place)
            try:
                yield image, find_image(features_of(_data(stream, record)), packing.image_field)
            except ArchiveError as error:
                yield image, error


def masked_checksum(data: bytes) -> int:
    """CRC-32C of the data, rotated and shifted as TFRecord has it."""
    value: int = google_crc32c.value(data)
    return ((value >> 15 | value << 17) + _MASK_DELTA) & 0xFFFFFFFF


@contextlib.contextmanager
def _stream(file: BinaryIO) -> Iterator[tuple[Any, bool]]:
    """The records' stream, and whether it is compressed, so that there is only one way through."""
    head = file.read(_HEADER.size)
    file.seek(0)
    plain = len(head) < _HEADER.size or _HEADER.unpack(head)[1] == masked_checksum(head[:8])
    if plain or not head.startswith(b"\x1f\x8b"):
        yield file, False
        return
    with gzip.open(file) as stream:
        yield stream, True


def _records(stream: Any) -> Iterator[_Record]:
    """The records one after the other; of each the data is next in the stream when it is given."""
    number, offset = 0, 0
    size = stream.seek(0, 2) if not isinstance(stream, gzip.GzipFile) else None
    stream.seek(0)
    while True:
        head = stream.read(_HEADER.size)
        if not head:
            return
        record = _parsed(head, number, offset)
        end = offset + _HEADER.size + record.length + _FOOTER.size
        if size is not None and end > size:
            raise ArchiveError(f"cut short: record {number} ends at byte {end} of {size}")
        yield record
        if stream.tell() != end:
            stream.seek(end)
        if size is None and stream.tell() != end:
            raise ArchiveError(f"cut short in record {number}")
        number, offset = number + 1, end


def _parsed(head: bytes, number: int, offset: int) -> _Record:
    if len(head) < _HEADER.size:
        raise ArchiveError(f"cut short after {number} records, at byte {offset}")
    length, checksum = _HEADER.unpack(head)
    if checksum != masked_checksum(head[:8]):
        raise ArchiveError(
            f"the length of record {number}, at byte {offset}, does not fit its checksum; nothing "
            "after it can be found"
        )
    return _Record(number, offset, length)


def _data(stream: Any, record: _Record) -> bytes:
    data: bytes = stream.read(record.length)
    footer = stream.read(_FOOTER.size)
    if len(data) < record.length or len(footer) < _FOOTER.size:
        raise ArchiveError(f"cut short in record {record.number}")
    if _FOOTER.unpack(footer)[0] != masked_checksum(data):
        raise ArchiveError("the record does not fit its checksum: it is damaged")
    return data
