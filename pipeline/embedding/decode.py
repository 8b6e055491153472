"""Decode one image to pixels, or copy the vector that the output already has for its content."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import NamedTuple

import numpy as np

from encoder.errors import TooLargeError
from encoder.images.limits import Limits
from encoder.spec import EncoderSpec
from encoder.storage.base import check_size
from pipeline.dataset.known_vectors import KnownVectors, Place
from pipeline.embedding.budget import Budget
from pipeline.embedding.decoder_process import Refusal, Settings
from pipeline.embedding.decoders import Decoders, shared_decoders
from pipeline.errors import JobError
from pipeline.inputs.archives.base import Packing
from pipeline.options import (
    DEFAULT_DECODE_TIMEOUT,
    DEFAULT_MAX_BYTES,
    DEFAULT_READ_TIMEOUT,
    DEFAULT_READS,
)
from pipeline.records import DECODE, Checked, Decoded, Embedded, Failure, Todo, Touched, failure_of

Outcome = Decoded | Embedded | Failure | Touched | Checked


class Hashed(NamedTuple):
    """An image whose content the output may have a vector of.

    Attributes:
        todo: the image, and its old row.
        data: the image file.
        sha256: of the file, in hex.
    """

    todo: Todo
    data: bytes
    sha256: str


@dataclasses.dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        spec: the encoder's spec, which has the size and channels.
        limits: the largest image, and whether truncated images are decoded.
        max_bytes: of one image file.
        packing: how archives are read.
        reads: how many images are read at the same time.
        read_timeout: seconds that reading one image may take.
        decode_timeout: seconds of processor time that decoding one image may take.
    """

    spec: EncoderSpec
    limits: Limits = dataclasses.field(default_factory=Limits)
    max_bytes: int = DEFAULT_MAX_BYTES
    packing: Packing = dataclasses.field(default_factory=Packing)
    reads: int = DEFAULT_READS
    read_timeout: float = DEFAULT_READ_TIMEOUT
    decode_timeout: float = DEFAULT_DECODE_TIMEOUT

    def decoders(self, processes: int) -> Decoders:
        """Processes that decode as set here."""
        settings = Settings(
            self.spec.to_json(),
            self.limits.max_pixels,
            self.limits.allow_truncated,
            self.decode_timeout,
        )
        return shared_decoders(settings, processes)


def decode(
    todo: Todo,
    data: bytes,
    reading: Reading,
    decoders: Decoders,
    pixels: Budget,
    known: KnownVectors,
) -> Outcome | Hashed:
    """Decode one image; any error becomes a Failure.

    Content that the output has a vector for is not decoded. If the image's own row has it, that row
    stays (Touched). If another row may have it, that has to be looked up (Hashed); see finish.

    Args:
        todo: the image, and its old row.
        data: the image file.
        reading: how images are read and decoded.
        decoders: processes that decode.
        pixels: bounds the pixels that are decoded at the same time.
        known: the contents that the output has vectors of.

    Raises:
        JobError: nothing can be decoded, since no process can be started.
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
    hashed = Hashed(todo._replace(image=image), data, sha256)
    if known.may_have(sha256):
        return hashed
    return _pixels_of(hashed, reading, decoders, pixels)


def finish(
    hashed: Hashed,
    place: Place | None,
    reading: Reading,
    decoders: Decoders,
    pixels: Budget,
    known: KnownVectors,
) -> Outcome:
    """Copy the vector of an image's content (Embedded), or decode the image as decode does.

    Args:
        hashed: the image.
        place: the row with its content; None if there is none.
        reading, decoders, pixels, known: as for decode.
    """
    found = known.read(place, hashed.sha256) if place else None
    if found is None:
        return _pixels_of(hashed, reading, decoders, pixels)
    image = hashed.todo.image
    return Embedded(
        uri=image.uri,
        version=image.version,
        bytes=image.bytes,
        sha256=hashed.sha256,
        width=found.width,
        height=found.height,
        truncated=False,
        carried=image.carried,
        embedding=found.embedding,
        load=None,
    )


def _pixels_of(
    hashed: Hashed, reading: Reading, decoders: Decoders, pixels: Budget
) -> Decoded | Failure:
    image = hashed.todo.image
    try:
        decoded = decoders.decode(hashed.data, pixels.hold)
    except JobError:
        raise
    except Exception as error:  # an image that takes too long, or crashes its decoder
        return failure_of(image, DECODE, error)
    if isinstance(decoded, Refusal):
        return Failure(
            image.uri, image.version, image.bytes, DECODE, decoded.error, decoded.message
        )
    spec = reading.spec
    return Decoded(
        uri=image.uri,
        version=image.version,
        bytes=image.bytes,
        sha256=hashed.sha256,
        width=decoded.stored_width,
        height=decoded.stored_height,
        truncated=decoded.truncated,
        carried=image.carried,
        pixels=np.frombuffer(decoded.pixels, np.uint8).reshape(
            spec.height, spec.width, spec.channels
        ),
    )
