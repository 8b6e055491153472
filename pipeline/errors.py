"""Errors that stop a whole run. Their messages tell the user what to do."""


class JobError(RuntimeError):
    """The run can't be committed; the message says why, and what is kept."""
