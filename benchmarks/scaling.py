"""What one worker, or the launcher, holds in memory when a dataset gets very large.

No image is read: each piece of a run that could grow with the collection gets the metadata of its
share of a collection, as the runner would give it, in a process of its own. Prints the seconds and
the memory above that of the idle process.

    python -m benchmarks.scaling --encoder SMALL-BUNDLE --images 10000000 100000000
"""

from __future__ import annotations

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from apache_beam.pvalue import TaggedOutput

from encoder.spec import read_spec
from encoder.storage.base import StorageSettings
from pipeline.dataset import changes
from pipeline.dataset.changes import HAS
from pipeline.dataset.known_vectors import Buckets, ContentsBuffer, KnownVectors
from pipeline.dataset.layout import part_path, staged
from pipeline.dataset.manifest import EncoderState, Manifest
from pipeline.dataset.parts import PartWriter
from pipeline.inputs.source import Input
from pipeline.records import EMBEDDINGS, Part
from pipeline.runs.batches import (
    PARTITIONS,
    KnownBatch,
    ListedBatch,
    SeenBatch,
    pack,
)
from pipeline.runs.rules import decide_share
from pipeline.runs.scope import Scope
from pipeline.runs.shares import in_shares
from pipeline.steps.merge import WRITTEN, _grouped
from pipeline.steps.outputs import LOGS
from pipeline.steps.write import _write_changes

ROWS_OF_A_PART = 960
BYTES_OF_A_ROW = 2100  # 512 values and the other columns, compressed
BATCH = 1024


def main() -> None:
    """Print a table with a column for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="encoder bundle; a small one will do")
    parser.add_argument("--images", type=int, nargs="+", default=[10**6, 10**7])
    parser.add_argument("--piece", choices=PIECES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.piece:
        print(json.dumps(measured(options.piece, options.images[0], options.encoder)))
        return
    for name in PIECES:
        print(f"\n{name}: {PIECES[name].__doc__.splitlines()[0]}")
        for images in options.images:
            words = ["-m", "benchmarks.scaling", "--piece", name, "--images", str(images)]
            words += ["--encoder", options.encoder]
            run = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, check=True)
            found = json.loads(run.stdout)
            print(
                f"  {images:>13,} images: {found.pop('MiB'):7,.0f} MiB {found.pop('s'):8.1f} s   "
                + ", ".join(f"{value:,} {what}" for what, value in found.items()),
                flush=True,
            )


def measured(piece: str, images: int, encoder: str) -> dict[str, Any]:
    """Run a piece. The memory counts from where the piece calls its input complete."""
    with tempfile.TemporaryDirectory() as folder:
        writer = PartWriter(f"{folder}/out", "run1", read_spec(encoder))
        steps = PIECES[piece](images, writer)
        next(steps)
        idle, began = peak(), time.perf_counter()
        found = next(steps)
        return {"MiB": peak() - idle, "s": time.perf_counter() - began, **found}


def peak() -> float:
    """The largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux tells KiB


class Stream:
    """Packed batches in a file, which a runner would give to a worker one after the other."""

    def __init__(self, writer: PartWriter) -> None:
        self._path = pathlib.Path(writer.output).with_name("batches")

    def fill(self, batches: Iterator[bytes]) -> None:
        """Write the file."""
        with self._path.open("wb") as file:
            for batch in batches:
                file.write(len(batch).to_bytes(8, "big") + batch)

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while size := file.read(8):
                yield file.read(int.from_bytes(size, "big"))


def uri(number: int) -> str:
    """The uri of an image."""
    return f"gs://bucket/photos/{number // 1000:07}/IMG_{number:010}.jpg"


def path(number: int, writer: PartWriter) -> str:
    """The path of a part."""
    return part_path(EMBEDDINGS, writer.spec.id, writer.run_id, f"{number:024x}")


def planning(images: int, writer: PartWriter) -> Iterator[dict[str, int]]:
    """One partition of the planning of a nightly run, in which 1 % of the images are new."""

    def batches() -> Iterator[bytes]:
        rng = np.random.default_rng(1)
        for start in range(0, images // PARTITIONS, BATCH):
            numbers = range(start, min(start + BATCH, images // PARTITIONS))
            listed = [(uri(n), str(1_700_000_000_000_000 + n), 100_000) for n in numbers]
            yield pack(ListedBatch("gs://bucket/photos", listed, []))
            part = path(start // ROWS_OF_A_PART, writer)
            yield pack(
                KnownBatch(
                    [
                        (uri(n), part, version, rng.bytes(32).hex(), None, True, None)
                        for n, (_, version, _) in zip(numbers, listed, strict=True)
                        if n % 100
                    ]
                )
            )

    stream = Stream(writer)
    stream.fill(batches())
    scope = Scope((Input("gs://bucket/photos", "gs://bucket/photos"),))
    yield {}
    shares = todo = 0
    for share, found in in_shares(0, stream):
        shares += 1
        todo += sum(1 for _, each in decide_share(found, scope, share) if each.todo)
    size = sum(map(len, stream)) * PARTITIONS // images
    yield {"shares": shares, "images to embed": todo, "bytes an image in the shuffle": size}


def log(images: int, writer: PartWriter) -> Iterator[dict[str, int]]:
    """One of the logs of changes of a first run, in which all images are new."""
    stream = Stream(writer)
    numbers = range(0, images // LOGS, BATCH)
    stream.fill(
        pack(SeenBatch([(uri(n * LOGS), HAS) for n in range(start, start + BATCH)]))
        for start in numbers
    )
    yield {}
    parts = list(_write_changes((0, stream), writer, StorageSettings()))
    yield {"files": len(parts)}


def combining(images: int, writer: PartWriter) -> Iterator[dict[str, int]]:
    """``changes`` over one log of a first run and the logs of 400 nightly runs."""
    stream = Stream(writer)
    stream.fill(
        pack(SeenBatch([(uri(n * LOGS), HAS) for n in range(start, start + BATCH)]))
        for start in range(0, images // LOGS, BATCH)
    )
    paths = [part.path for part in _write_changes((0, stream), writer, StorageSettings())]
    for night in range(400):
        rows = [(uri((n * 97 + night) * LOGS), HAS) for n in range(250)]
        few = _write_changes((0, [pack(SeenBatch(rows))]), writer, StorageSettings())
        paths += [part.path for part in few]
    yield {}
    logs = [changes._read_log(writer.output, each) for each in paths]
    yield {"logs": len(logs), "changes": sum(1 for _ in changes._combined(logs))}


def spreading(images: int, writer: PartWriter) -> Iterator[dict[str, int]]:
    """The known contents, as a worker that reads the output's keys spreads a million of them."""
    rng = np.random.default_rng(1)
    buckets, buffer = Buckets(images), ContentsBuffer()
    yield {}
    elements = 0
    for number in range(10**6 // ROWS_OF_A_PART):
        found = buffer.add(path(number, writer), rng.bytes(16 * ROWS_OF_A_PART))
        if found:
            elements += sum(1 for _ in buckets.spread(found))
            elements += sum(1 for _ in buckets.bits_of(found))
    yield {"buckets": buckets.count, "elements": elements}


def looking(images: int, writer: PartWriter) -> Iterator[dict[str, int]]:
    """What a worker holds of the known contents while it embeds: the filter."""
    buckets, rng = Buckets(images), np.random.default_rng(1)
    step = 10**5
    bits = [
        rng.integers(0, buckets.segment_bits, min(step, images // 64 - n), np.uint32).tobytes()
        for n in range(0, images // 64, step)
    ]
    yield {}
    segment = buckets.segment(bits)
    known = KnownVectors("/nowhere", buckets, {n: bytes(bytearray(segment)) for n in range(64)})
    wrong = sum(known.may_have(rng.bytes(32).hex()) for _ in range(10_000))
    rows = images // buckets.count
    size = rows * (24 + len(path(1, writer)) // 4)  # a few rows have a part in common
    yield {"% of new images looked up in vain": wrong // 100, "bytes of a bucket": size}


def committing(images: int, writer: PartWriter) -> Iterator[dict[str, int]]:
    """The parts of a first run: merged, and the manifest that names them."""
    yield {}
    small = (
        Part(EMBEDDINGS, staged(path(n, writer)), ROWS_OF_A_PART, ROWS_OF_A_PART * BYTES_OF_A_ROW)
        for n in range(images // ROWS_OF_A_PART)
    )
    parts = []
    for found in _grouped(WRITTEN, small):
        group = [found.value] if isinstance(found, TaggedOutput) else found[1]
        rows, size = sum(part.rows for part in group), sum(part.bytes for part in group)
        parts.append(Part(EMBEDDINGS, path(len(parts), writer), rows, size, crc32c="0a1b2c3d"))
    spec = writer.spec
    manifest = Manifest({"run1": "t"}, {spec.id: EncoderState(spec, tuple(parts))})
    text = manifest.to_json()
    again = Manifest.from_json(text.encode(), "manifest.json")
    assert len(again.encoders[spec.id].parts) == len(parts)
    yield {"parts": len(parts), "bytes of manifest.json": len(text)}


PIECES = {
    each.__name__: each for each in (planning, log, combining, spreading, looking, committing)
}


if __name__ == "__main__":
    main()
