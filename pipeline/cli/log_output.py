"""How a command shows log messages: lines for people, or JSON for programs."""

from __future__ import annotations

import logging
import re
from datetime import datetime, timezone

from encoder.printable import json_text
from pipeline.launch.worker_messages import unpack
from pipeline.logs import run_id

# Of other libraries, only warnings are shown: Beam alone has hundreds of lines on its type hints.
# Beam's messages about a job on Dataflow are for people.
_OWN = re.compile(r"(encoder|pipeline|apache_beam\.runners\.dataflow)\b")
# Warnings of Beam that nobody can act on.
_NOISE = (
    "Resource module is not available",
    "Using yield and return",
    "No semi_persistent_directory found",
    "Discarding unpar",
)
_RUN = re.compile(r" run=\S+$")


def is_wanted(record: logging.LogRecord) -> bool:
    """Whether a message is shown. One of a worker process becomes as if it was of this process."""
    unpack(record)
    if _OWN.match(record.name):
        return True
    return record.levelno >= logging.WARNING and not record.getMessage().startswith(_NOISE)


class ForPeople(logging.Formatter):
    """The time of day (local) and the message, without the run's id and tracebacks.

    There is one run, and the error at its end has the traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        message = _RUN.sub("", record.getMessage())
        if record.levelno >= logging.WARNING:
            message = f"{record.levelname.lower()}: {record.name}: {message}"
        return f"{self.formatTime(record, '%H:%M:%S')} {message}"


class AsJson(logging.Formatter):
    """One JSON object per line, with the names of fields that Cloud Logging knows.

    Fields: time (ISO 8601, UTC), severity, message, logger, run_id (once the run has one), and
    exception (a traceback).

    Args:
        tracebacks: whether to add tracebacks.
    """

    def __init__(self, tracebacks: bool) -> None:
        super().__init__()
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        message = record.getMessage()
        named = _RUN.search(message)
        time = datetime.fromtimestamp(record.created, timezone.utc)
        fields = {
            "time": time.isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "message": _RUN.sub("", message),
            "logger": record.name,
        }
        if run := named[0].removeprefix(" run=") if named else run_id():
            fields["run_id"] = run
        if record.exc_info and self._tracebacks:
            fields["exception"] = self.formatException(record.exc_info)
        return json_text(fields)
