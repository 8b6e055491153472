"""How a command shows log messages: lines for people, or JSON for programs."""

from __future__ import annotations

import contextlib
import logging
import re
from datetime import datetime, timezone

from encoder.printable import json_text
from pipeline.logs import run_id

# Of other libraries, only warnings are shown: Beam alone has hundreds of lines on its type hints.
# Beam's messages about a job on Dataflow are for people.
_OWN = re.compile(r"(encoder|pipeline|apache_beam\.runners\.dataflow)\b")
_RUN = re.compile(r" run=\S+$")
_MODULE = re.compile(r"\b(encoder|pipeline)/[a-z_/0-9]+(?=\.py)")


def is_wanted(record: logging.LogRecord) -> bool:
    """Whether a message is shown. One of a worker process becomes as if it was of this process."""
    if record.name == "root":
        _unpack(record)
    return record.levelno >= logging.WARNING or _OWN.match(record.name) is not None


class ForPeople(logging.Formatter):
    """The time of day (local) and the message; the run's id is left out, since there is one run."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the library's name
        """The line of a record."""
        record.message = _RUN.sub("", record.message)
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname.lower()}: {record.name}: {record.message}"
        return super().formatMessage(record)


class AsJson(logging.Formatter):
    """One JSON object per line, with the names of fields that Cloud Logging knows.

    Fields: time (ISO 8601, UTC), severity, message, logger, run_id (once the run has one), and
    exception, a traceback.
    """

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
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json_text(fields)


def _unpack(record: logging.LogRecord) -> None:
    """Take a worker process' message out of the text in which Beam logs it here."""
    text = record.getMessage()
    if not text.startswith("severity: "):
        return
    from apache_beam.portability.api import beam_fn_api_pb2
    from google.protobuf import text_format

    with contextlib.suppress(text_format.ParseError):
        entry = text_format.Parse(text, beam_fn_api_pb2.LogEntry())
        module = _MODULE.search(entry.log_location)
        record.name = module[0].replace("/", ".") if module else "worker"
        record.msg, record.args = entry.message, ()
