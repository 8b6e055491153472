"""What stops a whole run, in words that tell its owner what to do."""


class JobError(RuntimeError):
    """The run can't be committed; the message says why, and what is kept."""
