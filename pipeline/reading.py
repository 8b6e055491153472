"""Read and decode images ahead of the encoder, in threads. No Beam in here."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from encoder.errors import ChangedError
from encoder.images import decode_image
from encoder.spec import EncoderSpec
from encoder.storage import store_for
from pipeline.records import DECODE, LIST, READ, Decoded, Failure, Image, Todo, Touched, failure_of

Outcome = Decoded | Failure | Touched


def read_image(todo: Todo, spec: EncoderSpec) -> Outcome:
    """Read one image and decode it; whatever goes wrong becomes a Failure.

    Where the content is that of the row which the output already has, the image is not decoded.
    """
    image = todo.image
    if image.error:
        return Failure(image.uri, image.version, image.bytes, LIST, "ListError", image.error)
    try:
        data, image = _read(image)
    except Exception as error:  # the store may raise anything; none of it may stop the job
        return failure_of(image, READ, error)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 == todo.old_sha256:
        return Touched(todo.old_part, image.uri, image.version, todo.counted)
    try:
        decoded = decode_image(data, spec)
    except Exception as error:  # so may a decoder
        return failure_of(image, DECODE, error)
    width, height = decoded.stored_width, decoded.stored_height
    return Decoded(*image[:3], sha256, width, height, decoded.pixels)


class ReadAhead:
    """Keeps a number of images in work in threads while the encoder is busy.

    Outcomes come out in the order in which the images were put in.

    Args:
        spec: of the encoder.
        window: how many images may be in work or waiting to be fetched.
        threads: how many are read and decoded at the same time.
    """

    def __init__(self, spec: EncoderSpec, window: int, threads: int) -> None:
        self._spec = spec
        self._window = window
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read-image")
        self._pending: deque[Future[Outcome]] = deque()

    def put(self, todo: Todo) -> Iterator[Outcome]:
        """Start on an image; gives what is finished and has to make room."""
        self._pending.append(self._pool.submit(read_image, todo, self._spec))
        while len(self._pending) > self._window:
            yield self._pending.popleft().result()

    def drain(self) -> Iterator[Outcome]:
        """Wait for the rest."""
        while self._pending:
            yield self._pending.popleft().result()

    def clear(self) -> None:
        """Forget what is in work, after a failed attempt."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()

    def close(self) -> None:
        """End the threads."""
        self.clear()
        self._pool.shutdown()


def _read(image: Image) -> tuple[bytes, Image]:
    """The content, and the image as it was when read."""
    store = store_for(image.uri)
    try:
        data, info = store.read(image.uri)
    except ChangedError:  # once more; a file that is still being written is a failure
        data, info = store.read(image.uri)
    return data, Image(*info)
