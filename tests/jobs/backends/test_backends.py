"""The same bundle, computed by TensorFlow in this process and by JAX in others."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pyarrow.dataset as ds
import pytest

import encoder
from tests.conftest import small_network
from tests.jobs.backends.conftest import ROOT

JAX = {"KERAS_BACKEND": "jax"}


def cosines(one, two):
    one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return (one * two).sum(1) / lengths


@pytest.fixture(scope="module")
def photos(photo_folder):
    return sorted(photo_folder.iterdir())[:5]


def of_vgg16(folder, weights):
    network = encoder.vgg16_imagenet(weights)
    return encoder.extract(network, folder, layer="block5_pool", preprocess="caffe")


def of_small(folder, **options):
    keras.utils.set_random_seed(5)
    return encoder.extract(small_network(), folder, **options)


@pytest.mark.long
def test_the_same_vectors(tmp_path, vgg16_weights, photos, in_process):
    """With all modes of preprocessing and pooling, several taps, and VGG16 on photographs."""
    made = {
        "vgg16": of_vgg16(tmp_path / "vgg16", vgg16_weights),
        "gem": of_small(tmp_path / "gem", pooling="gem", preprocess="torch", normalize=True),
        "taps": of_small(tmp_path / "taps", layer="conv1,conv2", pooling="max", preprocess="tf"),
        "flat": of_small(tmp_path / "flat", pooling="flatten", preprocess="unit"),
        "half": of_small(tmp_path / "half", precision="bfloat16"),
    }
    in_float32 = of_small(tmp_path / "in float32")
    expected = {}
    for name, each in made.items():
        pixels = np.stack([each.decode(photo.read_bytes()) for photo in photos])
        np.save(tmp_path / f"{name}.npy", pixels)
        expected[name] = (in_float32 if name == "half" else each).embed(pixels)
    found = in_process(
        f"""
found = {{}}
for name in {list(made)}:
    loaded = encoder.load({str(tmp_path)!r} + "/" + name)
    pixels = np.load({str(tmp_path)!r} + "/" + name + ".npy")
    found[name] = loaded.embed(pixels).tolist()
    assert found[name] == loaded.embed(pixels, 8).tolist()  # five are computed as eight, too
    found["on"] = loaded.computes_on
found["tensorflow"] = "tensorflow" in sys.modules
""",
        **JAX,
    )
    assert not found["tensorflow"]  # TensorFlow need not be installed
    assert "JAX" in found["on"]
    for name, vectors in expected.items():
        assert cosines(vectors, found[name]).min() >= (0.999 if name == "half" else 0.9999), name


def test_a_whole_run(tmp_path, small_bundle, images):
    rows = {}
    for backend in ("tensorflow", "jax"):
        words = ["--input", images, "--encoder", small_bundle, "--output", tmp_path / backend]
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "run", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "KERAS_BACKEND": backend},
        )
        assert done.returncode == 0, done.stderr
        (record,) = (tmp_path / backend / "runs").glob("*.json")
        (computed_on,) = json.loads(record.read_text())["computed_on"]
        assert f"the encoder computes on {computed_on}" in done.stdout
        assert ("JAX" in computed_on) == (backend == "jax")
        table = ds.dataset(tmp_path / backend / "embeddings").to_table().sort_by("uri")
        rows[backend] = table["embedding"].to_pylist()
    assert cosines(rows["tensorflow"], rows["jax"]).min() >= 0.9999


def test_a_bundle_made_by_jax(tmp_path, small_model_file, images, in_process):
    found = in_process(
        f"""
made = encoder.extract({str(small_model_file)!r}, {str(tmp_path / "b")!r}, preprocess="unit")
found = {{"id": made.spec.id, "versions": list(made.spec.versions)}}
""",
        **JAX,
    )
    loaded = encoder.load(tmp_path / "b")
    assert loaded.spec.id == found["id"]
    same = encoder.extract(small_model_file, tmp_path / "c", preprocess="unit")
    assert same.spec.id == found["id"]
    assert found["versions"] == ["keras", "jax"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("environment", "prepare"),
    [
        ({**JAX, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}, ""),
        (
            {"KERAS_BACKEND": "tensorflow"},
            "import tensorflow as tf\n"
            "tf.config.set_logical_device_configuration(tf.config.list_physical_devices('CPU')[0],"
            " [tf.config.LogicalDeviceConfiguration()] * 2)",
        ),
    ],
    ids=["jax", "tensorflow"],
)
def test_several_devices_take_turns(small_bundle, in_process, environment, prepare):
    found = in_process(
        f"""
{prepare}
loaded = encoder.load({str(small_bundle)!r})
pixels = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), np.uint8)
calls = [0, 0]
def counting(place):
    compute = loaded._copies[place]
    def count(images):
        calls[place] += 1
        return compute(images)
    return count
loaded._copies = [counting(0), counting(1)]
vectors = loaded.embed(pixels, 8)
one = np.concatenate([loaded._copies[0](pixels[n : n + 8])() for n in range(0, 40, 8)])
found = {{
    "devices": len({{str(device.handle) for device in loaded.devices}}),
    "calls": calls,
    "same": bool((vectors == one).all()),
    "on": loaded.computes_on,
}}
""",
        **environment,
    )
    assert found["devices"] == 2
    assert found["calls"] == [3 + 5, 2]
    assert found["same"]
    assert found["on"].startswith("2 x ")


@pytest.mark.long
def test_jax_is_told_how_exactly_to_multiply(tmp_path, in_process):
    """Without a setting, a GPU multiplies float32 as TF32."""
    stated = {"float32": "HIGHEST", "tf32": "HIGH", "bfloat16": "DEFAULT"}
    for precision in stated:
        of_small(tmp_path / precision, precision=precision)
    found = in_process(
        f"""
import re, jax
pixels = np.zeros((8, 32, 32, 3), np.uint8)
seen = []
real = jax.jit
jax.jit = lambda function: seen.append(function) or real(function)
found = {{}}
for precision in {list(stated)}:
    model = encoder.load({str(tmp_path)!r} + "/" + precision).model
    weights = [[variable.value for variable in variables]
               for variables in (model.trainable_variables, model.non_trainable_variables)]
    program = str(jax.make_jaxpr(seen[-1])(weights, pixels))
    found[precision] = sorted(set(re.findall(r"precision=.*?Precision.(\\w+)", program)))
""",
        **JAX,
    )
    assert found == {precision: [value] for precision, value in stated.items()}


def test_operations_of_tensorflow_are_refused_by_jax(in_process):
    found = in_process(
        """
from encoder.model_files.configs.keras2 import TensorFlowOperation
try:
    TensorFlowOperation("math.truediv", '[{"__tensor__": 0}, {"y": 255}]')(np.ones((1, 2)))
except encoder.InputError as error:
    found = str(error)
""",
        **JAX,
    )
    assert "KERAS_BACKEND is 'jax'" in found


def test_another_backend_is_refused(monkeypatch):
    from encoder.compute.engines.keras import registry

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(encoder.InputError, match="KERAS_BACKEND is 'torch'; expected one of"):
        registry.backend.__wrapped__()
