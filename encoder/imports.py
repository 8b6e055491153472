"""Large libraries, imported as fast as can be."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Import large libraries in this block: it takes a fifth less time.

    The garbage collector would look through what they make over and over, and find none. What is
    there at the end stays as long as the process, so it isn't looked at later either.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()
            gc.enable()
