"""Read and decode images ahead of the encoder, in threads and bounded memory."""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from encoder.compute.machine import usable_cores
from encoder.errors import ChangedError, TooLargeError
from encoder.storage.base import FileInfo, check_size
from encoder.storage.local import read_opened
from encoder.storage.registry import is_remote, store_for
from pipeline.dataset.known_vectors import Buckets, KnownVectors, Place
from pipeline.embedding.budget import Budget
from pipeline.embedding.decode import Hashed, Outcome, Reading, decode, finish
from pipeline.embedding.readers import GivenUp, Readers, Watch
from pipeline.inputs.archives.base import ArchiveError
from pipeline.inputs.archives.members import archive_version
from pipeline.inputs.archives.registry import read_archive
from pipeline.inputs.roots import RefusedError, Roots
from pipeline.inputs.stores.timeouts import ConsecutiveTimeouts
from pipeline.inputs.uris import path_of
from pipeline.logs import run_logger
from pipeline.measures import Collector
from pipeline.records import DECODE, READ, Decoded, Failure, Image, Stage, Todo, failure_of

BYTES_HELD = 256 << 20  # of files that are read but not decoded yet
PIXELS_PER_CORE = 32_000_000  # that are decoded at the same time; each takes some bytes
_SLOW_SECONDS = 10.0  # a read that takes longer is logged
_LOG = run_logger(__name__)


@functools.cache
def _shared_budget(of: Literal["bytes", "pixels"], total: int) -> Budget:
    """The budget that all threads of this process share."""
    return Budget(total)


class ReadAhead:
    """Reads and decodes images while the encoder is busy.

    Outcomes come in the order in which they are ready. Reading and decoding have threads of their
    own, so that decoding never waits for a slow read. A read that takes too long is a failure.

    Args:
        reading: how images are read and decoded.
        window: how many decoded images may wait to be fetched, besides those that are being read.

    Attributes:
        known: the contents that the output has vectors of. Whoever fetches outcomes looks up each
            Hashed among them, and calls resume.
        measures: how long the work of the threads took; the caller takes them.
    """

    def __init__(self, reading: Reading, window: int) -> None:
        self.known = KnownVectors("", Buckets(0))
        self.measures = Collector()
        self._reading = reading
        self._window = window + reading.reads
        cores = usable_cores()
        self._bytes = _shared_budget("bytes", BYTES_HELD)
        self._pixels = _shared_budget("pixels", PIXELS_PER_CORE * cores)
        self._readers = Readers(reading.reads, reading.read_timeout)
        self._processes = reading.decoders(cores)
        # Each of these threads waits for a process that decodes.
        self._decoders = ThreadPoolExecutor(cores, thread_name_prefix="decode-image")
        self._timeouts = ConsecutiveTimeouts(2 * reading.reads)
        self._flight = self._new_flight()

    def put(self, todo: Todo) -> Iterator[Outcome | Hashed]:
        """Start to read an image in its own file. Yields outcomes that no longer fit the window."""
        self._flight.expect(1)
        flight = self._flight
        self._readers.submit(lambda watch: _passing_on(flight, self._read_file, watch, todo))
        yield from self._flight.outcomes(self._window)

    def put_segment(self, todos: Sequence[Todo]) -> Iterator[Outcome | Hashed]:
        """Start to read images of one segment of an archive, in the order of their places."""
        self._flight.expect(len(todos))
        flight = self._flight
        self._readers.submit(lambda watch: _passing_on(flight, self._read_segment, watch, todos))
        yield from self._flight.outcomes(self._window)

    def resume(self, hashed: Hashed, place: Place | None) -> None:
        """Go on with an image that was looked up: copy its vector, or decode it.

        Args:
            hashed: the image.
            place: the row with its content; None if there is none.
        """
        self._flight.expect(1)

        def work(flight: _Flight) -> None:
            began = time.perf_counter()
            try:
                outcome = finish(
                    hashed, place, self._reading, self._processes, self._pixels, self.known
                )
            finally:
                self._bytes.give_back(len(hashed.data))
            self._decoded(outcome, began)
            flight.land(outcome)

        self._submit(work, self._flight, len(hashed.data))

    def drain(self) -> Iterator[Outcome | Hashed]:
        """Wait for all other outcomes."""
        yield from self._flight.outcomes(0)

    def clear(self) -> None:
        """Drop all images in work after a failed attempt; their threads finish by themselves."""
        self._flight.leave()
        self._flight = self._new_flight()
        self.measures.take()

    def close(self) -> None:
        """End the threads."""
        self.clear()
        self._readers.close()
        self._decoders.shutdown(cancel_futures=True)

    def _new_flight(self) -> _Flight:
        return _Flight(self._window, self._bytes, self.measures)

    def _read_file(self, flight: _Flight, watch: Watch, todo: Todo) -> None:
        image = todo.image
        if image.error:
            flight.land(_listed_failure(image))
            return
        most = self._reading.max_bytes
        amount = min(image.bytes, most)

        def fail(error: Exception) -> None:
            self._bytes.give_back(amount)
            self._timeouts.record(error)
            flight.land(failure_of(image, _stage_of(error), error))

        def give_up() -> None:
            _passing_on(flight, lambda _: fail(self._too_slow()))

        self._bytes.take(amount)
        began = time.perf_counter()
        try:
            with watch.limited(give_up):
                data, read = read_file(image, most, self._reading.packing.roots)
        except Exception as error:  # a store may raise anything; a single image never stops the job
            fail(error)
            return
        self._timeouts.record()
        self._have_read(image, data, time.perf_counter() - began)
        self._decode_later(flight, todo._replace(image=read), data, amount)

    def _read_segment(self, flight: _Flight, watch: Watch, todos: Sequence[Todo]) -> None:
        waiting: deque[Todo] = deque()
        rest = iter(todos)
        pauses = _Pauses()

        def wanted() -> Iterator[Image]:
            while True:
                with watch.paused(), pauses:
                    todo = next(rest, None)
                    if todo is None or not flight.has_room():
                        return
                    image = todo.image
                    if image.error:
                        flight.land(_listed_failure(image), in_room=True)
                        continue
                    try:
                        check_size(image.bytes, self._reading.max_bytes)
                    except TooLargeError as error:
                        flight.land(failure_of(image, DECODE, error), in_room=True)
                        continue
                    self._bytes.take(image.bytes)
                    waiting.append(todo)
                yield image

        def give_back_waiting() -> None:
            for todo in waiting:
                self._bytes.give_back(todo.image.bytes)

        def fail_rest(error: Exception) -> None:
            give_back_waiting()
            self._timeouts.record(error)
            for todo in waiting:
                flight.land(failure_of(todo.image, _stage_of(error), error), in_room=True)
            for todo in rest:
                flight.land(failure_of(todo.image, _stage_of(error), error))

        def give_up() -> None:
            _passing_on(flight, lambda _: fail_rest(self._too_slow()))

        try:
            first = todos[0].image
            members = read_archive(
                first.archive or "",
                archive_version(first.version),
                wanted(),
                self._reading.packing,
            )
            while True:
                began, pauses.seconds = time.perf_counter(), 0.0
                with watch.limited(give_up):
                    found = next(members, None)
                if found is None:
                    give_back_waiting()  # there are some only if nobody waits for them any more
                    break
                image, data = found
                todo = waiting.popleft()
                if isinstance(data, bytes):
                    self._have_read(image, data, time.perf_counter() - began - pauses.seconds)
                    amount = image.bytes
                    if not amount:  # the archive did not state the size
                        amount = len(data)
                        self._bytes.take(amount)
                    self._decode_later(flight, todo, data, amount, in_room=True)
                else:
                    self._bytes.give_back(image.bytes)
                    flight.land(failure_of(image, _stage_of(data), data), in_room=True)
        except Exception as error:  # as above; images that were not reached fail
            fail_rest(error)

    def _too_slow(self) -> TimeoutError:
        return TimeoutError(
            f"reading did not end within the {self._reading.read_timeout:g} s that --read-timeout "
            "allows; it is tried again in the next run"
        )

    def _decode_later(
        self, flight: _Flight, todo: Todo, data: bytes, amount: int, in_room: bool = False
    ) -> None:
        def work(flight: _Flight) -> None:
            held, began = 0, time.perf_counter()
            try:
                outcome = decode(
                    todo, data, self._reading, self._processes, self._pixels, self.known
                )
                held = len(data) if isinstance(outcome, Hashed) else 0
            finally:
                self._bytes.give_back(amount - held)
            self._decoded(outcome, began)
            flight.land(outcome, in_room)

        self._submit(work, flight, amount)

    def _submit(self, work: Callable[[_Flight], None], flight: _Flight, amount: int) -> None:
        """Decode in another thread. The work gives back its bytes, or this if it never begins."""
        try:
            future = self._decoders.submit(_passing_on, flight, work)
        except RuntimeError:  # close was called
            self._bytes.give_back(amount)
            return
        future.add_done_callback(
            lambda done: self._bytes.give_back(amount if done.cancelled() else 0)
        )

    def _have_read(self, image: Image, data: bytes, seconds: float) -> None:
        self.measures.add("read_bytes", len(data))
        self.measures.add("read_ms", 1000 * seconds)
        if seconds > _SLOW_SECONDS:
            _LOG.info("slow read: %.0f s for %d bytes of %s", seconds, len(data), image.uri)

    def _decoded(self, outcome: Outcome | Hashed, began: float) -> None:
        if isinstance(outcome, Decoded | Failure):  # the others needed no decoding
            self.measures.add("decode_ms", 1000 * (time.perf_counter() - began))


class _Pauses:
    """Sums the seconds of its blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began


class _Flight:
    """Images in work, on their way back to the thread that fetches them.

    Args:
        room: how many outcomes may wait before the reading of archives pauses.
        held: holds the bytes of each Hashed until resume.
        measures: gets how many outcomes were ready, and how long fetching them took.
    """

    def __init__(self, room: int, held: Budget, measures: Collector) -> None:
        self._held = held
        self._measures = measures
        # Any: outcomes are records of the caller's type, or an error to raise.
        self._landed: queue.SimpleQueue[tuple[Any, bool]] = queue.SimpleQueue()
        self._room = threading.Semaphore(room)
        self._left = False
        self._expected = 0

    def expect(self, count: int) -> None:
        """Announce outcomes that will land."""
        self._expected += count

    def outcomes(self, most: int) -> Iterator[Outcome | Hashed]:
        """Yield outcomes as they land, until at most this many are still missing."""
        while self._expected > most:
            self._measures.add("ready_images", self._landed.qsize())
            with self._measures.timed("wait_ms"):
                outcome, in_room = self._landed.get()
            if isinstance(outcome, BaseException):
                raise outcome
            self._expected -= 1
            if in_room:
                self._room.release()
            yield outcome

    def land(self, outcome: Outcome | Hashed | BaseException, in_room: bool = False) -> None:
        """Add an outcome, from any thread. If it took room, fetching it frees the room."""
        self._landed.put((outcome, in_room))
        if self._left:
            self._drop()

    def has_room(self) -> bool:
        """Wait until one more image may be read; False after leave."""
        while not self._left:
            if self._room.acquire(timeout=0.5):
                return True
        return False

    def leave(self) -> None:
        """Drop all outcomes, also those that land later: nobody will fetch them."""
        self._left = True
        self._drop()

    def _drop(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                outcome, _ = self._landed.get_nowait()
                if isinstance(outcome, Hashed):
                    self._held.give_back(len(outcome.data))


# Any: the arguments of `work`, which has its own types.
def _passing_on(flight: _Flight, work: Callable[..., None], *arguments: Any) -> None:
    """Do a piece of work; its error is raised again in the thread that fetches outcomes."""
    try:
        work(flight, *arguments)
    except GivenUp:
        raise
    except BaseException as error:
        flight.land(error)


def read_file(image: Image, most: int, roots: Roots) -> tuple[bytes, Image]:
    """The content of an image's own file, and the image with the version that was read.

    An object is read in exactly the generation that was listed.

    Args:
        image: as it was listed.
        most: the largest size to accept, in bytes.
        roots: what links may reach.

    Raises:
        RefusedError: a link leads out of the roots now.
        OSError, ChangedError, TooLargeError: see encoder.storage.base.Store.read.
    """
    path = path_of(image.uri)
    if is_remote(path):
        data, info = store_for(path).read(path, image.version, most)
    elif refusal := roots.refusal_of_link(path):
        raise RefusedError(refusal)
    else:
        try:
            data, info = _read_local(path, most, roots)
        except ChangedError:  # try a second time; if the file changes again, it is a failure
            data, info = _read_local(path, most, roots)
    return data, image._replace(version=info.version)


def _read_local(path: str, most: int, roots: Roots) -> tuple[bytes, FileInfo]:
    with store_for(path).open(path) as file:
        roots.check_opened(file, path)
        return read_opened(file, path, most)


def _listed_failure(image: Image) -> Failure:
    return Failure(
        image.uri, image.version, image.bytes, image.stage, image.error_type, image.error or ""
    )


def _stage_of(error: Exception) -> Stage:
    """An error of the content is one of decoding: reading the file again would not help."""
    return DECODE if isinstance(error, ArchiveError | TooLargeError) else READ
