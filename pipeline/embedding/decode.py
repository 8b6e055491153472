"""Decode one image to pixels, or find the vector that the output already has for its content."""

from __future__ import annotations

import dataclasses
import hashlib

from encoder.errors import TooLargeError
from encoder.images.decode import decode_image
from encoder.images.limits import Limits
from encoder.spec import EncoderSpec
from encoder.storage.base import check_size
from pipeline.dataset.known_vectors import VectorIndex
from pipeline.embedding.budget import Budget
from pipeline.inputs.archives.base import Packing
from pipeline.options import DEFAULT_MAX_BYTES, DEFAULT_READS
from pipeline.records import DECODE, Checked, Decoded, Embedded, Failure, Todo, Touched, failure_of

Outcome = Decoded | Embedded | Failure | Touched | Checked


@dataclasses.dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        spec: the encoder's spec, which has the size and channels.
        limits: the largest image, and whether truncated images are decoded.
        max_bytes: of one image file.
        packing: how archives are read.
        reads: how many images are read at the same time.
    """

    spec: EncoderSpec
    limits: Limits = dataclasses.field(default_factory=Limits)
    max_bytes: int = DEFAULT_MAX_BYTES
    packing: Packing = dataclasses.field(default_factory=Packing)
    reads: int = DEFAULT_READS


def decode(
    todo: Todo, data: bytes, reading: Reading, pixels: Budget, index: VectorIndex
) -> Outcome:
    """Decode one image; any error becomes a Failure.

    Content that the output has a vector for is not decoded: if the image's own row has it, that row
    stays (Touched); otherwise the vector is copied (Embedded).

    Args:
        todo: the image, and its old row.
        data: the image file.
        reading: how images are decoded.
        pixels: bounds the pixels that are decoded at the same time.
        index: finds vectors by content.
    """
    image = todo.image._replace(bytes=len(data))
    try:
        check_size(len(data), reading.max_bytes)  # some archives don't state it before
    except TooLargeError as error:
        return failure_of(image, DECODE, error)
    sha256 = hashlib.sha256(data).hexdigest()
    if todo.old is not None and sha256 == todo.old.sha256:
        if todo.check and not todo.old.renews:
            return Checked(image.uri)
        return Touched(
            todo.old.part,
            image.uri,
            image.version,
            None if todo.check else todo.counted,
            image.carried,
        )
    known = index.find(sha256)
    if known is not None:
        return Embedded(
            uri=image.uri,
            version=image.version,
            bytes=image.bytes,
            sha256=sha256,
            width=known.width,
            height=known.height,
            truncated=False,
            carried=image.carried,
            embedding=known.embedding,
            load=None,
        )
    try:
        decoded = decode_image(data, reading.spec, reading.limits, pixels.hold)
    except Exception as error:  # a decoder may raise anything
        return failure_of(image, DECODE, error)
    return Decoded(
        uri=image.uri,
        version=image.version,
        bytes=image.bytes,
        sha256=sha256,
        width=decoded.stored_width,
        height=decoded.stored_height,
        truncated=decoded.truncated,
        carried=image.carried,
        pixels=decoded.pixels,
    )
