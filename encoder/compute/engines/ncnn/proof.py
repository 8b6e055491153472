"""Compute the vectors of test images with a compiled form, in a process of its own.

``python -m encoder.compute.engines.ncnn.proof FOLDER``: a library that fails on a network may end
its process, and that should not be the one of ``extract``.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys

import numpy as np
from numpy.typing import NDArray

from encoder.compute.engines.ncnn.engine import NcnnEngine
from encoder.compute.engines.ncnn.form import BIN_FILE, PARAM_FILE
from encoder.spec import SPEC_FILE, EncoderSpec

_IMAGES, _VECTORS = "images.npy", "vectors.npy"
_LONGEST = 600  # seconds


def vectors_of(
    folder: str, param: bytes, weights: bytes, spec: EncoderSpec, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """The vectors (n, dim) of images (n, height, width, channels).

    Args:
        folder: an empty one.
        param, weights: the contents of the two files.
        spec: the encoder's spec.
        images: uint8.

    Raises:
        RuntimeError: ncnn failed, or ended its process.
    """
    place = pathlib.Path(folder)
    (place / PARAM_FILE).write_bytes(param)
    (place / BIN_FILE).write_bytes(weights)
    (place / SPEC_FILE).write_text(spec.to_json())
    np.save(place / _IMAGES, images)
    command = [sys.executable, "-m", __name__, folder]
    root = pathlib.Path(__file__).parents[4]
    try:
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=False, timeout=_LONGEST
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"it took longer than {_LONGEST} seconds") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise RuntimeError(f"its process ended with {done.returncode}: {last}")
    found: NDArray[np.float32] = np.load(place / _VECTORS)
    return found


def main(folder: str) -> None:
    """Read what vectors_of has written, and write the vectors."""
    place = pathlib.Path(folder)
    spec = EncoderSpec.from_json((place / SPEC_FILE).read_text())
    files = ((place / PARAM_FILE).read_bytes(), (place / BIN_FILE).read_bytes())
    engine = NcnnEngine(*files, spec)
    np.save(place / _VECTORS, engine.copies[0](np.load(place / _IMAGES))())


if __name__ == "__main__":
    main(sys.argv[1])
