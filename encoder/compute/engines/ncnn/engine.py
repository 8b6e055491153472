"""Run the compiled form of an encoder."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.base import Device, Engine, Fetch
from encoder.compute.engines.ncnn.check import check_form
from encoder.compute.engines.ncnn.form import INPUT, output_name
from encoder.compute.machine import cpu_name, images_at_once
from encoder.errors import InputError
from encoder.network.pool_numpy import pool_numpy
from encoder.network.preprocess import preprocess_numpy
from encoder.spec import EncoderSpec

# ncnn takes 16 bits where the CPU has them, unless it is told not to.
_WITH_16_BITS = (
    *("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"),
    *("use_bf16_packed", "use_bf16_storage", "use_int8_inference"),
)


def version() -> str:
    """The version of ncnn.

    Raises:
        InputError: it is not installed, or does not work on this machine.
    """
    try:
        import ncnn
    except ImportError as error:
        raise InputError(
            f"--engine ncnn: the package ncnn can't be imported ({error}); install it with 'pip "
            "install ncnn', or compute with --engine keras"
        ) from error
    return str(ncnn.__version__)


class NcnnEngine(Engine):
    """A compiled form, on the cores of this machine.

    Each image is computed by itself and by one thread, so that its vector does not depend on other
    images, nor on the number of cores: several threads would add up in another order.

    Args:
        param, weights: the contents of the two files.
        spec: the encoder's spec.

    Raises:
        InputError: ncnn is not installed, or the files are no compiled form.
    """

    name, fixed_shapes, depends_on_batch = "ncnn", False, False

    def __init__(self, param: bytes, weights: bytes, spec: EncoderSpec) -> None:
        check_form(param, weights)
        self.software = f"ncnn {version()}"
        import ncnn

        self._ncnn = ncnn
        self._spec = spec
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = 1
        options.use_vulkan_compute = False
        for name in _WITH_16_BITS:
            setattr(options, name, False)
        # Without pools, every layer gets its memory from the system anew, and threads wait there.
        self._pools = (ncnn.PoolAllocator(), ncnn.PoolAllocator())
        options.blob_allocator, options.workspace_allocator = self._pools
        self._weights = weights  # ncnn reads them where they are
        if self._net.load_param_mem(param.decode()):
            raise InputError(f"{self.software} can't load the compiled form; use --engine keras")
        self._net.load_model_mem(weights)
        at_once = images_at_once(spec.height, spec.width)
        self.devices = [Device(False, cpu_name(), calls=at_once)]
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="compute")
        self.copies = [self._begin]

    def __del__(self) -> None:
        # Some layers have their weights in the pools, which must not go first.
        if (net := getattr(self, "_net", None)) is not None:
            net.clear()

    def _begin(self, images: NDArray[np.uint8]) -> Fetch:
        running = [self._threads.submit(self._vector, image) for image in images]
        return lambda: _joined(running, self._spec.dim)

    def _vector(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The embedding (dim,) of an image (height, width, channels)."""
        spec = self._spec
        maps = [each[np.newaxis] for each in self.maps(image)]
        vectors = pool_numpy(maps, spec.pooling, spec.normalize, spec.gem_p)
        return np.asarray(vectors[0], np.float32)

    def maps(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The feature maps of the taps (height, width, channels), of one image."""
        pixels = preprocess_numpy(image, self._spec.preprocess)
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        extractor = self._net.create_extractor()
        # A copy: a first layer that works in place would end the process on memory of NumPy's.
        failed = extractor.input(INPUT, self._ncnn.Mat(planes).clone())
        found = []
        for number in range(len(self._spec.layers)):
            failed, values = (failed, None) if failed else extractor.extract(output_name(number))
            if failed:
                raise MemoryError(f"ncnn failed with {failed}: there is not enough memory")
            each: NDArray[np.float32] = np.array(values)
            found.append(each.transpose(1, 2, 0) if each.ndim == 3 else each)
        return found

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, MemoryError)

    def gpu_advice(self) -> str:
        return "ncnn computes on CPUs: --engine keras can use it"


def _joined(running: list[Future[NDArray[np.float32]]], dim: int) -> NDArray[np.float32]:
    vectors = [each.result() for each in running]
    return np.stack(vectors) if vectors else np.empty((0, dim), np.float32)
