"""Read and decode images ahead of the encoder, in threads and bounded memory. No Beam here."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from encoder.errors import ChangedError, TooLargeError
from encoder.images import Limits, decode_image
from encoder.spec import EncoderSpec
from encoder.storage import check_size, is_remote, store_for
from pipeline.archives import DEFAULT_MAX_BYTES, ArchiveError, Packing, read_archive
from pipeline.budget import Budget
from pipeline.contents import ContentIndex
from pipeline.members import archive_version
from pipeline.names import path_of
from pipeline.records import (
    DECODE,
    READ,
    Decoded,
    Embedded,
    Failure,
    Image,
    Todo,
    Touched,
    failure_of,
)

Outcome = Decoded | Embedded | Failure | Touched

READ_THREADS = 16
BYTES_HELD = 256 << 20  # of files that are read and not decoded yet
PIXELS_PER_CORE = 32_000_000  # that are decoded at the same time, of some bytes each


@dataclasses.dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        spec: of the encoder that they are decoded for.
        limits: what decoding may cost.
        max_bytes: of one image file.
        packing: how archives are read.
    """

    spec: EncoderSpec
    limits: Limits = dataclasses.field(default_factory=Limits)
    max_bytes: int = DEFAULT_MAX_BYTES
    packing: Packing = dataclasses.field(default_factory=Packing)


class ReadAhead:
    """Keeps a number of images in work while the encoder is busy.

    Outcomes come out in the order in which the images were put in. Reading and decoding have
    threads of their own, so that what is decoded never waits for what waits to be read.

    Args:
        reading: how to read.
        window: how many images may be in work or waiting to be fetched.

    Attributes:
        index: finds vectors of content that the output has.
    """

    def __init__(self, reading: Reading, window: int) -> None:
        self.index = ContentIndex("", [])
        self._reading = reading
        self._window = window
        cores = usable_cores()
        self._bytes = Budget(BYTES_HELD)
        self._pixels = Budget(PIXELS_PER_CORE * cores)
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="read-image")
        self._decoders = ThreadPoolExecutor(cores, thread_name_prefix="decode-image")
        self._pending: deque[Future[Any]] = deque()

    def put(self, todo: Todo) -> Iterator[Outcome]:
        """Start on an image in a file of its own; gives what is finished and has to make room."""
        self._pending.append(self._readers.submit(self._read_file, todo))
        yield from self._finished(self._window)

    def put_segment(self, todos: Sequence[Todo]) -> Iterator[Outcome]:
        """Start on images packed in one segment of an archive, in the order of their places."""
        stream = _Stream(self._window)
        self._readers.submit(self._read_segment, todos, stream)
        try:
            for future in stream:
                self._pending.append(future)
                yield from self._finished(self._window)
        finally:
            stream.stop()

    def drain(self) -> Iterator[Outcome]:
        """Wait for the rest."""
        yield from self._finished(0)

    def clear(self) -> None:
        """Forget what is in work, after a failed attempt; it ends by itself."""
        self._pending.clear()

    def close(self) -> None:
        """End the threads."""
        self.clear()
        self._readers.shutdown(cancel_futures=True)
        self._decoders.shutdown(cancel_futures=True)

    def _finished(self, window: int) -> Iterator[Outcome]:
        while len(self._pending) > window:
            outcome = self._pending.popleft().result()
            yield outcome.result() if isinstance(outcome, Future) else outcome

    def _read_file(self, todo: Todo) -> Outcome | Future[Outcome]:
        image = todo.image
        if image.error:
            return _refused(image)
        amount = min(image.bytes, self._reading.max_bytes)
        self._bytes.take(amount)
        try:
            data, read = _read(image, self._reading.max_bytes)
        except Exception as error:  # the store may raise anything; none of it may stop the job
            self._bytes.give_back(amount)
            return failure_of(image, _stage_of(error), error)
        return self._decode_later(todo._replace(image=read), data, amount)

    def _read_segment(self, todos: Sequence[Todo], stream: _Stream) -> None:
        waiting: deque[Todo] = deque()
        rest = iter(todos)

        def wanted() -> Iterator[Image]:
            for todo in rest:
                image = todo.image
                if stream.is_stopped():
                    return
                if image.error:
                    stream.put(_done(_refused(image)))
                    continue
                try:
                    check_size(image.bytes, self._reading.max_bytes)
                except TooLargeError as error:
                    stream.put(_done(failure_of(image, DECODE, error)))
                    continue
                self._bytes.take(image.bytes)
                waiting.append(todo)
                yield image

        try:
            first = todos[0].image
            for image, data in read_archive(
                first.archive,
                archive_version(first.version),
                wanted(),
                self._reading.packing,
            ):
                todo = waiting.popleft()
                if isinstance(data, bytes):
                    amount = image.bytes
                    if not amount:  # only now it is known how much it is
                        amount = len(data)
                        self._bytes.take(amount)
                    stream.put(self._decode_later(todo, data, amount))
                else:
                    self._bytes.give_back(image.bytes)
                    stream.put(_done(failure_of(image, _stage_of(data), data)))
        except Exception as error:  # as above; what was not reached fails
            for todo in waiting:
                self._bytes.give_back(todo.image.bytes)
            for todo in (*waiting, *rest):
                stream.put(_done(failure_of(todo.image, _stage_of(error), error)))
        finally:
            stream.end()

    def _decode_later(self, todo: Todo, data: bytes, amount: int) -> Future[Outcome]:
        return self._decoders.submit(self._decode, todo, data, amount)

    def _decode(self, todo: Todo, data: bytes, amount: int) -> Outcome:
        try:
            return decode(todo, data, self._reading, self._pixels, self.index)
        finally:
            self._bytes.give_back(amount)


def decode(
    todo: Todo, data: bytes, reading: Reading, pixels: Budget, index: ContentIndex
) -> Outcome:
    """Decode one image; whatever goes wrong becomes a Failure.

    Content that the output has a vector of is not decoded: where it is the image's own row, that
    stays (Touched), else its vector is taken (Embedded).
    """
    image = todo.image._replace(bytes=len(data))
    try:
        check_size(len(data), reading.max_bytes)  # of some archives only reading tells
    except TooLargeError as error:
        return failure_of(image, DECODE, error)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 == todo.old_sha256:
        return Touched(todo.old_part, image.uri, image.version, todo.counted, image.kept)
    known = index.find(sha256)
    if known is not None:
        return Embedded(
            *image[:3], sha256, known.width, known.height, False, image.kept, known.embedding, ""
        )
    try:
        decoded = decode_image(data, reading.spec, reading.limits, pixels.hold)
    except Exception as error:  # a decoder may raise anything, too
        return failure_of(image, DECODE, error)
    return Decoded(
        uri=image.uri,
        version=image.version,
        bytes=image.bytes,
        sha256=sha256,
        width=decoded.stored_width,
        height=decoded.stored_height,
        truncated=decoded.truncated,
        kept=image.kept,
        pixels=decoded.pixels,
    )


class _Stream:
    """Futures on their way from the thread that reads an archive; some at a time."""

    _END: Any = object()

    def __init__(self, size: int) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._stopped = threading.Event()

    def put(self, future: Future[Outcome]) -> None:
        """Wait for room; where nobody listens any more, nothing happens."""
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(future, timeout=0.5)
                return

    def end(self) -> None:
        """Nothing more will come."""
        self.put(self._END)

    def stop(self) -> None:
        """Nobody listens any more."""
        self._stopped.set()

    def is_stopped(self) -> bool:
        """Whether reading on would be for nothing."""
        return self._stopped.is_set()

    def __iter__(self) -> Iterator[Future[Outcome]]:
        while (future := self._queue.get()) is not self._END:
            yield future


def usable_cores() -> int:
    """The cores that this process may use; where the system does not say, all of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(image: Image, most: int) -> tuple[bytes, Image]:
    """The content, and the image as it was when read.

    Of an object exactly the generation that was listed is read.
    """
    path = path_of(image.uri)
    store = store_for(path)
    version = image.version if is_remote(path) else None
    try:
        data, info = store.read(path, version, most)
    except ChangedError:
        if version:
            raise
        # Once more; a file that is still being written is a failure.
        data, info = store.read(path, most=most)
    return data, image._replace(version=info.version)


def _done(outcome: Outcome) -> Future[Outcome]:
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future


def _refused(image: Image) -> Failure:
    return Failure(
        image.uri, image.version, image.bytes, image.stage, image.error_type, image.error
    )


def _stage_of(error: Exception) -> str:
    """What lies in the content won't get better by reading it again."""
    return DECODE if isinstance(error, ArchiveError | TooLargeError) else READ
