"""How much of the compiled model's own speed the whole job keeps.

Measures, alternating in one run: the encoder alone on a batch in memory, and the whole job (list,
plan, read, decode, embed, write, commit) over JPEG files on disk. Starting up is taken out by
running the job over two sizes and dividing the difference in images by that in seconds.

    python -m benchmarks.throughput --encoder demo-output/encoder
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import statistics
import tempfile
import time
import warnings

import numpy as np
from PIL import Image

import pipeline
from encoder.terminal import import_keras
from examples.real_data import photographs
from pipeline.defaults import DEFAULT_BATCH_SIZE
from pipeline.doctor import images_per_second
from pipeline.gpus import settings_for
from pipeline.launch import parse_beam_options

MODEL_SECONDS = 30.0
JPEG_SIZE = (500, 375)  # the usual size of an ImageNet photograph


def main() -> None:
    """Print images per second of both, and their ratio."""
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=384, help="of the larger job")
    options = parser.parse_args()
    be_quiet()
    import encoder

    enc = encoder.load(options.encoder)
    enc.warm_up(options.batch_size)
    models, jobs = [], []
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        small = options.batch_size * 2
        make_jpegs(base / "small", small)
        make_jpegs(base / "large", options.images)
        for number in range(options.rounds):
            models.append(images_per_second(enc, options.batch_size, MODEL_SECONDS))
            seconds = {
                name: job_seconds(
                    *(base / name, options.encoder, base / f"out-{name}-{number}"),
                    options.batch_size,
                )
                for name in ("small", "large")
            }
            jobs.append((options.images - small) / (seconds["large"] - seconds["small"]))
            print(f"round {number + 1}: model {models[-1]:.2f}, job {jobs[-1]:.2f} images/s")
    model, job = statistics.median(models), statistics.median(jobs)
    ratio = statistics.median(j / m for j, m in zip(jobs, models, strict=True))
    print(f"model alone {model:.2f} images/s, whole job {job:.2f} images/s, ratio {ratio:.3f}")


def parser_of(doc: str) -> argparse.ArgumentParser:
    """The options that benchmarks of whole jobs share."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="encoder bundle")
    parser.add_argument("--batch-size", type=int, default=DEFAULT_BATCH_SIZE)
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def be_quiet() -> None:
    """Only the benchmark itself prints."""
    import_keras()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def make_jpegs(folder: pathlib.Path, count: int) -> None:
    """So many different JPEG files, cut from real photographs."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as source:
        photos = [Image.open(path).convert("RGB") for path in photographs(source)]
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = photos[number % len(photos)]
        width, height = (int(side * rng.uniform(0.5, 1)) for side in photo.size)
        left, top = (
            int(rng.uniform(0, a - b + 1)) for a, b in zip(photo.size, (width, height), strict=True)
        )
        crop = photo.crop((left, top, left + width, top + height)).resize(JPEG_SIZE)
        crop.save(folder / f"{number:05}.jpg", quality=90)


def job_seconds(folder: pathlib.Path, bundle: str, output: pathlib.Path, batch_size: int) -> float:
    """How long a whole run takes, with the options for Beam that this machine's GPUs ask for."""
    job = pipeline.new_job([str(folder)], bundle, str(output), batch_size=batch_size)
    began = time.perf_counter()
    record = pipeline.run(job, parse_beam_options(settings_for("", []).beam_options))
    assert record["embedded"] == record["listed"] > 0
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
