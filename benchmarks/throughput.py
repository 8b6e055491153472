"""How fast the whole job is, compared with the compiled model alone.

Measures three rates in turns in one run: the compiled model alone on a batch in memory, one call at
a time on all cores; the same with parallel calls on one core each, as the job makes them; and the
whole job (list, plan, read, decode, embed, write, commit) over JPEG files on disk. The job runs
over two sizes. The difference in images, divided by the difference in seconds, contains no time for
starting up.

    python -m benchmarks.throughput --encoder demo-output/vgg16
"""

from __future__ import annotations

import argparse
import logging
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image

import pipeline
from encoder.compute.keras_setup import import_keras
from encoder.compute.machine import usable_cores
from examples.real_data import photographs
from pipeline.cli.doctor import images_per_second
from pipeline.cli.gpu_options import settings_for
from pipeline.embedding.call_sizes import images_together, share_cores
from pipeline.launch.beam_options import parse_beam_options
from pipeline.options import DEFAULT_BATCH_SIZE
from pipeline.steps.embed import LIST_IMAGES

MODEL_SECONDS = 30.0
JPEG_SIZE = (500, 375)  # the usual size of an ImageNet photograph


def main() -> None:
    """Print all three rates in images per second, and the job's ratios to the others."""
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=384, help="of the larger job")
    parser.add_argument("--alone", action="store_true", help="only the model, with its threads")
    options = parser.parse_args()
    if options.alone:
        print(alone(options.encoder, options.batch_size))
        return
    be_quiet()
    plain, side_by_side, jobs = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        small = options.batch_size * 2 * usable_cores()
        make_jpegs(base / "small", small)
        make_jpegs(base / "large", options.images)
        for number in range(options.rounds):
            plain.append(alone_elsewhere(options, usable_cores()))
            side_by_side.append(alone_elsewhere(options, 1))
            seconds = {
                name: job_seconds(
                    *(base / name, options.encoder, base / f"out-{name}-{number}"),
                    options.batch_size,
                )
                for name in ("small", "large")
            }
            jobs.append((options.images - small) / (seconds["large"] - seconds["small"]))
            print(
                f"round {number + 1}: model {plain[-1]:.2f}, side by side {side_by_side[-1]:.2f}, "
                f"job {jobs[-1]:.2f} images/s"
            )
    print(f"whole job {statistics.median(jobs):.2f} images/s, {options.images} less {small} images")
    say("model, one call with all cores", plain, jobs)
    say("model, a call for each core", side_by_side, jobs)


def say(what: str, models: Sequence[float], jobs: Sequence[float]) -> None:
    """Print a rate of the model, and the job's ratios to it in each round."""
    ratios = [job / model for job, model in zip(jobs, models, strict=True)]
    rounds = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    print(
        f"{what}: {statistics.median(models):.2f} images/s, "
        f"the job keeps {statistics.median(ratios):.3f} (rounds: {rounds})"
    )


def alone_elsewhere(options: argparse.Namespace, threads: int) -> float:
    """The model's images per second in another process, with this number of threads per call."""
    command = [sys.executable, "-m", "benchmarks.throughput", "--alone"]
    command += ["--encoder", options.encoder, "--batch-size", str(options.batch_size)]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def alone(bundle: str, batch_size: int) -> float:
    """The model's images per second in this process."""
    be_quiet()
    import encoder

    loaded = encoder.load(bundle)
    count = batch_size
    if loaded.devices[0].calls > 1:  # as many images at a time as a fast job's lists have
        count = max(LIST_IMAGES, images_together(batch_size, loaded.spec.height, loaded.spec.width))
    return images_per_second(loaded, batch_size, MODEL_SECONDS, count)


def parser_of(doc: str) -> argparse.ArgumentParser:
    """The parser of the options that all benchmarks of whole jobs share."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="encoder bundle")
    parser.add_argument("--batch-size", type=int, default=DEFAULT_BATCH_SIZE)
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def be_quiet() -> None:
    """Silence the jobs' own output. Jobs in this process share the cores as usual."""
    share_cores(224, 224)
    import_keras()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def make_jpegs(folder: pathlib.Path, count: int) -> None:
    """Write this number of different JPEG files, cut from real photographs."""
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
    """The time of a whole run, with the Beam options that this machine's GPUs need."""
    options = pipeline.JobOptions(batch_size=batch_size)
    job = pipeline.new_job([str(folder)], bundle, str(output), options=options)
    began = time.perf_counter()
    record = pipeline.run(job, parse_beam_options(settings_for("", []).beam_options))
    assert record["embedded"] == record["listed"] > 0
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
