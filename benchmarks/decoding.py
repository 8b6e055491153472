"""What ``--decode fast`` changes: milliseconds per photograph, and the vectors.

The large photographs are real ones, enlarged. These are smooth and compress well. So each size is
measured once more with noise like that of a camera's sensor.

    python -m benchmarks.decoding --weights .cache/vgg16-imagenet.weights.h5
"""

from __future__ import annotations

import argparse
import io
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from encoder.compute.keras_setup import import_keras
from encoder.images.decode import decode_image
from encoder.spec import DECODES, EncoderSpec
from examples.real_data import photographs

SIZES = {"12 MP": (4000, 3000), "24 MP": (6000, 4000)}
NOISE = 6  # levels, standard deviation


def main() -> None:
    """Print times of both ways, rates on all cores and cosines for each kind of photograph."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="of VGG16's convolutions")
    parser.add_argument("--images", type=int, default=12, help="of each size")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    import_keras()
    import encoder

    cores = len(os.sched_getaffinity(0))
    table = Table(
        *("photographs", "MB each", "exact, ms", "fast, ms", "ratio"),
        *(f"exact/s, {cores} threads", f"fast/s, {cores} threads", "ratio", "scaling"),
        *("cosine, lowest", "mean"),
    )
    with tempfile.TemporaryDirectory() as folder:
        made = {
            decode: encoder.extract(
                encoder.vgg16_imagenet(options.weights),
                pathlib.Path(folder) / decode,
                layer="block5_pool",
                preprocess="caffe",
                decode=decode,
            )
            for decode in DECODES
        }
        for name, files in collections(pathlib.Path(folder) / "photos", options.images):
            table.add_row(name, *row(files, made, cores, options.rounds))
    Console(width=160).print(table)


def collections(folder: pathlib.Path, count: int) -> Iterable[tuple[str, list[bytes]]]:
    """JPEG files of quality 90 (4:2:0), by kind of photograph."""
    photos = [Image.open(path).convert("RGB") for path in photographs(folder)]
    yield "as they are", [jpeg(photo) for photo in photos]
    for name, size in SIZES.items():
        large = [photo.resize(size, Image.Resampling.LANCZOS) for photo in photos[:count]]
        yield f"{name}, enlarged", [jpeg(photo) for photo in large]
        yield f"{name}, with noise", [jpeg(noisy(photo, seed)) for seed, photo in enumerate(large)]


def jpeg(image: Image.Image) -> bytes:
    """The image as the bytes of a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, subsampling="4:2:0")
    return buffer.getvalue()


def noisy(image: Image.Image, seed: int) -> Image.Image:
    """The image with independent noise in every pixel and channel."""
    noise = np.random.default_rng(seed).standard_normal((*image.size[::-1], 3), np.float32)
    return Image.fromarray((np.asarray(image) + NOISE * noise).clip(0, 255).astype(np.uint8))


def row(files: list[bytes], made: dict[str, Any], cores: int, rounds: int) -> list[str]:
    """One line of the table. Exact and fast decoding are measured in turns."""
    alone: dict[str, list[float]] = {decode: [] for decode in DECODES}
    together: dict[str, list[float]] = {decode: [] for decode in DECODES}
    for _ in range(rounds):
        for decode in DECODES:
            alone[decode].append(seconds(files, made[decode].spec, 1))
            together[decode].append(seconds(files, made[decode].spec, cores))
    exact, fast = (1000 * statistics.median(alone[decode]) / len(files) for decode in DECODES)
    rates = [len(files) / statistics.median(together[decode]) for decode in DECODES]
    scaling = statistics.median(
        one / all_ for d in DECODES for one, all_ in zip(alone[d], together[d], strict=True)
    )
    lowest, mean = cosines(files, made)
    return [
        f"{sum(map(len, files)) / len(files) / 1e6:.1f}",
        *(f"{exact:.1f}", f"{fast:.1f}", f"{ratio(alone):.2f}"),
        *(f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"{ratio(together):.2f}", f"{scaling:.2f}"),
        *(f"{lowest:.6f}", f"{mean:.6f}"),
    ]


def seconds(files: list[bytes], spec: EncoderSpec, threads: int) -> float:
    """The time that this number of threads takes to decode all files."""
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        list(pool.map(lambda data: decode_image(data, spec), files))
        return time.perf_counter() - began


def ratio(times: dict[str, list[float]]) -> float:
    """How many times faster `fast` is: the median of all rounds."""
    pairs = zip(times["exact"], times["fast"], strict=True)
    return statistics.median(exact / fast for exact, fast in pairs)


def cosines(files: list[bytes], made: dict[str, Any]) -> tuple[float, float]:
    """The lowest and the mean cosine between exact and fast embeddings."""
    exact, fast = (made[d].embed(np.stack([made[d].decode(f) for f in files])) for d in DECODES)
    found = (exact * fast).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(fast, axis=1)
    return float(found.min()), float(found.mean())


if __name__ == "__main__":
    main()
