"""Threads that read files. A read that takes too long is given up, and its thread is replaced.

A thread that waits for a dead mount can't be stopped. It is left alone, and ends by itself if the
read ever returns.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator

_LOOK_SECONDS = 0.5  # between two looks at the reads that go on


class GivenUp(BaseException):
    """The read that this thread has ended was given up before."""


class Watch:
    """Watches the reads of one piece of work.

    Args:
        seconds: that each read may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self._on_loss: Callable[[], None] | None = None
        self._is_lost = False

    @contextlib.contextmanager
    def limited(self, on_loss: Callable[[], None]) -> Iterator[None]:
        """Limit the time of a read.

        Args:
            on_loss: called in another thread if the read is given up. Until then, the thread that
                reads does nothing but read.

        Raises:
            GivenUp: at the end of the block, if the read was given up.
        """
        self._resume(on_loss)
        try:
            yield
        finally:
            self._pause()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of this block, inside of limited. Then the time starts anew.

        Raises:
            GivenUp: the read was given up before.
        """
        on_loss = self._pause()
        try:
            yield
        finally:
            self._resume(on_loss)

    def is_overdue(self, now: float) -> Callable[[], None] | None:
        """Give up a read that takes too long; return what has to be called then."""
        with self._lock:
            if self._is_lost or self._deadline is None or now < self._deadline:
                return None
            self._is_lost = True
            return self._on_loss

    def _resume(self, on_loss: Callable[[], None] | None) -> None:
        with self._lock:
            self._on_loss = on_loss
            self._deadline = time.monotonic() + self._seconds

    def _pause(self) -> Callable[[], None] | None:
        with self._lock:
            if self._is_lost:
                raise GivenUp
            self._deadline = None
            return self._on_loss


Work = Callable[[Watch], None]


class Readers:
    """A number of threads that do pieces of work, in the order in which they are added.

    Args:
        count: threads at the same time, besides those that were given up.
        seconds: that one read may take.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._count = count
        self._seconds = seconds
        self._waiting: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._busy: set[Watch] = set()
        self._threads = 0
        self._closed = threading.Event()

    def submit(self, work: Work) -> None:
        """Add a piece of work. It must not raise; it reads within Watch.limited."""
        self._waiting.put(work)
        with self._lock:
            if not self._threads:
                threading.Thread(target=self._look, name="watch-reads", daemon=True).start()
            if self._threads < self._count:
                self._threads += 1
                self._start()

    def close(self) -> None:
        """Drop what waits, and let the threads end."""
        self._closed.set()
        for _ in range(self._count):
            self._waiting.put(None)

    def _start(self) -> None:
        # A daemon: the process does not wait for a thread that hangs.
        threading.Thread(target=self._run, name="read-image", daemon=True).start()

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None and not self._closed.is_set():
            watch = Watch(self._seconds)
            with self._lock:
                self._busy.add(watch)
            try:
                work(watch)
            except GivenUp:
                return  # another thread has taken its place
            finally:
                with self._lock:
                    self._busy.discard(watch)

    def _look(self) -> None:
        while not self._closed.wait(min(_LOOK_SECONDS, self._seconds / 4)):
            now = time.monotonic()
            with self._lock:
                busy = list(self._busy)
            for watch in busy:
                if on_loss := watch.is_overdue(now):
                    with self._lock:
                        self._busy.discard(watch)
                    on_loss()
                    self._start()
