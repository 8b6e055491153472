"""Draw a small dataset: one row per image with its vector and its cosines with all others.

    python -m examples.picture

draws the dataset of ``make demo``; other datasets and pictures are arguments.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import pipeline
from encoder.errors import InputError

ROW, LABEL, STRIP, GAP, TOP = 22, 190, 640, 24, 44  # pixels
INK = (40, 40, 40)


def main(arguments: list[str] | None = None) -> None:
    """Draw the dataset that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default="demo-output/dataset", help="an --output")
    parser.add_argument("picture", nargs="?", help="default: embeddings.png beside the dataset")
    options = parser.parse_args(arguments)
    picture = options.picture or str(pathlib.Path(options.dataset).with_name("embeddings.png"))
    try:
        draw(options.dataset, picture)
    except InputError as error:
        parser.error(f"{error}; 'make demo' makes one")
    print(f"{picture} shows {options.dataset}")


def draw(dataset: str, picture: str) -> None:
    """Write the picture of a dataset. Its rows are ordered so that similar images are adjacent."""
    table = pipeline.open_dataset(dataset).to_table(columns=["uri", "embedding"])
    names = [pathlib.PurePath(uri).name for uri in table["uri"].to_pylist()]
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    order = chain(cosines)
    strip = shades(np.log1p(vectors[order] / vectors.mean()), STRIP)
    matrix = shades(cosines[np.ix_(order, order)].clip(0), ROW * len(names))
    height = TOP + ROW * len(names) + 12
    canvas = Image.new("RGB", (LABEL + STRIP + GAP + matrix.width + 12, height), "white")
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13)
    heading = f"embedding ({vectors.shape[1]} values each)"
    pen.text((LABEL, 14), heading, INK, ImageFont.load_default(15))
    pen.text((LABEL + STRIP + GAP, 14), "cosine with each other", INK, ImageFont.load_default(15))
    for place, index in enumerate(order):
        pen.text((LABEL - 10, TOP + ROW * place + 3), names[index], INK, font, anchor="ra")
    canvas.paste(strip, (LABEL, TOP))
    canvas.paste(matrix, (LABEL + STRIP + GAP, TOP))
    canvas.save(picture)


def chain(cosines: np.ndarray) -> list[int]:
    """An order of the images: from each one to the most similar one that is left."""
    order = [int(cosines.sum(0).argmax())]
    while len(order) < len(cosines):
        left = [index for index in range(len(cosines)) if index not in order]
        order.append(max(left, key=lambda index: cosines[order[-1], index]))
    return order


def shades(values: np.ndarray, width: int) -> Image.Image:
    """Values as colors from white over blue to near black. Each row is ROW pixels high."""
    share = (values / values.max())[..., np.newaxis]
    stops = np.array([(255, 255, 255), (86, 150, 210), (10, 20, 60)], float)
    low = stops[0] + (stops[1] - stops[0]) * (share * 2).clip(0, 1)
    high = stops[1] + (stops[2] - stops[1]) * (share * 2 - 1).clip(0, 1)
    pixels = np.where(share < 0.5, low, high).astype(np.uint8)
    size = (width, ROW * len(values))
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


if __name__ == "__main__":
    main()
