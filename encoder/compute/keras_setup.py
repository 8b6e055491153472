"""How Keras and its backend are imported: set up for this machine, and without chatter."""

from __future__ import annotations

import contextlib
import importlib.util
import os

from encoder.compute.machine import usable_cores
from encoder.errors import InputError
from encoder.terminal import quick_imports, silenced_stderr

_SILENT = "3"
_BACKENDS = ("tensorflow", "jax")


def check_backend() -> None:
    """Raise InputError where KERAS_BACKEND names none that there is; quick, nothing is imported."""
    name = os.environ.get("KERAS_BACKEND", _BACKENDS[0])
    if name not in _BACKENDS:
        raise InputError(f"KERAS_BACKEND is {name!r}; expected one of {', '.join(_BACKENDS)}")
    if importlib.util.find_spec(name) is None:
        raise InputError(f"KERAS_BACKEND is {name!r}, which is not installed: pip install {name}")


def import_keras() -> None:
    """Import Keras and its backend; what is printed meanwhile is shown only if the import fails.

    TensorFlow's first messages are written before its own log level takes effect, so nothing but
    a closed ear helps. Whoever sets TF_CPP_MIN_LOG_LEVEL below 3 hears everything as usual.

    oneDNN computes the convolutions, also on CPUs without AVX-512, where TensorFlow's default is
    Eigen: it is faster there, too, and Eigen's last bits depend on the place in the batch.
    TensorFlow heeds affinity, but not a container's share of the cores, so it is told. JAX would
    take most of a GPU's memory at once.
    """
    check_backend()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(usable_cores()))
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _SILENT) == _SILENT
    with quick_imports(), silenced_stderr(True) if quiet else contextlib.nullcontext():
        import keras

    if keras.backend.backend() != "tensorflow":
        # Keras would import it, where it is installed, just to compare types.
        from keras.src.utils import module_utils

        module_utils.tensorflow._available = False
