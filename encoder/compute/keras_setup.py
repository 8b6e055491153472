"""Import Keras and its backend, configured for this machine and without their start-up messages."""

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
    """Raise InputError if KERAS_BACKEND names an unknown or missing backend; import nothing."""
    name = os.environ.get("KERAS_BACKEND", _BACKENDS[0])
    if name not in _BACKENDS:
        raise InputError(f"KERAS_BACKEND is {name!r}; expected one of {', '.join(_BACKENDS)}")
    if importlib.util.find_spec(name) is None:
        raise InputError(f"KERAS_BACKEND is {name!r}, which is not installed: pip install {name}")


def import_keras() -> None:
    """Import Keras and its backend; their messages are shown only if the import fails.

    TensorFlow writes its first messages before its own log level takes effect, so stderr is
    redirected meanwhile. With TF_CPP_MIN_LOG_LEVEL set below 3 nothing is redirected.

    oneDNN computes the convolutions on all CPUs. Without AVX-512, TensorFlow's default is Eigen,
    which is slower and whose last bits depend on an image's place in the batch. TensorFlow respects
    CPU affinity but not a container's CPU quota, so the number of threads is set here. JAX would
    allocate most of a GPU's memory at once.
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
        # Otherwise Keras imports an installed TensorFlow, only to compare types.
        from keras.src.utils import module_utils

        module_utils.tensorflow._available = False
