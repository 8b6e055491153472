"""How fast a GPU embeds: the compiled encoder alone, the whole job, and PyTorch.

Needs the repository, its dependencies and a Keras backend that can use the GPU. JAX is the smaller
download (``pip install "jax[cuda12]"``) and needs no TensorFlow:

    KERAS_BACKEND=jax python -m benchmarks.gpu --json gpu.json --torch-python PYTHON-WITH-TORCH

The photographs are generated, in the usual size of ImageNet's. VGG16's weights are random unless
--weights names a file. Neither changes the amount of computation.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.throughput import JPEG_SIZE, be_quiet, job_seconds
from pipeline.cli.doctor import images_per_second
from pipeline.options import GPU_BATCH_SIZE

FLOP_AT_224 = 30.7e9  # of VGG16's convolutions for an image of 224x224
# What NVIDIA states for dense matrices, in TFLOP/s: float32, TF32, 16 bits.
PEAKS = {
    "H200": (67, 495, 989),
    "H100": (67, 495, 989),
    "A100": (19.5, 156, 312),
    "L4": (30.3, 60, 121),
    "T4": (8.1, 8.1, 65),
}
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
COMPARED = 32  # photographs, with the CPU


def main() -> None:
    """Print tables, and write all numbers as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="of VGG16 trained on ImageNet; default: random ones")
    parser.add_argument("--images", type=int, default=20_000, help="of the larger job")
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[16, 32, 64, 128, 256])
    parser.add_argument("--precisions", nargs="*", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--torch-python", help="a Python that has torch, for its program")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--reference", nargs=2, help=argparse.SUPPRESS)  # see cosines
    options = parser.parse_args()
    be_quiet()
    if options.reference:
        embed_to_file(*options.reference, options.batch_sizes[0])
        return
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        base = pathlib.Path(name)
        bundles = make_bundles(base, options)
        found |= describe(bundles["float32"])
        print(json.dumps(found), flush=True)
        make_photos(base / "small", min(2_000, options.images // 4))
        make_photos(base / "large", options.images)
        found["forward"] = [
            forward(bundles[precision], batch_size, found["device"])
            for precision in options.precisions
            for batch_size in options.batch_sizes
        ]
        found["cosines"] = cosines(base, bundles, options)
        found["jobs"] = [
            whole_job(base, bundles[precision], precision, found["forward"])
            for precision in options.precisions
        ]
        if options.torch_python:
            found["torch"] = [
                torch_program(options.torch_python, base / "large", options, precision)
                for precision in options.precisions
            ]
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def make_bundles(base: pathlib.Path, options: argparse.Namespace) -> dict[str, str]:
    """Make one bundle for each precision, all with the same weights."""
    import encoder

    if options.weights:
        network, layer = encoder.vgg16_imagenet(options.weights), "block5_pool"
    else:
        network, layer = encoder.vgg16_encoder_decoder((options.size, options.size, 3)), "pool_5"
    bundles = {}
    for precision in dict.fromkeys(("float32", *options.precisions)):
        bundles[precision] = str(base / precision)
        encoder.extract(
            *(network, bundles[precision]),
            layer=layer,
            preprocess="caffe",
            precision=precision,
        )
    return bundles


def describe(bundle: str) -> dict[str, str]:
    """The device, its driver and the library that uses it."""
    import encoder
    from encoder.compute.engines.keras.registry import backend

    loaded = encoder.load(bundle)
    return {"device": loaded.devices[0].name, "backend": f"{backend().name} {backend().version}"}


def make_photos(folder: pathlib.Path, count: int) -> None:
    """Write JPEG files with as much detail as photographs: a sum of noise of several sizes."""
    folder.mkdir()
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with a backend may hang
    with ProcessPoolExecutor(mp_context=spawn) as pool:
        list(pool.map(make_photo, (folder / f"{n:06}.jpg" for n in range(count)), chunksize=100))


def make_photo(path: pathlib.Path) -> None:
    """Write one file. Its content depends on its name."""
    rng = np.random.default_rng(int(path.stem))
    width, height = JPEG_SIZE
    pixels = np.zeros((height, width, 3), np.float32)
    for side, strength in ((4, 0.5), (16, 0.25), (64, 0.15), (250, 0.1)):
        coarse = rng.integers(0, 256, (side * height // width, side, 3), np.uint8)
        pixels += strength * np.asarray(Image.fromarray(coarse).resize(JPEG_SIZE), np.float32)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)


def forward(bundle: str, batch_size: int, device: str) -> dict[str, Any]:
    """Measure the compiled encoder alone: from pixels in memory to vectors in memory."""
    import encoder

    loaded = encoder.load(bundle)
    rate = images_per_second(loaded, batch_size)
    spec = loaded.spec
    flop = FLOP_AT_224 * spec.height * spec.width / 224**2
    peaks = next((values for name, values in PEAKS.items() if name in device), None)
    peak = peaks[{"float32": 0, "tf32": 1}.get(spec.precision, 2)] if peaks else None
    share = rate * flop / (peak * 1e12) if peak else None
    print(
        f"forward   {spec.precision:8} batch {batch_size:3}  {rate:9.1f} images/s  "
        f"{rate * flop / 1e12:6.1f} TFLOP/s  {'' if share is None else f'{share:.0%} of the peak'}",
        flush=True,
    )
    return {
        "precision": spec.precision,
        "batch_size": batch_size,
        "images_per_second": rate,
        "share_of_peak": share,
    }


def cosines(
    base: pathlib.Path, bundles: dict[str, str], options: argparse.Namespace
) -> dict[str, float]:
    """The lowest cosine of each precision to float32 on the CPU of another process."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--batch-sizes", "8"]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    expected = base / "expected.npy"
    photos = base / "compared"
    make_photos(photos, COMPARED)
    words = ["--reference", bundles["float32"], str(expected)]
    subprocess.run([*command, *words], check=True, env=hidden)
    vectors = np.load(expected)
    lowest = {}
    for precision in options.precisions:
        found = embedded(bundles[precision], photos, options.batch_sizes[0])
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(vectors, axis=1)
        lowest[precision] = float(((found * vectors).sum(1) / lengths).min())
        print(f"cosine    {precision:8} to float32 on the CPU: {lowest[precision]:.7f} or more")
    return lowest


def embed_to_file(bundle: str, path: str, batch_size: int) -> None:
    """Embed in the process that uses the CPU, and write the vectors to a file."""
    np.save(path, embedded(bundle, pathlib.Path(path).parent / "compared", batch_size))


def embedded(bundle: str, photos: pathlib.Path, batch_size: int) -> np.ndarray:
    """The vectors of all photographs in a folder, by file name."""
    import encoder

    loaded = encoder.load(bundle)
    pixels = np.stack([loaded.decode(path.read_bytes()) for path in sorted(photos.iterdir())])
    return loaded.embed(pixels, batch_size)


def whole_job(
    base: pathlib.Path, bundle: str, precision: str, forwards: list[dict[str, Any]]
) -> dict[str, Any]:
    """Measure the job in steady state: two sizes, whose difference contains no start-up time."""
    seconds, counts = {}, {}
    for name in ("small", "large"):
        counts[name] = len(list((base / name).iterdir()))
        output = base / f"out-{precision}-{name}"
        seconds[name] = job_seconds(base / name, bundle, output, GPU_BATCH_SIZE)
    rate = (counts["large"] - counts["small"]) / (seconds["large"] - seconds["small"])
    alone = [
        each["images_per_second"]
        for each in forwards
        if (each["precision"], each["batch_size"]) == (precision, GPU_BATCH_SIZE)
    ]
    ratio = rate / alone[0] if alone else None
    said = "" if ratio is None else f"{ratio:.2f} of forward-only at batch {GPU_BATCH_SIZE}"
    print(f"whole job {precision:8} {rate:9.1f} images/s  {said}", flush=True)
    return {"precision": precision, "images_per_second": rate, "of_forward": ratio}


def torch_program(
    python: str, photos: pathlib.Path, options: argparse.Namespace, precision: str
) -> dict[str, Any]:
    """A program with DataLoader and torch.compile, which prints its own rate in steady state."""
    words = [str(photos), str(options.size), precision]
    command = [python, "-m", "benchmarks.peers.torch_gpu", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rate = float(done.stdout.split()[-1])
    print(f"PyTorch   {precision:8} {rate:9.1f} images/s", flush=True)
    return {"precision": precision, "images_per_second": rate}


if __name__ == "__main__":
    main()
