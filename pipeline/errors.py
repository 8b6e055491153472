"""Errors that stop a whole run. Their messages tell the user what to do."""

from __future__ import annotations

from encoder.printable import escaped


class JobError(RuntimeError):
    """The run can't be committed; the message, which is one line, says why, and what is kept."""

    def __init__(self, message: str) -> None:
        super().__init__(escaped(message))


class PathError(JobError, ValueError):
    """A path that may lead out of the output; nothing was read or written there."""
