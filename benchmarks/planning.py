"""The cost of a run that finds little or nothing to do, for growing numbers of known images.

Makes that many files (hard links) and a dataset that knows all of them. Then measures, each in its
own process: listing alone, a run with nothing to do, and a run with 1 % new images. Prints seconds,
peak memory and bytes written.

    python -m benchmarks.planning --encoder SMALL-BUNDLE --sizes 10000 100000 1000000
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections import Counter

import numpy as np
import pyarrow as pa
from PIL import Image

import pipeline
from encoder.spec import EncoderSpec
from pipeline.dataset.schema import schema_of
from pipeline.inputs.files import list_files
from pipeline.inputs.source import parse_input
from pipeline.records import EMBEDDINGS, Counts
from pipeline.runs.accounting import Outcome
from pipeline.runs.commit import commit
from pipeline.runs.snapshot import take_snapshot

ROWS_OF_A_PART = 1024  # as a run writes them
LINKS_OF_A_FILE = 10_000  # file systems allow some more
FILES_OF_A_FOLDER = 1000


def main() -> None:
    """Print one line for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="encoder bundle; a small one will do")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--list", help=argparse.SUPPRESS)  # what the measuring process does
    options = parser.parse_args()
    if options.list:
        print(sum(1 for _ in list_files(parse_input(options.list))))
        return
    print("known images   listing      nothing to do           1 % new")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            base = pathlib.Path(folder)
            make_files(base / "images", 0, size)
            known = make_dataset(base, options.encoder)
            this = [sys.executable, "-m", "benchmarks.planning", "--encoder", "-"]
            listing, _ = measured([*this, "--list", str(base / "images")])
            idle, memory = measured(job(base, options.encoder))
            before = size_of(base / "out")
            make_files(base / "images", size, size // 100, links=1)
            busy, busy_memory = measured(job(base, options.encoder))
            written = size_of(base / "out") - before
        print(
            f"{size:>12,}  {listing:6.1f} s  {idle:6.1f} s {memory:5.2f} GiB  {busy:6.1f} s "
            f"{busy_memory:5.2f} GiB, {written / 1e3:,.0f} kB written onto {known / 1e3:,.0f} kB",
            flush=True,
        )


def job(base: pathlib.Path, encoder: str) -> list[str]:
    """The command line of a run."""
    paths = ["--input", base / "images", "--encoder", encoder, "--output", base / "out"]
    return [sys.executable, "-m", "pipeline", "run", *map(str, paths)]


def measured(command: list[str]) -> tuple[float, float]:
    """The seconds that a command takes, and its peak memory in GiB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.perf_counter() - began, usage.ru_maxrss / 2**20  # Linux tells KiB


def make_files(folder: pathlib.Path, first: int, count: int, links: int = LINKS_OF_A_FILE) -> None:
    """Make image files, most of which are hard links to a few real ones."""
    rng = np.random.default_rng(first)
    for number in range(first, first + count):
        place = folder / f"{number // FILES_OF_A_FOLDER:05}"
        if number % FILES_OF_A_FOLDER == 0 or number == first:
            place.mkdir(parents=True, exist_ok=True)
        if (number - first) % links == 0:
            source = place / f"{number:09}.png"
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(source)
        else:
            os.link(source, place / f"{number:09}.png")


def make_dataset(base: pathlib.Path, encoder: str) -> int:
    """Write a dataset with a row for each file, as runs would. Returns its size in bytes."""
    made = pipeline.new_job([str(base / "images")], encoder, str(base / "out"))
    images = list(list_files(made.inputs[0]))
    parts = [
        made.writer.write(EMBEDDINGS, table(made.spec, images[start : start + ROWS_OF_A_PART]))
        for start in range(0, len(images), ROWS_OF_A_PART)
    ]
    totals = Counter(listed=len(images), new=len(images))
    counts = Counts(totals, Counter({made.inputs[0].text: len(images)}))
    snapshot = take_snapshot(made.output, made.spec)._replace(waiting=())
    commit(made, Outcome(snapshot, counts, parts, []))
    return size_of(base / "out")


def table(spec: EncoderSpec, images: list) -> pa.Table:
    """Rows of images, with generated vectors and hashes."""
    rng = np.random.default_rng(len(images))
    vectors = rng.random((len(images), spec.dim), np.float32)
    columns = {
        "uri": [image.uri for image in images],
        "embedding": pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), spec.dim),
        "width": [8] * len(images),
        "height": [8] * len(images),
        "bytes": [image.bytes for image in images],
        "version": [image.version for image in images],
        "sha256": [rng.bytes(32).hex() for _ in images],
    }
    return pa.table(columns, schema=schema_of(EMBEDDINGS, spec))


def size_of(folder: pathlib.Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
