"""How a run scales with images and workers, and how much memory it uses over time.

Uses VGG16 at 64x64 with random weights, so that ten thousand images take minutes. Each run has its
own process. The counter of its progress line tells how many images were embedded at what time.
Memory is the proportional share (PSS) of all its processes, read twice a second.

    python -m benchmarks.growth --images 1000 10000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from benchmarks.side_by_side import quiet_environment
from benchmarks.throughput import be_quiet, make_jpegs

DIFFERENT = 200  # photographs; the others differ by a comment in the file
SIDE = 64
STEADY_FROM, MEMORY_UNTIL = 500, 5_000  # images
WORKERS = {
    "1 worker": [],
    "2 threads": ["--direct_num_workers=2", "--direct_running_mode=multi_threading"],
    "2 processes": ["--direct_num_workers=2", "--direct_running_mode=multi_processing"],
}


class Sample(NamedTuple):
    """The state of a run at one time: seconds since its start, images embedded, bytes of memory."""

    seconds: float
    images: int
    memory: int


def main() -> None:
    """Print one row for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--workers", nargs="*", choices=WORKERS, default=list(WORKERS))
    parser.add_argument("--python", default=sys.executable, help="that runs the jobs")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    be_quiet()
    import encoder

    rows = []
    with tempfile.TemporaryDirectory() as name:
        base = pathlib.Path(name)
        network = encoder.vgg16_encoder_decoder((SIDE, SIDE, 3))
        encoder.extract(network, base / "bundle", layer="pool_5", preprocess="caffe")
        for images in options.images:
            make_photos(base / str(images), images)
            for workers in options.workers:
                command = [options.python, "-m", "pipeline", "run", *WORKERS[workers]]
                command += ["--input", str(base / str(images)), "--encoder", str(base / "bundle")]
                command += ["--output", str(base / f"out {images} {workers}")]
                rows.append({"workers": workers, **summary(watched(command, base / "tmp"), images)})
                print(json.dumps(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def make_photos(folder: pathlib.Path, count: int) -> None:
    """Write this number of JPEG files, which all differ."""
    make_jpegs(folder, min(count, DIFFERENT))
    photos = [path.read_bytes() for path in sorted(folder.iterdir())]
    for number in range(DIFFERENT, count):
        photo, comment = photos[number % DIFFERENT], str(number).encode()
        segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (folder / f"{number:06}.jpg").write_bytes(photo[:2] + segment + photo[2:])


def watched(command: list[str], scratch: pathlib.Path) -> list[Sample]:
    """Run a command and take samples until it ends. Raises an error if the command fails."""
    scratch.mkdir(exist_ok=True)
    began, samples = time.monotonic(), []
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env={**quiet_environment(), "TMPDIR": str(scratch)}
        )
        while process.poll() is None:
            done = sum(
                os.path.getsize(path)
                for path in scratch.glob("embed-images-*/embedded")
                if path.exists()
            )
            samples.append(Sample(time.monotonic() - began, done, memory_of(process.pid)))
            time.sleep(0.5)
        said.seek(0)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, said.read())
    return samples


def memory_of(pid: int) -> int:
    """Bytes of memory of a process and of all processes that it started."""
    total = 0
    with contextlib.suppress(OSError):  # it has ended
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total = int(line.split()[1]) << 10
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            total += sum(memory_of(int(child)) for child in children)
    return total


def summary(samples: list[Sample], images: int) -> dict[str, object]:
    """One row of the table, from the samples of a run."""
    steady = [each for each in samples if STEADY_FROM <= each.images < images]
    first = next(each.seconds for each in samples if each.images)
    rate = None
    if len(steady) > 1:
        took = steady[-1].seconds - steady[0].seconds
        rate = (steady[-1].images - steady[0].images) / took if took else None
    counted = [each for each in steady if each.images <= MEMORY_UNTIL]
    return {
        "images": images,
        "seconds": round(samples[-1].seconds, 1),
        "first": round(first, 1),
        "steady_images_per_second": rate and round(rate, 1),
        "gib_at_500": counted and round(counted[0].memory / 2**30, 3),
        "gib_most_until_5000": counted and round(max(e.memory for e in counted) / 2**30, 3),
        "gib_peak": round(max(each.memory for each in samples) / 2**30, 3),
    }


if __name__ == "__main__":
    main()
