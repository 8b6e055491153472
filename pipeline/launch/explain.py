"""Explain a runner's error in one line."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator

from encoder.errors import InputError
from pipeline.errors import JobError
from pipeline.launch.workers import WORKER_ENDED

# The errors that other processes see after a worker process was killed.
_ENDED = re.compile(
    r"(RuntimeError: )?(Channel closed|EOFError|Connection\w+Error|BrokenPipeError)"
)
# The errors of Flink and Spark then, and whenever their connection to a worker has broken.
_CUT_OFF = re.compile(r"StatusRuntimeException: ((?:CANCELLED|UNAVAILABLE)\b.*)")
# What a job service says of a job; a text in several lines begins with the reason.
_JOB_FAILED = re.compile(r"Pipeline \S+ failed in state \w+: (.*)")
# The error of the connection to the job service.
_SERVICE_ENDED = re.compile(r"RPC that terminated with:\s+status = StatusCode\.(\w+)")
_READER = "wait_until_finish_read"  # Beam's name of the thread that reads a service's messages
_LONGEST_WAIT = 5.0  # seconds for it to end
_OWN_MODULES = "|".join(re.escape(error.__module__) for error in (JobError, InputError))
_OWN_ERRORS = re.compile(rf"(?:{_OWN_MODULES})\.\w+: (.*?)(?: \[while running|$)", re.M)


def explain(error: BaseException) -> str:
    """The message of a runner's error, without the traceback that it contains as text."""
    text = str(error)
    own = _OWN_ERRORS.findall(text)
    if own:
        return str(own[-1])
    found = _CUT_OFF.search(text)
    if found:
        return (
            f"a worker process has ended, or the connection to it broke ({found[1].strip()}). What "
            "was finished is not lost: start the job again"
        )
    found = _SERVICE_ENDED.search(text)
    if found:
        return (
            f"the job service has ended, or the connection to it broke ({found[1]}). What was "
            "finished is not lost: start the service, and then the job again"
        )
    found = _JOB_FAILED.match(text)
    if found and "Traceback (most recent call last)" not in text:
        return f"the job failed: {found[1].strip()}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    if _ENDED.match(last):
        return WORKER_ENDED
    return re.sub(r" ?\[while running '[^']*'\]", "", last) or type(error).__name__


@contextlib.contextmanager
def quiet_threads() -> Iterator[None]:
    """Log the errors of other threads rather than print them; the job reports its error itself.

    Beam reads the messages of a job service in a thread, which also fails when the service ends, be
    it a moment after the job has.
    """

    def log(failed: threading.ExceptHookArgs) -> None:
        logging.getLogger(__name__).info("a thread failed: %r", failed.exc_value)

    before, threading.excepthook = threading.excepthook, log
    try:
        yield
    finally:
        for thread in threading.enumerate():
            if thread.name == _READER:
                thread.join(_LONGEST_WAIT)
        threading.excepthook = before
