"""Errors that stop a whole run. Their messages tell the user what to do."""


class JobError(RuntimeError):
    """The run can't be committed; the message says why, and what is kept."""


class PathError(JobError, ValueError):
    """A path that may lead out of the output; nothing was read or written there."""
