"""Explain a runner's error in one line."""

from __future__ import annotations

import re

from encoder.errors import InputError
from pipeline.errors import JobError
from pipeline.launch.workers import WORKER_ENDED

# The errors that other processes see after a worker process was killed.
_ENDED = re.compile(
    r"(RuntimeError: )?(Channel closed|EOFError|Connection\w+Error|BrokenPipeError)"
)
_OWN_MODULES = "|".join(re.escape(error.__module__) for error in (JobError, InputError))
_OWN_ERRORS = re.compile(rf"(?:{_OWN_MODULES})\.\w+: (.*?)(?: \[while running|$)", re.M)


def explain(error: BaseException) -> str:
    """The message of a runner's error, without the traceback that it contains as text."""
    text = str(error)
    own = _OWN_ERRORS.findall(text)
    if own:
        return str(own[-1])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    if _ENDED.match(last):
        return WORKER_ENDED
    return re.sub(r" ?\[while running '[^']*'\]", "", last) or type(error).__name__
