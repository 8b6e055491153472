"""The bits of a vector don't depend on other images in the batch or on parallel calls."""

import re
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import encoder
from encoder.compute import runtime
from encoder.compute.engines.base import Device
from encoder.compute.engines.keras.registry import backend
from encoder.compute.engines.keras.tensorflow import _side_by_side
from encoder.compute.machine import CPU_CALL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    keras.utils.set_random_seed(1)
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
    folder = tmp_path_factory.mktemp("vgg16")
    encoder.extract(model, folder)
    return folder


@pytest.fixture(scope="module", params=["keras", "ncnn"])
def vgg16(request, bundle):
    return encoder.load(bundle, engine=request.param)


@pytest.fixture(scope="module")
def images():
    # Eigen's convolutions gave other values for the last rows of the last image of two or eight.
    return np.random.default_rng(1).integers(0, 256, (11, 224, 224, 3), np.uint8)


@pytest.fixture(scope="module")
def vectors(vgg16, images):
    made = vgg16.embed(images, 8)
    assert made.std() > 0
    return made


@pytest.mark.parametrize("batch_size", [9, 32])
def test_the_size_of_batches_does_not_matter(vgg16, images, vectors, batch_size):
    np.testing.assert_array_equal(vgg16.embed(images, batch_size), vectors)


@pytest.mark.parametrize("order", [[10], [7, 0], [*range(10, -1, -1)], [3, 3, 9]])
def test_company_and_place_do_not_matter(vgg16, images, vectors, order):
    np.testing.assert_array_equal(vgg16.embed(images[order], 8), vectors[order])


@pytest.mark.long
def test_calls_side_by_side_give_the_same_bits(bundle, vgg16, images, vectors, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")
    monkeypatch.setattr("encoder.compute.engines.keras.tensorflow.usable_cores", lambda: 3)
    monkeypatch.setattr("encoder.compute.machine.usable_cores", lambda: 3)
    made = encoder.load(bundle, engine=vgg16.engine.name)
    assert made.devices[0].calls == 3
    np.testing.assert_array_equal(made.embed(images[[*range(11)] * 3], 8), np.tile(vectors, (3, 1)))


@pytest.mark.parametrize(("threads", "calls"), [("1", 4), ("2", 1), ("8", 1), ("0", 1)])
def test_a_call_for_each_core_where_it_has_one_thread(monkeypatch, threads, calls):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", threads)
    monkeypatch.setattr("encoder.compute.engines.keras.tensorflow.usable_cores", lambda: 4)
    assert backend().devices()[0].calls == calls


def test_calls_run_at_the_same_time_but_not_more_of_them():
    together, running, most = threading.Barrier(3, timeout=60), [], []

    def compute(images):
        def fetch():
            running.append(1)
            together.wait()  # returns only when three threads wait
            most.append(len(running))
            together.wait()
            running.pop()
            return images

        return fetch

    begin = _side_by_side(compute, 3)
    fetches = [begin(np.array([number])) for number in range(6)]
    assert [fetch()[0] for fetch in fetches] == [0, 1, 2, 3, 4, 5]
    assert max(most) == 3


def test_an_error_of_a_call_side_by_side_is_told():
    def compute(images):
        raise MemoryError("too little")

    with pytest.raises(MemoryError, match="too little"):
        _side_by_side(compute, 2)(np.array([0]))()


@pytest.fixture
def small(small_bundle):
    """A small encoder, and a list of the batch sizes that its model was called with."""
    made, sizes = encoder.load(small_bundle, engine="keras"), []
    (compute,) = made.engine.copies

    def counting(call):
        sizes.append(len(call))
        return compute(call)

    made.engine.copies = [counting]
    return made, sizes


def blank(spec, count):
    return np.zeros((count, spec.height, spec.width, spec.channels), np.uint8)


def test_calls_have_one_size(small, monkeypatch):
    made, sizes = small
    monkeypatch.setattr(made, "_most", 4)
    images = blank(made.spec, 9)
    assert made.embed(images, 32).shape == (9, made.spec.dim)
    assert made.embed(images, 3).shape == (9, made.spec.dim)
    assert made.embed(images).shape == (9, made.spec.dim)
    assert made.embed(images[:0], 4).shape == (0, made.spec.dim)
    assert sizes == [4, 4, 4, 3, 3, 3, 4, 4, 1]


def test_a_cpu_computes_few_images_at_once(small_bundle):
    assert encoder.load(small_bundle)._most == CPU_CALL


@pytest.mark.parametrize(
    ("late", "batch_size"), [(False, 64), (True, 64), (False, 4), (True, None)]
)
def test_a_device_without_enough_memory_gets_half_as_many(small, caplog, late, batch_size):
    """The lack is noticed when a call begins, or when its vectors are fetched."""
    made, sizes = small
    images = np.random.default_rng(2).integers(0, 256, (9, 32, 32, 3), np.uint8)
    expected = made.embed(images, 2)
    (compute,) = made.engine.copies

    def scarce(call):
        def fail():
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

        if len(call) <= 2:
            return compute(call)
        return fail if late else fail()

    made.engine.copies = [scarce]
    sizes.clear()
    found = made.embed(images, batch_size)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert sizes[-5:] == ([2] * 5 if batch_size else [2, 2, 2, 2, 1])
    assert [record.getMessage() for record in caplog.records] == [
        f"{made.devices[0].name} has not enough memory for {size} images at once: "
        f"it gets {size // 2} from now on"
        for size in ((4,) if batch_size == 4 else (8, 4))
    ]
    caplog.clear()
    made.embed(images, 64)
    assert not caplog.records  # the batch size stays small


def test_other_errors_are_not_taken_for_a_lack_of_memory(small):
    made, _ = small

    def broken(call):
        raise tf.errors.InvalidArgumentError(None, None, "no such shape")

    made.engine.copies = [broken]
    with pytest.raises(tf.errors.InvalidArgumentError):
        made.embed(blank(made.spec, 3))
    assert made._most == CPU_CALL


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("tf32", True)])
def test_tf32_is_on_only_where_it_was_asked_for(small_model_file, tmp_path, precision, allowed):
    encoder.extract(small_model_file, tmp_path, precision=precision)
    made = encoder.load(tmp_path, engine="keras")
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    try:
        tf.config.experimental.enable_tensor_float_32_execution(not allowed)
        made.embed(blank(made.spec, 1))
        assert enabled() == allowed
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)


def test_what_it_computes_on(small, monkeypatch):
    made, _ = small
    monkeypatch.setattr(runtime, "nvidia_gpus", list)
    monkeypatch.setattr(runtime, "gpus_without_driver", lambda: 0)
    assert made.computes_on.endswith(", float32); there is no GPU")
    monkeypatch.setattr(runtime, "nvidia_gpus", lambda: ["NVIDIA L4"])
    assert "there is a GPU, NVIDIA L4, but TensorFlow can't use it: see" in made.computes_on
    monkeypatch.setattr(runtime, "gpus_without_driver", lambda: 1)
    assert made.computes_on.endswith("; there is a GPU, but its driver is not loaded")
    made.devices = [Device(True, "NVIDIA L4", each) for each in "ab"]
    assert re.fullmatch(r"2 x NVIDIA L4 \(TensorFlow [\d.]+, float32\)", made.computes_on)


def test_a_driver_that_cannot_be_talked_to_leaves_the_cpu(monkeypatch):
    """TensorFlow lists the GPU, and the first use of it fails."""
    listed = tf.config.list_logical_devices
    hidden = []

    def fail(kind):
        if kind == "GPU":
            raise tf.errors.InternalError(None, None, "cudaGetDevice() failed")
        return listed(kind)

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: None)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {})
    monkeypatch.setattr(tf.config, "list_logical_devices", fail)
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *what: hidden.append(what))
    assert not any(device.is_gpu for device in backend().devices())
    assert hidden == [([], "GPU")]


def test_gpus_are_named_and_take_memory_as_they_need_it(monkeypatch):
    growing = []
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["one", "two"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *a: growing.append(a))
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda gpu: {"device_name": f"NVIDIA {gpu}"}
    )
    logical = [tf.config.LogicalDevice(f"/GPU:{number}", "GPU") for number in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: logical)
    found = backend().devices()
    assert [(device.is_gpu, device.name) for device in found] == [
        (True, "NVIDIA one"),
        (True, "NVIDIA two"),
    ]
    assert growing == [("one", True), ("two", True)]
