"""Limits of time for listing. Many time-outs in a row abort the run; a single one does not."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from pipeline.errors import JobError

_AHEAD = 10_000  # items that may wait to be fetched
_LOOK_SECONDS = 0.005

_Item = TypeVar("_Item")


class ConsecutiveTimeouts:
    """Counts time-outs in a row.

    Without it, a run would try each of a million images until its deadline, one after another.

    Args:
        most: the number of requests in a row that may time out.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def record(self, error: Exception | None = None) -> None:
        """Record the outcome of a request.

        Args:
            error: the error of the request; None if it succeeded. Only a TimeoutError counts,
                anything else starts the count anew.

        Raises:
            JobError: more requests in a row timed out than are allowed.
        """
        self._count = self._count + 1 if isinstance(error, TimeoutError) else 0
        if self._count > self._most:
            raise JobError(
                f"{self._count} requests in a row were given up, the last with: {error}. What was "
                "embedded is kept: when the store answers again, start the run again"
            )


class Progress:
    """Counts the steps of some work, so that it can be slow without counting as dead."""

    def __init__(self) -> None:
        self.steps = 0

    def made(self) -> None:
        """Count a step."""
        self.steps += 1


def in_time(
    items: Iterator[_Item], seconds: float, what: str, progress: Progress | None = None
) -> Iterator[_Item]:
    """The items of an iterator, which runs in another thread.

    That thread can't be stopped if it waits for a dead mount. It is left alone then.

    Args:
        items: the iterator.
        seconds: that may pass before the next item comes.
        what: the work, for the message.
        progress: steps that the iterator makes between items, which count as well.

    Raises:
        TimeoutError: no item came in time. All that came before were yielded.
    """
    handover: _Handover[_Item] = _Handover(items, progress or Progress())
    threading.Thread(target=handover.run, name="list-files", daemon=True).start()
    try:
        while some := handover.take(seconds):
            yield from some
    except TimeoutError:
        raise TimeoutError(
            f"{what}: nothing came for {seconds:g} s. If a mount is dead, mount it again; or raise "
            "--read-timeout"
        ) from None
    finally:
        handover.leave()


class _Handover(Generic[_Item]):
    """Items on their way from one thread to another.

    Both look again and again: a lock for each item would take longer than listing it.
    """

    def __init__(self, items: Iterator[_Item], progress: Progress) -> None:
        self._items = items
        self._progress = progress
        self._ready: deque[_Item] = deque()
        self._error: BaseException | None = None
        self._done, self._left = threading.Event(), threading.Event()

    def run(self) -> None:
        """Fetch all items; the work of the other thread."""
        try:
            for item in self._items:
                self._ready.append(item)
                while len(self._ready) >= _AHEAD and not self._left.wait(_LOOK_SECONDS):
                    pass
                if self._left.is_set():
                    return
        except BaseException as raised:  # raised again where the items go
            self._error = raised
        finally:
            self._done.set()

    def take(self, seconds: float) -> list[_Item]:
        """Items that are ready, at least one; none at the end.

        Raises:
            TimeoutError: none came in time.
        """
        steps, deadline = self._progress.steps, time.monotonic() + seconds
        while not self._done.wait(0 if self._ready else _LOOK_SECONDS) and not self._ready:
            if time.monotonic() < deadline:
                continue
            if self._progress.steps == steps:
                raise TimeoutError
            steps, deadline = self._progress.steps, time.monotonic() + seconds
        some = [self._ready.popleft() for _ in range(len(self._ready))]
        if not some and self._error is not None:
            raise self._error
        return some

    def leave(self) -> None:
        """Let the other thread end: nobody takes its items any more."""
        self._left.set()
