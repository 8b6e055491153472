"""Find the engine that Keras uses in this process."""

from __future__ import annotations

import functools

import keras

from encoder.compute.engines.keras.base import Backend
from encoder.compute.engines.keras.jax import Jax
from encoder.compute.engines.keras.tensorflow import TensorFlow
from encoder.errors import InputError

_BACKENDS: dict[str, type[Backend]] = {"tensorflow": TensorFlow, "jax": Jax}


@functools.cache
def backend() -> Backend:
    """The engine that Keras uses.

    Raises:
        InputError: Keras uses neither TensorFlow nor JAX.
    """
    name = keras.backend.backend()
    if name not in _BACKENDS:
        raise InputError(f"KERAS_BACKEND is {name!r}; expected one of {', '.join(_BACKENDS)}")
    return _BACKENDS[name]()
