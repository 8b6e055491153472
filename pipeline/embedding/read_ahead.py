"""Read images ahead of the encoder, in threads and bounded memory, and have them decoded there."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from encoder.compute.machine import usable_cores
from encoder.errors import ChangedError, TooLargeError
from encoder.storage.base import check_size
from encoder.storage.registry import is_remote, store_for
from pipeline.dataset.known_vectors import VectorIndex
from pipeline.embedding.budget import Budget
from pipeline.embedding.decode import Outcome, Reading, decode
from pipeline.inputs.archives.base import ArchiveError
from pipeline.inputs.archives.members import archive_version
from pipeline.inputs.archives.registry import read_archive
from pipeline.inputs.timeouts import ConsecutiveTimeouts
from pipeline.inputs.uris import path_of
from pipeline.records import DECODE, READ, Failure, Image, Stage, Todo, failure_of

BYTES_HELD = 256 << 20  # of files that are read and not decoded yet
PIXELS_PER_CORE = 32_000_000  # that are decoded at the same time, of some bytes each


class ReadAhead:
    """Keeps a number of images in work while the encoder is busy.

    Outcomes come out as they are ready: an object that takes long holds up nothing else. Reading
    and decoding have threads of their own, so that what is decoded never waits for what waits to
    be read.

    Args:
        reading: how to read.
        window: how many images may be decoded and waiting to be fetched, besides those that are
            being read.

    Attributes:
        index: finds vectors of content that the output has.
    """

    def __init__(self, reading: Reading, window: int) -> None:
        self.index = VectorIndex("", [])
        self._reading = reading
        self._window = window + reading.reads
        cores = usable_cores()
        self._bytes = Budget(BYTES_HELD)
        self._pixels = Budget(PIXELS_PER_CORE * cores)
        self._readers = ThreadPoolExecutor(reading.reads, thread_name_prefix="read-image")
        self._decoders = ThreadPoolExecutor(cores, thread_name_prefix="decode-image")
        self._timeouts = ConsecutiveTimeouts(2 * reading.reads)
        self._flight = _Flight(self._window)

    def put(self, todo: Todo) -> Iterator[Outcome]:
        """Start on an image in a file of its own; gives what is finished and has to make room."""
        self._flight.expect(1)
        _start(self._readers, self._flight, self._read_file, todo)
        yield from self._flight.outcomes(self._window)

    def put_segment(self, todos: Sequence[Todo]) -> Iterator[Outcome]:
        """Start on images packed in one segment of an archive, in the order of their places."""
        self._flight.expect(len(todos))
        _start(self._readers, self._flight, self._read_segment, todos)
        yield from self._flight.outcomes(self._window)

    def drain(self) -> Iterator[Outcome]:
        """Wait for the rest."""
        yield from self._flight.outcomes(0)

    def clear(self) -> None:
        """Forget what is in work, after a failed attempt; it ends by itself."""
        self._flight.leave()
        self._flight = _Flight(self._window)

    def close(self) -> None:
        """End the threads."""
        self.clear()
        self._readers.shutdown(cancel_futures=True)
        self._decoders.shutdown(cancel_futures=True)

    def _read_file(self, flight: _Flight, todo: Todo) -> None:
        image = todo.image
        if image.error:
            flight.land(_refused(image))
            return
        amount = min(image.bytes, self._reading.max_bytes)
        self._bytes.take(amount)
        try:
            data, read = _read(image, self._reading.max_bytes)
        except Exception as error:  # the store may raise anything; none of it may stop the job
            self._bytes.give_back(amount)
            self._timeouts.record(error)
            flight.land(failure_of(image, _stage_of(error), error))
            return
        self._timeouts.record()
        self._decode_later(flight, todo._replace(image=read), data, amount)

    def _read_segment(self, flight: _Flight, todos: Sequence[Todo]) -> None:
        waiting: deque[Todo] = deque()
        rest = iter(todos)

        def wanted() -> Iterator[Image]:
            for todo in rest:
                image = todo.image
                if not flight.has_room():
                    return
                if image.error:
                    flight.land(_refused(image), in_room=True)
                    continue
                try:
                    check_size(image.bytes, self._reading.max_bytes)
                except TooLargeError as error:
                    flight.land(failure_of(image, DECODE, error), in_room=True)
                    continue
                self._bytes.take(image.bytes)
                waiting.append(todo)
                yield image

        try:
            first = todos[0].image
            for image, data in read_archive(
                first.archive or "",
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
                    self._decode_later(flight, todo, data, amount, in_room=True)
                else:
                    self._bytes.give_back(image.bytes)
                    flight.land(failure_of(image, _stage_of(data), data), in_room=True)
        except Exception as error:  # as above; what was not reached fails
            for todo in waiting:
                self._bytes.give_back(todo.image.bytes)
                flight.land(failure_of(todo.image, _stage_of(error), error), in_room=True)
            for todo in rest:
                flight.land(failure_of(todo.image, _stage_of(error), error))
            self._timeouts.record(error)

    def _decode_later(
        self, flight: _Flight, todo: Todo, data: bytes, amount: int, in_room: bool = False
    ) -> None:
        def work(flight: _Flight) -> None:
            try:
                outcome = decode(todo, data, self._reading, self._pixels, self.index)
            finally:
                self._bytes.give_back(amount)
            flight.land(outcome, in_room)

        _start(self._decoders, flight, work)


class _Flight:
    """Images in work, on their way back to the one thread that wants them.

    Args:
        room: how many outcomes may wait there before archives are read on.
    """

    def __init__(self, room: int) -> None:
        self._landed: queue.SimpleQueue[tuple[Any, bool]] = queue.SimpleQueue()
        self._room = threading.Semaphore(room)
        self._left = False
        self._expected = 0

    def expect(self, count: int) -> None:
        """So many outcomes more will land."""
        self._expected += count

    def outcomes(self, most: int) -> Iterator[Outcome]:
        """What has landed, until at most so many are still out."""
        while self._expected > most:
            outcome, in_room = self._landed.get()
            if isinstance(outcome, BaseException):
                raise outcome
            self._expected -= 1
            if in_room:
                self._room.release()
            yield outcome

    def land(self, outcome: Outcome | BaseException, in_room: bool = False) -> None:
        """From any thread. Of what waited for room, the room becomes free when it is fetched."""
        self._landed.put((outcome, in_room))

    def has_room(self) -> bool:
        """Wait until one image more may be read; False where nobody wants it any more."""
        while not self._left:
            if self._room.acquire(timeout=0.5):
                return True
        return False

    def leave(self) -> None:
        """Nobody wants the rest."""
        self._left = True


def _start(
    pool: ThreadPoolExecutor, flight: _Flight, work: Callable[..., None], *arguments: Any
) -> None:
    def run() -> None:
        try:
            work(flight, *arguments)
        except BaseException as error:  # raised again where the outcome is fetched
            flight.land(error)

    pool.submit(run)


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


def _refused(image: Image) -> Failure:
    return Failure(
        image.uri, image.version, image.bytes, image.stage, image.error_type, image.error or ""
    )


def _stage_of(error: Exception) -> Stage:
    """What lies in the content won't get better by reading it again."""
    return DECODE if isinstance(error, ArchiveError | TooLargeError) else READ
