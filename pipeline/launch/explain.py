"""What a runner's error says, in one line for people."""

from __future__ import annotations

import re

from encoder.errors import InputError
from pipeline.errors import JobError
from pipeline.launch.workers import WORKER_ENDED

# What is left of a worker process that was killed: what others heard of it last.
_ENDED = re.compile(
    r"(RuntimeError: )?(Channel closed|EOFError|Connection\w+Error|BrokenPipeError)"
)
_OWN_MODULES = "|".join(re.escape(error.__module__) for error in (JobError, InputError))
_OWN_ERRORS = re.compile(rf"(?:{_OWN_MODULES})\.\w+: (.*?)(?: \[while running|$)", re.M)


def explain(error: BaseException) -> str:
    """What a runner's error says, without the traceback that it carries as text."""
    text = str(error)
    own = _OWN_ERRORS.findall(text)
    if own:
        return str(own[-1])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    if _ENDED.match(last):
        return WORKER_ENDED
    return re.sub(r" ?\[while running '[^']*'\]", "", last) or type(error).__name__
