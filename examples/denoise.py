"""The whole story: train the reference network, cut its encoder out, find noisy copies again.

The VGG16 encoder-decoder is trained for a minute to remove noise from real photographs. Its encoder
is cut at the bottleneck and embeds all photographs and a noisy copy of each. Then the nearest
photograph of each noisy copy is looked up.

    python -m examples.denoise --output denoise-output
"""

from __future__ import annotations

import argparse
import pathlib
import time

import numpy as np
from PIL import Image

import pipeline
from encoder.compute.keras_setup import import_keras
from examples.real_data import photographs
from pipeline.launch.beam_options import parse_beam_options

NOISE = 0.08  # standard deviation, of pixels in 0..1
BATCH = 16


def main(arguments: list[str] | None = None) -> float:
    """Run all steps. Returns the share of noisy copies that are nearest to their original."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("denoise-output"))
    parser.add_argument("--seconds", type=float, default=60, help="of training")
    parser.add_argument("--size", type=int, default=32, help="height and width of the input")
    options = parser.parse_args(arguments)
    import_keras()
    import encoder

    images = options.output / "images"
    originals = photographs(images / "original")
    network = train([Image.open(path).convert("L") for path in originals], options)
    network.save(options.output / "trained.keras")

    made = encoder.extract(
        options.output / "trained.keras", options.output / "bundle", preprocess="unit", force=True
    )
    print(f"encoder {made.spec.id}: {', '.join(made.spec.layers)}, {made.spec.dim} values")

    write_noisy_copies(originals, images / "noisy", options.size)
    job = pipeline.new_job(
        [str(images)], str(options.output / "bundle"), str(options.output / "dataset")
    )
    record = pipeline.run(job, parse_beam_options([]))
    print(f"embedded {record['embedded']} of {record['listed']} images")
    return report(options.output / "dataset")


def train(photos: list[Image.Image], options: argparse.Namespace):
    """Train on random crops with new noise until the time is over."""
    import keras

    import encoder

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    network = encoder.vgg16_encoder_decoder((options.size, options.size, 1))
    network.compile(keras.optimizers.Adam(1e-4), "mse")
    began, steps = time.monotonic(), 0
    while time.monotonic() - began < options.seconds or steps < 2:
        clean = np.stack([crop(photos, options.size, rng) for _ in range(BATCH)])
        loss = network.train_on_batch(clean + rng.normal(0, NOISE, clean.shape), clean)
        if steps % 20 == 0:
            print(f"step {steps}: mean squared error {float(np.ravel(loss)[0]):.4f}", flush=True)
        steps += 1
    print(f"trained for {steps} steps of {BATCH} crops")
    return network


def crop(photos: list[Image.Image], size: int, rng: np.random.Generator) -> np.ndarray:
    """A random part of a random photograph, (size, size, 1) in 0..1."""
    photo = photos[rng.integers(len(photos))]
    side = int(rng.uniform(0.4, 1) * min(photo.size))
    left, top = (int(rng.uniform(0, length - side + 1)) for length in photo.size)
    part = photo.crop((left, top, left + side, top + side)).resize((size, size))
    return np.asarray(part, np.float32)[..., np.newaxis] / 255


def write_noisy_copies(originals: list[pathlib.Path], folder: pathlib.Path, size: int) -> None:
    """Write one noisy copy of each photograph as PNG, in the network's input size."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for path in originals:
        pixels = np.asarray(Image.open(path).convert("L").resize((size, size)), np.float32) / 255
        noisy = (pixels + rng.normal(0, NOISE, pixels.shape)).clip(0, 1)
        Image.fromarray((noisy * 255).round().astype(np.uint8)).save(folder / f"{path.stem}.png")


def report(dataset: pathlib.Path) -> float:
    """Print the nearest photograph of each noisy copy. Returns the share of originals."""
    table = pipeline.open_dataset(dataset).to_table(columns=["uri", "embedding"])
    paths = [pathlib.PurePath(uri) for uri in table["uri"].to_pylist()]
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    vectors -= vectors.mean(0)  # the part that all images share distinguishes none
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    clean = [place for place, path in enumerate(paths) if path.parent.name == "original"]
    noisy = [place for place, path in enumerate(paths) if path.parent.name == "noisy"]
    cosines = vectors[noisy] @ vectors[clean].T
    found = 0
    for place, row in zip(noisy, cosines, strict=True):
        nearest = paths[clean[int(row.argmax())]]
        found += nearest.stem == paths[place].stem
        mark = "" if nearest.stem == paths[place].stem else "   <- another one"
        print(f"  noisy {paths[place].stem:<20} nearest {nearest.name:<24} {row.max():.3f}{mark}")
    print(f"{found} of {len(noisy)} noisy copies are nearest to their original")
    return found / len(noisy)


if __name__ == "__main__":
    main()
