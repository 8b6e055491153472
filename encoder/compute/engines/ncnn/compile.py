"""Make the compiled form of an encoder, and prove it."""

from __future__ import annotations

import tempfile
from typing import NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.ncnn.convert import convert
from encoder.compute.engines.ncnn.engine import version
from encoder.compute.engines.ncnn.form import TOLERANCE, Form, Refusal, digest
from encoder.compute.engines.ncnn.layers.reading import NotConvertibleError
from encoder.compute.engines.ncnn.proof import vectors_of
from encoder.errors import InputError
from encoder.network.cut import backbone_of
from encoder.network.pool_numpy import pool_numpy
from encoder.network.preprocess import preprocess_numpy
from encoder.spec import EncoderSpec

_FLOAT32 = ("float32", "tf32")


class Compiled(NamedTuple):
    """A compiled form with its files, or the reason why there is none.

    Attributes:
        form: what encoder.json says of it.
        param, weights: the contents of the two files.
    """

    form: Form | Refusal
    param: bytes = b""
    weights: bytes = b""


def compile_form(model: keras.Model, spec: EncoderSpec) -> Compiled:
    """Compile an encoder for ncnn, and compare its vectors with the network's own.

    Args:
        model: the encoder, of a bundle; takes preprocessed float32 images, returns (n, dim).
        spec: the encoder's spec.

    Returns:
        The form; or why there is none: a layer that ncnn lacks, a precision that it does not
        compute in, vectors that differ by more than TOLERANCE, or no ncnn on this machine.
    """
    try:
        found = version()
    except InputError as error:
        return Compiled(Refusal("", str(error).removeprefix("--engine ncnn: ")))
    if spec.precision not in _FLOAT32:
        reason = f"it computes in {spec.precision}, ncnn here in float32"
        return Compiled(Refusal(found, reason))
    backbone = backbone_of(model)
    try:
        param, weights, large_kernels = convert(backbone)
        difference = _difference(backbone, spec, param, weights)
    except (NotConvertibleError, RuntimeError) as error:
        return Compiled(Refusal(found, str(error)))
    if not difference <= TOLERANCE:
        reason = f"its vectors would differ by {difference:.1e} of their largest value"
        return Compiled(Refusal(found, f"{reason}; at most {TOLERANCE:g} is allowed"))
    form = Form(found, digest(param, weights), difference, round(large_kernels, 3))
    return Compiled(form, param, weights)


def _difference(backbone: keras.Model, spec: EncoderSpec, param: bytes, weights: bytes) -> float:
    """The largest difference of a value, as a share of the largest value of its vector.

    The means of values that are above and below zero can be far smaller than the values. So with
    "gap", the largest mean of absolute values counts, if it is larger.

    Raises:
        RuntimeError: ncnn failed.
    """
    images = images_to_compare(spec)
    with tempfile.TemporaryDirectory() as folder:
        found = vectors_of(folder, param, weights, spec, images)
    outputs = backbone(preprocess_numpy(images, spec.preprocess), training=False)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    maps = [np.asarray(keras.ops.convert_to_numpy(each), np.float64) for each in outputs]
    expected = pool_numpy(maps, spec.pooling, spec.normalize, spec.gem_p)
    if found.shape != expected.shape:
        raise RuntimeError(f"it gave vectors of shape {found.shape}; expected {expected.shape}")
    largest = np.abs(expected).max(1)
    if spec.pooling == "gap" and not spec.normalize:
        sizes = pool_numpy([np.abs(each) for each in maps], "gap", False)
        largest = np.maximum(largest, sizes.max(1))
    # Of an even image, all values may be close to zero.
    largest = np.maximum(largest, 1e-3 * largest.max())
    with np.errstate(invalid="ignore"):
        return float(np.max(np.abs(found - expected).max(1) / np.maximum(largest, 1e-30)))


def images_to_compare(spec: EncoderSpec) -> NDArray[np.uint8]:
    """Images (n, height, width, channels): random pixels, edges, and two as even as photographs.

    The last two have what photographs have in common: the finer a detail, the weaker it is, by one
    over its frequency (Field, "Relations between the statistics of natural images", 1987).
    """
    rng = np.random.default_rng(0)
    height, width, channels = spec.height, spec.width, spec.channels
    images = rng.integers(0, 256, (7, height, width, channels), np.uint8)
    images[2], images[3] = 0, 255
    images[4, :, ::2], images[4, :, 1::2] = 255, 0
    for number in (5, 6):
        images[number] = _natural(rng, height, width, channels)
    return images


def _natural(rng: np.random.Generator, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequencies = np.hypot(rows, columns)
    frequencies[0, 0] = np.inf
    noise = np.fft.rfft2(rng.normal(size=(channels, height, width)))
    planes = np.fft.irfft2(noise / frequencies, s=(height, width))
    low, high = planes.min(), planes.max()
    even: NDArray[np.float64] = (planes - low) / max(high - low, 1e-9) * 255
    return even.astype(np.uint8).transpose(1, 2, 0)
