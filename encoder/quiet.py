"""Warnings of Python's kind, kept away from users while an image is decoded in this thread."""

from __future__ import annotations

import contextlib
import ctypes
import functools
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


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let no warning through from this thread, and change nothing for the others.

    Pillow warns of odd metadata, once per file and without its name. The filters of Python's
    warnings belong to the whole process, and ``catch_warnings`` swaps them for every thread; this
    adds one filter that acts only in threads that are in here.
    """
    _silence_libtiff()
    if warnings.filters[:1] != [("ignore", None, _AnyWarning, None, 0)]:
        warnings.simplefilter("ignore", _AnyWarning)
    before = getattr(_here, "decoding", False)
    _here.decoding = True
    try:
        yield
    finally:
        _here.decoding = before


@functools.cache
def _silence_libtiff() -> None:
    """Keep Pillow's libtiff from writing to stderr what Pillow raises as an error anyway."""
    with contextlib.suppress(OSError, AttributeError):  # a build that hides libtiff goes on talking
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
