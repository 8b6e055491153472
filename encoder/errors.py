"""Errors that a user can act on."""

from encoder.printable import escaped

_LONGEST_MESSAGE = 300


class InputError(ValueError):
    """An argument is wrong; the message contains what was found, what was expected, what to do.

    The message is one line: a name in it can't begin another one.
    """

    def __init__(self, message: str) -> None:
        super().__init__(escaped(message))


class CutMismatchError(RuntimeError):
    """The cut-out encoder does not compute what the trained network computes."""


class TruncatedError(OSError):
    """An image file lacks data."""


class LimitError(ValueError):
    """An image has more pixels than are allowed."""


class TooLargeError(ValueError):
    """A file has more bytes than the reader accepts."""


class ChangedError(RuntimeError):
    """A file is not in the expected state: another process has written it meanwhile."""


class ClaimedError(ChangedError):
    """Another machine replaces a file, has replaced it, or was stopped while it did so."""


def shortened(error: BaseException) -> str:
    """An error's message in one line, cut if it is long: Keras prints configs and arrays."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]} ..."
