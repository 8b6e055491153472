"""Fixtures of several test modules: small real models, bundles, photographs, a bucket."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

from encoder.compute.keras_setup import import_keras

import_keras()  # first, with the settings that the commands use

import keras
import numpy as np
import pytest
import requests
from PIL import Image

import encoder
from encoder.storage import base as storage
from encoder.storage.gcs import client as gcs_client_module
from encoder.storage.gcs.client import gcs_client
from examples.real_data import packaged_vgg16_weights, photographs
from tests.support.dataset import Dataset
from tests.support.gcs.server import serving


@pytest.fixture(autouse=True)
def _logs_are_as_before() -> Iterator[None]:
    """Commands silence all logs of their process."""
    before = logging.root.manager.disable
    yield
    logging.disable(before)


@pytest.fixture(autouse=True)
def _budgets_are_given_back() -> Iterator[None]:
    """Runs share the budgets of their process: each has to give back all that it took."""
    yield
    module = sys.modules.get("pipeline.embedding.read_ahead")
    if module is None:
        return
    budgets = [
        module._shared_budget("bytes", module.BYTES_HELD),
        module._shared_budget("pixels", module.PIXELS_PER_CORE * module.usable_cores()),
    ]
    deadline = time.monotonic() + 10
    while any(budget._held for budget in budgets) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [budget._held for budget in budgets] == [0, 0]


def small_network(seed: int = 1, channels: int = 3) -> keras.Model:
    """An encoder-decoder like the reference network, small enough for any machine."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((32, 32, channels), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv1")(x)
    x = keras.layers.MaxPooling2D(name="pool1")(x)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="conv2")(x)
    x = keras.layers.MaxPooling2D(name="pool2")(x)
    x = keras.layers.UpSampling2D(4, name="up")(x)
    x = keras.layers.Conv2D(channels, 3, padding="same", name="out")(x)
    return keras.Model(inputs, x, name="small")


def write_image(path: pathlib.Path, seed: int, size: tuple[int, int] = (40, 30)) -> pathlib.Path:
    """Write an image that depends on the seed, as JPEG or PNG depending on the name."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(size).save(path)
    return path


@pytest.fixture(scope="session")
def small_model_file(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("model") / "small.keras"
    small_network().save(path)
    return path


@pytest.fixture(scope="session")
def small_bundle(
    small_model_file: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("bundle")
    encoder.extract(small_model_file, folder, preprocess="unit")
    return folder


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("photos")
    photographs(folder)
    return folder


@pytest.fixture(scope="session")
def vgg16_weights() -> pathlib.Path:
    """The weights of the demo, made once per checkout."""
    return packaged_vgg16_weights(pathlib.Path(__file__).parents[1] / ".cache")


@pytest.fixture(scope="session")
def vgg16_bundle(
    vgg16_weights: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("vgg16")
    model = encoder.vgg16_imagenet(vgg16_weights)
    encoder.extract(model, folder, layer="block5_pool", preprocess="caffe")
    return folder


@pytest.fixture
def images(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with five images."""
    folder = tmp_path / "images"
    for seed in range(5):
        write_image(folder / f"{'ab'[seed % 2]}" / f"{seed}.{'jpg' if seed < 3 else 'png'}", seed)
    return folder


@pytest.fixture
def dataset(tmp_path: pathlib.Path, small_bundle: pathlib.Path, capsys) -> Dataset:
    """An empty dataset, whose runs use the small encoder."""
    return Dataset(tmp_path / "out", small_bundle, tmp_path, capsys)


@pytest.fixture(scope="session")
def emulator():
    """The address of an object store that runs in its own process on 127.0.0.1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = ("start", "--host", "127.0.0.1", "--port", port, "--in-memory", "--quiet")
    server = subprocess.Popen([sys.executable, "-m", "gcp_storage_emulator", *words])
    address = f"http://127.0.0.1:{port}"
    for _ in range(100):
        with contextlib.suppress(requests.ConnectionError):
            requests.get(address, timeout=1)
            break
        time.sleep(0.1)
    yield address
    server.terminate()
    server.wait(10)


@pytest.fixture
def bucket(emulator: str, buckets_at):
    """The gs:// address of an empty bucket in the emulator."""
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    requests.post(f"{emulator}/storage/v1/b", json={"name": name}, timeout=5).raise_for_status()
    buckets_at(emulator)
    return f"gs://{name}"


@pytest.fixture
def buckets_at(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    """Point gs:// to a server on this machine, for this process and the processes it starts."""
    credentials = tmp_path / "credentials.json"  # Beam asks for one
    credentials.write_text(
        '{"type": "authorized_user", "client_id": "x", "client_secret": "x", "refresh_token": "x", '
        '"token": "x", "expiry": "2099-01-01T00:00:00"}'  # never renewed, which needs the network
    )

    def set_address(address: str) -> None:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
        monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        gcs_client.cache_clear()

    yield set_address
    gcs_client.cache_clear()
    storage.configure(storage.StorageSettings())


@pytest.fixture
def gcs(buckets_at, monkeypatch: pytest.MonkeyPatch):
    """A server that follows GCS's rules and fails on demand. It has gs://bucket."""
    monkeypatch.setattr(gcs_client_module, "_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(gcs_client_module, "_UPLOAD_SECONDS", 0.5)
    with serving("bucket") as server:
        buckets_at(server.address)
        yield server
