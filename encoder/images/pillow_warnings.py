"""Suppress Pillow's warnings and log lines while this thread decodes an image."""

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
    """Matches every category of warnings in a thread that decodes an image, and none in others."""


def _is_elsewhere(record: logging.LogRecord) -> bool:
    return not getattr(_here, "decoding", False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings of this thread; other threads keep theirs.

    Pillow warns about odd metadata, without the file's name, and logs to stderr if logging is not
    configured. Python's warning filters are global to the process, and ``catch_warnings`` replaces
    them for every thread; this adds a filter that acts only in threads inside this block.
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
    """Keep TIFF decoders from writing errors to stderr; Pillow raises them anyway.

    This affects the whole process, but only Pillow's own copy of libtiff.
    """
    logging.getLogger("PIL.TiffImagePlugin").addFilter(_is_elsewhere)
    with contextlib.suppress(OSError, AttributeError):  # a build of Pillow that hides libtiff
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
