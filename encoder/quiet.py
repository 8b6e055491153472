"""Keep what libraries print to stderr away from people who did not ask for it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

_SILENT = "3"


def import_tensorflow() -> None:
    """Import TensorFlow; what it prints meanwhile is shown only if the import fails.

    Its first messages are written before its own log level takes effect, so nothing but a
    closed ear helps. Whoever sets TF_CPP_MIN_LOG_LEVEL below 3 hears everything as usual.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _SILENT) != _SILENT:
        return
    with silenced_stderr(tell_errors=True):
        import keras  # noqa: F401


@contextlib.contextmanager
def silenced_stderr(tell_errors: bool = False) -> Iterator[None]:
    """Nothing reaches stderr while the block runs, not from C++ nor from child processes either.

    Args:
        tell_errors: show after all what was held back where the block raises.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            yield
        except BaseException:
            if tell_errors:
                heard.seek(0)
                os.write(stderr, heard.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
