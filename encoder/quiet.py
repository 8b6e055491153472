"""Import TensorFlow without the lines that its C++ part prints to stderr."""

from __future__ import annotations

import os
import sys
import tempfile

_SILENT = "3"


def import_tensorflow() -> None:
    """Import TensorFlow; what it prints meanwhile is shown only if the import fails.

    Its first messages are written before its own log level takes effect, so nothing but a
    closed ear helps. Whoever sets TF_CPP_MIN_LOG_LEVEL below 3 hears everything as usual.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _SILENT) != _SILENT:
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            import keras  # noqa: F401
        except BaseException:
            heard.seek(0)
            os.write(stderr, heard.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
