"""Pillow's warnings and log lines, kept away from users while this thread decodes an image."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import threading
import warnings
from collections.abc import Iterator

from PIL import _imaging

_here = threading.local()


class _OnlyWhileDecoding(type):
    def __subclasscheck__(cls, subclass: type) -> bool:
        return getattr(_here, "decoding", False)


class _AnyWarning(Warning, metaclass=_OnlyWhileDecoding):
    """Is every category of warnings, in a thread that decodes an image, and none in others."""


def _is_elsewhere(record: logging.LogRecord) -> bool:
    return not getattr(_here, "decoding", False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let no warning through from this thread, and change nothing for the others.

    Pillow warns of odd metadata, without the file's name, and logs to stderr where nobody set up
    logging. The filters of Python's warnings belong to the whole process, and ``catch_warnings``
    swaps them for every thread; this adds filters that act only in threads that are in here.
    """
    _silence_tiff()
    if warnings.filters[:1] != [("ignore", None, _AnyWarning, None, 0)]:
        warnings.simplefilter("ignore", _AnyWarning)
    before = getattr(_here, "decoding", False)
    _here.decoding = True
    try:
        yield
    finally:
        _here.decoding = before


@functools.cache
def _silence_tiff() -> None:
    """Keep TIFF's decoders from writing to stderr what Pillow raises as an error anyway.

    For libtiff that is so in the whole process, but only for the copy of it inside Pillow.
    """
    logging.getLogger("PIL.TiffImagePlugin").addFilter(_is_elsewhere)
    with contextlib.suppress(OSError, AttributeError):  # a build that hides libtiff goes on talking
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
