"""Images in TFRecord files of tf.train.Example, plain or with gzip. Needs no TensorFlow.

A record consists of its length, the length's checksum, the data and the data's checksum; see
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple, Protocol

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from encoder.images.kinds import HEAD_BYTES, looks_like_image
from pipeline.inputs.archives.base import SEGMENT_BYTES, ArchiveError, Member, Packing
from pipeline.records import Image

_HEADER = struct.Struct("<QI")  # length, checksum of its eight bytes
_FOOTER = struct.Struct("<I")  # the checksum of the data
_MASK_DELTA = 0xA282EAD8
USUAL_IMAGE_FEATURES = ("image/encoded", "image", "image_raw", "jpeg", "png")

_Stream = BinaryIO | gzip.GzipFile
_FieldProto = descriptor_pb2.FieldDescriptorProto


class _BytesList(Protocol):
    """tf.train.BytesList."""

    @property
    def value(self) -> Sequence[bytes]: ...


class _Feature(Protocol):
    """tf.train.Feature: a list of bytes, of floats or of integers."""

    @property
    def bytes_list(self) -> _BytesList: ...

    def HasField(self, field_name: str) -> bool: ...  # noqa: N802 - protobuf's name

    def WhichOneof(self, oneof_group: str) -> str | None: ...  # noqa: N802 - protobuf's name


class _Record(NamedTuple):
    """A record.

    Attributes:
        number: of the record in its file, from 0.
        offset: where it begins, in bytes of the decompressed file.
        length: of its data, in bytes.
    """

    number: int
    offset: int
    length: int


def index(file: BinaryIO, packing: Packing) -> Iterator[Member]:
    """Every record, named by its number or by the feature id_field; see base.Kind."""
    with _stream(file) as (stream, compressed):
        for record in _records(stream):
            name, error = str(record.number), None
            if packing.id_field and record.length <= packing.max_bytes:
                try:
                    data = _data(stream, record)
                    name = find_text(features_of(data), packing.id_field)
                except ArchiveError as wrong:
                    error = str(wrong)
            yield Member(
                name=name,
                bytes=record.length,
                place=record.number if compressed else record.offset,
                segment=0 if compressed else record.offset // SEGMENT_BYTES,
                error=error,
            )


def read(
    file: BinaryIO, wanted: Iterable[Image], packing: Packing
) -> Iterator[tuple[Image, bytes | Exception]]:
    """See base.Kind. Verifies the checksums."""
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
    """TFRecord's checksum: CRC-32C of the data, rotated by 15 bits, plus a constant."""
    value: int = google_crc32c.value(data)
    return ((value >> 15 | value << 17) + _MASK_DELTA) & 0xFFFFFFFF


@contextlib.contextmanager
def _stream(file: BinaryIO) -> Iterator[tuple[_Stream, bool]]:
    """The stream of records, and whether it is compressed, so that it can be read only in order."""
    head = file.read(_HEADER.size)
    file.seek(0)
    plain = len(head) < _HEADER.size or _HEADER.unpack(head)[1] == masked_checksum(head[:8])
    if plain or not head.startswith(b"\x1f\x8b"):
        yield file, False
        return
    with gzip.open(file) as stream:
        yield stream, True


def _records(stream: _Stream) -> Iterator[_Record]:
    """The records in order. When a record is given, the stream is at the start of its data."""
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


def _data(stream: _Stream, record: _Record) -> bytes:
    data = stream.read(record.length)
    footer = stream.read(_FOOTER.size)
    if len(data) < record.length or len(footer) < _FOOTER.size:
        raise ArchiveError(f"cut short in record {record.number}")
    if _FOOTER.unpack(footer)[0] != masked_checksum(data):
        raise ArchiveError("the record does not fit its checksum: it is damaged")
    return data


class ExampleError(ArchiveError):
    """A record is not a tf.train.Example, or lacks the feature that is needed."""


def features_of(data: bytes) -> Mapping[str, _Feature]:
    """The features of a serialized Example, by name.

    Raises:
        ExampleError: the data is not an Example.
    """
    example = _example_type()()
    try:
        example.ParseFromString(data)
    except message.DecodeError as error:
        raise ExampleError(f"the record is no tf.train.Example: {error}") from error
    features: Mapping[str, _Feature] = example.features.feature
    return features


def find_image(features: Mapping[str, _Feature], name: str | None) -> bytes:
    """The bytes of an image file.

    Args:
        features: the features of an Example.
        name: the feature's name; None for the first usual name, or else the only image.

    Raises:
        ExampleError: there is no such feature, or it has not one value of bytes, or there are
            several images.
    """
    if not name:
        name = _usual_feature(features)
    value = _single(features, name, "bytes_list")
    return value if isinstance(value, bytes) else b""


def find_text(features: Mapping[str, _Feature], name: str) -> str:
    """A feature's one value as text; bytes that are not UTF-8 as surrogates, as in file names.

    Raises:
        ExampleError: there is no such feature, or it has not one value.
    """
    value = _single(features, name)
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _single(features: Mapping[str, _Feature], name: str, kind: str | None = None) -> object:
    """A feature's one value, of one kind or (None) of any."""
    if name not in features:
        raise ExampleError(f"the record has no feature {name!r}; it has {_names(features)}")
    feature = features[name]
    found = feature.WhichOneof("kind")
    values: Sequence[object] = getattr(feature, found).value if found else ()
    if len(values) != 1 or kind not in (None, found):
        raise ExampleError(
            f"feature {name!r} of the record has {len(values)} values of kind "
            f"{found or 'nothing'}; expected one" + (" of bytes" if kind else "")
        )
    return values[0]


def _usual_feature(features: Mapping[str, _Feature]) -> str:
    for name in USUAL_IMAGE_FEATURES:
        if name in features and features[name].HasField("bytes_list"):
            return name
    images = [
        name
        for name in features
        if features[name].HasField("bytes_list")
        and len(features[name].bytes_list.value) == 1
        and looks_like_image(features[name].bytes_list.value[0][:HEAD_BYTES])
    ]
    if len(images) != 1:
        raise ExampleError(
            f"the record has {len(images)} features that are images, among {_names(features)}; "
            "name one with --image-feature"
        )
    return images[0]


def _names(features: Mapping[str, _Feature]) -> str:
    return ", ".join(sorted(features)) or "none"


@functools.cache
def _example_type() -> type[message.Message]:
    """The class of tf.train.Example, from a description of it: its own needs TensorFlow."""
    file = descriptor_pb2.FileDescriptorProto(
        name="embed_images/example.proto", package="embed_images", syntax="proto3"
    )
    for name, kind in (("Bytes", "BYTES"), ("Float", "FLOAT"), ("Int64", "INT64")):
        values = file.message_type.add(name=f"{name}List")
        values.field.add(
            name="value",
            number=1,
            label=_FieldProto.LABEL_REPEATED,
            type=getattr(_FieldProto, f"TYPE_{kind}"),
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("Bytes", "Float", "Int64"), 1):
        feature.field.add(**_field(f"{name.lower()}_list", number, f"{name}List"), oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(
        name="key", number=1, label=_FieldProto.LABEL_OPTIONAL, type=_FieldProto.TYPE_STRING
    )
    entry.field.add(**_field("value", 2, "Feature"))
    features.field.add(
        **_field("feature", 1, "Features.FeatureEntry", label=_FieldProto.LABEL_REPEATED)
    )
    example = file.message_type.add(name="Example")
    example.field.add(**_field("features", 1, "Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("embed_images.Example")
    example_class: type[message.Message] = message_factory.GetMessageClass(found)
    return example_class


def _field(
    name: str, number: int, kind: str, label: int = _FieldProto.LABEL_OPTIONAL
) -> dict[str, object]:
    """The description of a field that holds a message."""
    return {
        "name": name,
        "number": number,
        "label": label,
        "type": _FieldProto.TYPE_MESSAGE,
        "type_name": f".embed_images.{kind}",
    }
