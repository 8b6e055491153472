"""What can go wrong in a way that a user can act on."""


class InputError(ValueError):
    """Something the caller gave is wrong; the message says what was found and what to do."""


class CutMismatchError(RuntimeError):
    """The cut-out encoder does not compute what the trained network computes."""


class ChangedError(RuntimeError):
    """A file is no longer in the state that the writer expected."""
