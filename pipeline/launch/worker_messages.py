"""Log messages of worker processes; Beam logs them in the launcher as a text of several fields."""

from __future__ import annotations

import contextlib
import logging
import re

# The loggers that Beam uses for them, for its own worker processes and for those of a job service.
_LOGGERS = ("root", "apache_beam.runners.portability.local_job_service")
_ENTRY = re.compile(r"(?:Worker: )?(severity: .*)", re.S)
_MODULE = re.compile(r"\b(encoder|pipeline)/[a-z_/0-9]+(?=\.py)")


def unpack(record: logging.LogRecord) -> None:
    """Make a record of a worker's message as if a logger of this process had made it.

    Other records stay as they are. Messages of other libraries get the logger ``worker``.
    """
    if record.name not in _LOGGERS:
        return
    found = _ENTRY.fullmatch(record.getMessage())
    if not found:
        return
    from apache_beam.portability.api import beam_fn_api_pb2
    from google.protobuf import text_format

    with contextlib.suppress(text_format.ParseError):
        entry = text_format.Parse(found[1], beam_fn_api_pb2.LogEntry())
        module = _MODULE.search(entry.log_location)
        record.name = module[0].replace("/", ".") if module else "worker"
        record.msg, record.args = entry.message, ()
