"""Which engine computes an encoder on this machine."""

from __future__ import annotations

import os
from typing import Literal

from encoder.compute.engines.ncnn.form import Form, Refusal
from encoder.compute.machine import visible_gpus
from encoder.errors import InputError
from encoder.spec import ENGINES, EncoderSpec, EngineName, check_choice

_HOW = "python -m encoder compile DIR"
# InceptionV3 has 0.31 and NASNetMobile 0.10, and are slower with ncnn; EfficientNetB0 has 0.06.
_MUCH = 0.08


def choose(
    wanted: EngineName, spec: EncoderSpec, found: Form | Refusal | None
) -> Literal["keras", "ncnn"]:
    """The engine for an encoder.

    "auto" takes ncnn for an encoder that has a compiled form, but Keras on a machine with a
    visible GPU, where KERAS_BACKEND asks for JAX, and for networks with much work in large kernels;
    docs/performance.md has the measurements.

    Args:
        wanted: the option --engine.
        spec: the encoder's spec.
        found: what encoder.json says of the compiled form; None for a bundle of before.

    Raises:
        InputError: ncnn is wanted, and there is no compiled form.
    """
    check_choice("engine (--engine)", wanted, ENGINES)
    if wanted == "keras":
        return "keras"
    if wanted == "ncnn":
        if isinstance(found, Form):
            return "ncnn"
        reason = found.refused if found else f"the bundle was written without it; '{_HOW}' adds it"
        raise InputError(f"--engine ncnn: encoder {spec.id} has no compiled form: {reason}")
    if not isinstance(found, Form) or found.large_kernels > _MUCH or visible_gpus():
        return "keras"
    is_free = os.environ.get("KERAS_BACKEND") != "jax"
    return "ncnn" if is_free and ncnn_works() else "keras"


def ncnn_works() -> bool:
    """Whether ncnn can be imported, which takes milliseconds."""
    try:
        import ncnn  # noqa: F401
    except ImportError:
        return False
    return True
