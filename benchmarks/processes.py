"""What it costs that a job decodes images in processes of their own, and not in its threads.

Processor time, of the worker and of its processes together: so other work on the machine matters
little. Both ways take turns; the median of the rounds counts.

    python -m benchmarks.processes --encoder demo-output/vgg16
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from encoder.compute.keras_setup import import_keras
from encoder.images.decode import decode_image
from encoder.spec import read_spec
from examples.real_data import photographs
from pipeline.embedding.decode import Reading
from pipeline.embedding.decoders import Decoders

SIZES = {"0.2 MP": (500, 375), "2 MP": (1600, 1200), "12 MP": (4000, 3000)}
COUNTS = {"0.2 MP": 400, "2 MP": 60, "12 MP": 12}  # images that are decoded in a round
CORES = len(os.sched_getaffinity(0))


def main() -> None:
    """Print milliseconds of both ways, and the difference beside what the encoder takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="bundle")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    import_keras()
    import encoder

    loaded = encoder.load(options.encoder)
    spec = read_spec(options.encoder)
    batch = np.zeros((8 * CORES, spec.height, spec.width, spec.channels), np.uint8)
    loaded.embed(batch, 8)
    with counted() as spent:
        for _ in range(3):
            loaded.embed(batch, 8)
    encoding = 1000 * spent[0] / 3 / len(batch)
    table = Table(
        *("photographs", "kB each", "in threads, ms", "in processes, ms", "difference, ms"),
        *(f"threads/s, {CORES} cores", "processes/s", "encoder, ms", "share of the job"),
    )
    with tempfile.TemporaryDirectory() as folder, Image.open(photographs(folder)[0]) as opened:
        photograph = opened.convert("RGB")
    for name, size in SIZES.items():
        data = encoded(photograph, size)
        table.add_row(name, *row(data, COUNTS[name], options, encoding))
    Console(width=160).print(table)


def row(data: bytes, count: int, options: argparse.Namespace, encoding: float) -> list[str]:
    """The numbers of one size."""
    spec = read_spec(options.encoder)
    decoders = Reading(spec).decoders(CORES)
    ways: dict[str, Callable[[], object]] = {
        "threads": lambda: decode_image(data, spec),
        "processes": lambda: decoders.decode(data, lambda pixels: contextlib.nullcontext()),
    }
    alone: dict[str, list[float]] = {name: [] for name in ways}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        together(way, 2 * CORES)
    for _ in range(options.rounds):
        for name, way in ways.items():
            with counted(decoders) as spent:
                for _ in range(count):
                    way()
            alone[name].append(1000 * spent[0] / count)
            began = time.perf_counter()
            together(way, count)
            rates[name].append(count / (time.perf_counter() - began))
    threads, processes = (statistics.median(alone[name]) for name in ways)
    more = processes - threads
    return [
        *(f"{len(data) / 1e3:.0f}", f"{threads:.2f}", f"{processes:.2f}", f"{more:.2f}"),
        *(f"{statistics.median(rates[name]):.0f}" for name in ways),
        *(f"{encoding:.0f}", f"{more / (encoding + threads):.2%}"),
    ]


def together(way: Callable[[], object], count: int) -> None:
    """Decode on all cores."""
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda _: way(), range(count)))


@contextlib.contextmanager
def counted(decoders: Decoders | None = None) -> Iterator[list[float]]:
    """Yields a list that gets the processor seconds of the block."""
    spent: list[float] = []
    before = seconds(decoders)
    yield spent
    spent.append(seconds(decoders) - before)


def seconds(decoders: Decoders | None) -> float:
    """Processor seconds of this process, and of those that decode."""
    own = os.times()
    total = own.user + own.system
    for process in decoders._idle if decoders else ():
        with open(f"/proc/{process._child.pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
        total += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return total


def encoded(photograph: Image.Image, size: tuple[int, int]) -> bytes:
    """A photograph as a JPEG of this size."""
    data = io.BytesIO()
    photograph.resize(size).save(data, "JPEG", quality=92)
    return data.getvalue()


if __name__ == "__main__":
    main()
