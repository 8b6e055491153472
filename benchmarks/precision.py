"""What computing in 16 bits changes: the speed relative to float32, and the vectors.

Measures the precisions in turns in one run, on real photographs in memory.

    python -m benchmarks.precision --weights .cache/vgg16-imagenet.weights.h5
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import tempfile
import time

import numpy as np

from encoder.compute.keras_setup import import_keras
from encoder.spec import PRECISIONS
from examples.real_data import photographs


def main() -> None:
    """Print images per second, the ratio to float32 and cosines to it, for each precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="of VGG16's convolutions")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    import_keras()
    import encoder

    with tempfile.TemporaryDirectory() as folder:
        model = encoder.vgg16_imagenet(options.weights)
        made = {
            precision: encoder.extract(
                model,
                pathlib.Path(folder) / precision,
                layer="block5_pool",
                preprocess="caffe",
                precision=precision,
            )
            for precision in PRECISIONS
        }
        paths = photographs(pathlib.Path(folder) / "photos")
        images = np.stack([made["float32"].decode(path.read_bytes()) for path in paths])
    vectors = {precision: each.embed(images) for precision, each in made.items()}
    rates: dict[str, list[float]] = {precision: [] for precision in made}
    for _ in range(options.rounds):
        for precision, each in made.items():
            began = time.perf_counter()
            each.embed(images)
            rates[precision].append(len(images) / (time.perf_counter() - began))
    exact = vectors["float32"] / np.linalg.norm(vectors["float32"], axis=1, keepdims=True)
    for precision, found in vectors.items():
        cosines = (exact * found).sum(1) / np.linalg.norm(found, axis=1)
        pairs = zip(rates[precision], rates["float32"], strict=True)
        ratio = statistics.median(rate / base for rate, base in pairs)
        print(
            f"{precision}: {statistics.median(rates[precision]):.2f} images/s, {ratio:.2f} times "
            f"float32; cosine to float32 at least {cosines.min():.6f}, mean {cosines.mean():.6f}"
        )


if __name__ == "__main__":
    main()
