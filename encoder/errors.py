"""What can go wrong in a way that a user can act on."""

_LONGEST_MESSAGE = 300


class InputError(ValueError):
    """Something the caller gave is wrong; the message says what was found and what to do."""


class CutMismatchError(RuntimeError):
    """The cut-out encoder does not compute what the trained network computes."""


class TruncatedError(OSError):
    """Data is missing from an image file."""


class LimitError(ValueError):
    """An image has more pixels than are allowed."""


class TooLargeError(ValueError):
    """A file has more bytes than its reader takes."""


class ChangedError(RuntimeError):
    """A file is no longer in the state that the writer expected."""


def shortened(error: BaseException) -> str:
    """The beginning of an error's message, in one line; Keras prints whole configs and arrays."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]} ..."
