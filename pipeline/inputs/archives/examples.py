"""tf.train.Example messages, without importing TensorFlow.

Their definition is TensorFlow's tensorflow/core/example/example.proto and feature.proto, built
here in a pool of its own so that it can't clash with TensorFlow's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from pipeline.inputs.archives.base import ArchiveError
from pipeline.inputs.signatures import HEAD_BYTES, looks_like_image

USUAL_IMAGE_FEATURES = ("image/encoded", "image", "image_raw", "jpeg", "png")


class ExampleError(ArchiveError):
    """A record is no tf.train.Example, or has not the feature that is needed."""


def features_of(data: bytes) -> Mapping[str, Any]:
    """The features of a serialized Example, by name.

    Raises:
        ExampleError: the data is no Example.
    """
    example = _example_type()()
    try:
        example.ParseFromString(data)
    except message.DecodeError as error:
        raise ExampleError(f"the record is no tf.train.Example: {error}") from error
    features: Mapping[str, Any] = example.features.feature
    return features


def find_image(features: Mapping[str, Any], name: str) -> bytes:
    """The bytes of an image file.

    Args:
        features: of an Example.
        name: of the feature; "" for one of the usual names, or the only one that is an image.

    Raises:
        ExampleError: there is no such feature, or several.
    """
    if not name:
        name = _usual_feature(features)
    value = _single(features, name, "bytes_list")
    return value if isinstance(value, bytes) else b""


def find_text(features: Mapping[str, Any], name: str) -> str:
    """A feature's one value as text; bytes that are not UTF-8 as in a file's name.

    Raises:
        ExampleError: there is no such feature, or it has not one value.
    """
    value = _single(features, name, "")
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _single(features: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in features:
        raise ExampleError(f"the record has no feature {name!r}; it has {_names(features)}")
    feature = features[name]
    found = feature.WhichOneof("kind") or "nothing"
    values: list[Any] = list(getattr(feature, found).value) if found != "nothing" else []
    if len(values) != 1 or kind not in ("", found):
        raise ExampleError(
            f"feature {name!r} of the record has {len(values)} values of kind {found}; expected one"
            + (" of bytes" if kind else "")
        )
    return values[0]


def _usual_feature(features: Mapping[str, Any]) -> str:
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


def _names(features: Mapping[str, Any]) -> str:
    return ", ".join(sorted(features)) or "none"


@functools.cache
def _example_type() -> Any:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="embed_images/example.proto", package="embed_images", syntax="proto3"
    )
    for name, kind in (("Bytes", "BYTES"), ("Float", "FLOAT"), ("Int64", "INT64")):
        values = file.message_type.add(name=f"{name}List")
        values.field.add(
            name="value", number=1, label=field.LABEL_REPEATED, type=getattr(field, f"TYPE_{kind}")
        )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("Bytes", "Float", "Int64"), 1):
        feature.field.add(
            **_message(field, f"{name.lower()}_list", number, f"{name}List"), oneof_index=0
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    entry.field.add(**_message(field, "value", 2, "Feature"))
    features.field.add(
        **_message(field, "feature", 1, "Features.FeatureEntry", field.LABEL_REPEATED)
    )
    example = file.message_type.add(name="Example")
    example.field.add(**_message(field, "features", 1, "Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("embed_images.Example"))


def _message(field: Any, name: str, number: int, kind: str, label: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "number": number,
        "label": label or field.LABEL_OPTIONAL,
        "type": field.TYPE_MESSAGE,
        "type_name": f".embed_images.{kind}",
    }
