"""Find the encoder of a trained Keras network, cut it out, verify the cut and save it."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder.bundle import load
    from encoder.compute.runtime import Encoder
    from encoder.errors import ChangedError, CutMismatchError, InputError
    from encoder.extraction import extract
    from encoder.network.cut import get_encoder
    from encoder.network.reference import vgg16_encoder_decoder, vgg16_imagenet
    from encoder.spec import EncoderSpec

__version__ = "0.1.0"

# Loaded on first use, so that reading a spec or decoding an image does not import TensorFlow.
_HOMES = {
    "ChangedError": "errors",
    "CutMismatchError": "errors",
    "Encoder": "compute.runtime",
    "EncoderSpec": "spec",
    "InputError": "errors",
    "extract": "extraction",
    "get_encoder": "network.cut",
    "load": "bundle",
    "vgg16_encoder_decoder": "network.reference",
    "vgg16_imagenet": "network.reference",
}
_WITHOUT_KERAS = ("bundle", "compute.runtime", "errors", "spec")

__all__ = [
    "__version__",
    "ChangedError",
    "CutMismatchError",
    "Encoder",
    "EncoderSpec",
    "InputError",
    "extract",
    "get_encoder",
    "load",
    "vgg16_encoder_decoder",
    "vgg16_imagenet",
]


def __getattr__(name: str) -> Any:  # Any: users' type checkers would reject calls of an object
    if name in _HOMES:
        if _HOMES[name] not in _WITHOUT_KERAS and "keras" not in sys.modules:
            from encoder.compute.keras_setup import import_keras

            import_keras()
        return getattr(importlib.import_module(f"encoder.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'encoder' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
