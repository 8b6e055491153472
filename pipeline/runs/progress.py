"""The progress of a run that works on this machine: a line that changes, or lines now and then.

Workers in any thread or process append one byte per image to a file per kind; the sizes of these
files are the counts. The run does not depend on them: on another machine the folder does not exist,
and nothing is counted.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from encoder.printable import escaped, printable
from encoder.terminal import console, copy_of_stderr, say, wrap

PLANNED, EMBEDDED, FAILED = "planned", "embedded", "failed"
_LINES = "lines"
_REFRESH_SECONDS = 0.5
# Where nobody watches, such as in cron or CI: when to print a line, in seconds since the start.
# After the last of these, a line follows each time that many seconds have passed.
_LINE_SECONDS = (30.0, 60.0, 120.0, 300.0)


class Tally:
    """Counts in files of one folder. Without a folder it does nothing."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder

    def add(self, kind: str, count: int) -> None:
        """Add to a count, from any process."""
        if not self._folder or not count:
            return
        try:
            descriptor = os.open(self._path(kind), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        except FileNotFoundError:  # another machine, or the launcher has ended
            return
        try:
            os.write(descriptor, b"\0" * count)
        finally:
            os.close(descriptor)

    def read(self, kind: str) -> int:
        """A count."""
        try:
            return os.path.getsize(self._path(kind))
        except FileNotFoundError:
            return 0

    def announce(self, line: str) -> None:
        """Show a line in the terminal of the run; equal lines are shown once."""
        if self._folder:
            with contextlib.suppress(FileNotFoundError), open(self._path(_LINES), "a") as file:
                file.write(escaped(line) + "\n")

    def announced(self) -> list[str]:
        """The lines so far, without repetitions."""
        try:
            with open(self._path(_LINES)) as file:
                return list(dict.fromkeys(file.read().splitlines()))
        except FileNotFoundError:
            return []

    def _path(self, kind: str) -> str:
        return os.path.join(self._folder or "", kind)


@contextlib.contextmanager
def live_progress(enabled: bool, is_changing: bool = True) -> Iterator[str | None]:
    """Show announced lines and the progress while the block runs.

    On a terminal both go to stderr, and the progress line changes in place. Elsewhere they go to
    stdout, like the summary, since schedulers treat output on stderr as errors: the progress after
    30 seconds for the first time, and later every five minutes.

    Args:
        enabled: whether the run works on this machine.
        is_changing: whether a line may change in place on a terminal; log messages would break it.

    Yields the folder for a Tally; None if it is not enabled.
    """
    if not enabled:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="embed-images-") as folder, copy_of_stderr() as stderr:
        stop = threading.Event()
        arguments = (Tally(folder), stderr, stop, is_changing and stderr.isatty())
        thread = threading.Thread(target=_show, args=arguments, daemon=True)
        thread.start()
        try:
            yield folder
        finally:
            stop.set()
            thread.join()


class Rate:
    """Images per second between the first and the latest time that something was finished."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._latest = (0, 0.0)

    def update(self, done: int, now: float) -> float:
        """Add a count and a time in seconds. Returns the rate, or 0 while it is not known."""
        if done and self._first is None:
            self._first = self._latest = (done, now)
        if done > self._latest[0]:
            self._latest = (done, now)
        if self._first is None or self._latest == self._first:
            return 0.0
        return (self._latest[0] - self._first[0]) / (self._latest[1] - self._first[1])


class Pace:
    """Decides when the progress is printed where nobody watches."""

    def __init__(self) -> None:
        self._printed = 0

    def is_due(self, elapsed: float) -> bool:
        """Whether a line is due, so many seconds after the start. Counts it as printed."""
        due = sum(elapsed >= seconds for seconds in _LINE_SECONDS)
        if due == len(_LINE_SECONDS):
            due += int(elapsed // _LINE_SECONDS[-1]) - 1
        late, self._printed = due > self._printed, max(due, self._printed)
        return late


def _show(tally: Tally, stderr: TextIO, stop: threading.Event, is_changing: bool) -> None:
    shown, ended = 0, False
    shown_on = console(stderr)
    began, rate, pace = time.monotonic(), Rate(), Pace()
    line = shown_on.status("listing images") if is_changing else contextlib.nullcontext()
    with line as status:
        while not ended:
            ended = stop.wait(_REFRESH_SECONDS)  # the last lines are shown, too
            lines = tally.announced()
            for text in lines[shown:]:
                if status:
                    for each in wrap(printable(text), shown_on.width).split("\n"):
                        shown_on.print(each, soft_wrap=True)
                else:
                    _print(text)
            shown = len(lines)
            planned, done, failed = (tally.read(kind) for kind in (PLANNED, EMBEDDED, FAILED))
            now = time.monotonic()
            progress = progress_line(planned, done, failed, now - began, rate.update(done, now))
            if status:
                status.update(progress)
            elif pace.is_due(now - began) and not ended:
                _print(progress)


def _print(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # the reader has exited, and the run goes on
        say(text, at_once=True)


def progress_line(planned: int, done: int, failed: int, elapsed: float, rate: float) -> str:
    """The progress line, from counts of images, seconds since the start, and images per second."""
    if not planned:
        return f"listing images and planning, {elapsed:.0f} s"
    parts = [f"{done + failed:,} of {planned:,} images"]
    if failed:
        parts.append(f"{failed:,} failed")
    if not done:
        parts.append("loading the encoder")
    if rate:
        left = max(0, planned - done - failed) / rate
        parts.append(f"{rate:.1f} images/s")
        parts.append(
            f"about {left:.0f} s left" if left < 120 else f"about {left / 60:.0f} min left"
        )
    return ", ".join(parts)
