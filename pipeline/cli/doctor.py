"""``python -m pipeline doctor``: the devices of this machine, and how fast they embed."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from encoder.compute.keras_setup import import_keras
from encoder.compute.machine import (
    cpu_name,
    gpus_without_driver,
    nvidia_driver,
    nvidia_gpus,
    precision_gain,
)
from encoder.errors import InputError
from encoder.spec import EngineName, read_spec
from pipeline.embedding.call_sizes import images_together, share_cores
from pipeline.options import DEFAULT_BATCH_SIZE, GPU_BATCH_SIZE

if TYPE_CHECKING:
    from encoder.compute.runtime import Encoder

_VGG16 = (224, 224, 3)
_ADVICE = {
    "TensorFlow": "pip install 'tensorflow[and-cuda]' brings the CUDA libraries that fit it",
    "JAX": "pip install 'jax[cuda12]' brings its CUDA plugin and libraries",
}


def examine(
    bundle: str = "",
    engine: EngineName = "auto",
    trust: bool = False,
    custom_objects: Sequence[str] = (),
) -> Iterator[tuple[str, str]]:
    """Examine this machine. Returns (what, finding) line by line.

    Args:
        bundle: an encoder bundle to time; by default VGG16 at 224x224 with random weights.
        engine: what computes it; without a bundle, "auto" times each.
        trust: allow a bundle with Lambda layers or custom classes.
        custom_objects: names of modules that define custom classes of the bundle.

    Raises:
        InputError: the bundle can't be loaded.
    """
    yield "system", f"Python {platform.python_version()} on {platform.platform()}"
    yield "CPU", cpu_name()
    driver = nvidia_driver()
    found = nvidia_gpus()
    yield "GPU", ", ".join(found) or "none found"
    if driver:
        yield "driver", f"NVIDIA {driver}"
    height, width = _size_of(bundle)
    share_cores(height, width)
    import_keras()
    import keras

    from encoder.compute.engines.keras.registry import backend

    chosen = backend()
    devices = chosen.devices()
    computes_on_gpu = devices[0].is_gpu
    yield "backend", f"{chosen.name} {chosen.version} with Keras {keras.__version__}"
    yield "computes on", ", ".join(device.name for device in devices)
    if found and not computes_on_gpu:
        problem = (
            f"{chosen.name} can't use the GPU: {_ADVICE[chosen.name]}; it needs an NVIDIA driver "
            "that is recent enough for these, and CUDA_VISIBLE_DEVICES must not hide the GPU"
        )
        yield "problem", problem
    if gpus_without_driver():
        yield "problem", "there is a GPU, but no NVIDIA driver is loaded: install it, or load it"
    yield "precision", precision_gain(computes_on_gpu)
    batch_size = GPU_BATCH_SIZE if computes_on_gpu else DEFAULT_BATCH_SIZE
    together = batch_size if computes_on_gpu else images_together(batch_size, height, width)
    for encoder in _encoders(bundle, engine, trust, custom_objects, computes_on_gpu):
        rate = images_per_second(encoder, batch_size, together=together)
        spec = encoder.spec
        what = f"{spec.source}, {spec.height}x{spec.width}, {together} images at a time"
        computed = f"{encoder.engine.software}, {spec.precision}"
        yield "timed", f"{what}, {computed}: {rate:.1f} images/s"


def work_of(
    bundle: str,
    engine: EngineName,
    trust: bool,
    custom_objects: Sequence[str],
    measures: bool,
) -> tuple[int, float | None]:
    """The operations that an encoder takes for an image, and its images per second here.

    Args:
        bundle, engine, trust, custom_objects: see examine.
        measures: whether to measure; otherwise the rate is None.

    Raises:
        InputError: the bundle can't be loaded.
    """
    height, width = _size_of(bundle)
    share_cores(height, width)
    import_keras()
    from encoder.compute.engines.keras.registry import backend
    from encoder.compute.operations import operations_per_image

    is_gpu = backend().devices()[0].is_gpu
    (encoder,) = _encoders(bundle, engine, trust, custom_objects, is_gpu)
    operations = operations_per_image(encoder.model)
    if not measures:
        return operations, None
    batch_size = GPU_BATCH_SIZE if is_gpu else DEFAULT_BATCH_SIZE
    together = batch_size if is_gpu else images_together(batch_size, height, width)
    return operations, images_per_second(encoder, batch_size, together=together)


def images_per_second(
    encoder: Encoder, batch_size: int, seconds: float = 2.0, together: int | None = None
) -> float:
    """The images per second of an encoder, for random pixels in memory, after warming up.

    Args:
        encoder: a loaded encoder.
        batch_size: see Encoder.embed.
        seconds: the least time to measure for.
        together: images per call of Encoder.embed, if these are more than a batch.
    """
    import numpy as np

    spec, count = encoder.spec, together or batch_size
    shape = (count, spec.height, spec.width, spec.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    encoder.warm_up(batch_size)
    encoder.embed(images, batch_size)
    began, lists = time.perf_counter(), 0
    while not lists or time.perf_counter() - began < seconds:
        encoder.embed(images, batch_size)
        lists += 1
    return lists * count / (time.perf_counter() - began)


def _size_of(bundle: str) -> tuple[int, int]:
    if not bundle:
        return _VGG16[:2]
    try:
        spec = read_spec(bundle)
    except (InputError, OSError) as error:
        raise InputError(f"--encoder: {error}") from error
    return spec.height, spec.width


def _encoders(
    bundle: str,
    engine: EngineName,
    trust: bool,
    custom_objects: Sequence[str],
    computes_on_gpu: bool,
) -> Iterator[Encoder]:
    import keras

    import encoder

    if bundle:
        try:
            yield encoder.load(bundle, trust=trust, custom_objects=custom_objects, engine=engine)
        except (InputError, OSError) as error:
            raise InputError(f"--encoder: {error}") from error
        return
    from encoder.bundle import with_keras

    network = encoder.vgg16_encoder_decoder(_VGG16)
    with tempfile.TemporaryDirectory() as folder:
        made = encoder.extract(network, folder, layer="pool_5", preprocess="caffe")
    made.spec = made.spec.replace(source="VGG16")
    if engine != "keras" and made.engine.name == "ncnn":
        yield made
    if engine != "ncnn":
        more = ("float16", "tf32") if computes_on_gpu else ()
        for precision in ("float32", "bfloat16", *more):
            spec = made.spec.replace(precision=precision)
            yield with_keras(keras.models.clone_model(made.model), spec)
