"""What a bucket costs: requests per image, seconds per listing, throughput under latency.

The server runs on this machine, keeps the rules of Google Cloud Storage (tests/support/gcs),
answers after a delay, and counts requests. It has no bandwidth limits and no authentication.

    python -m benchmarks.buckets --encoder demo-output/vgg16
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import requests

from benchmarks.throughput import be_quiet, job_seconds, make_jpegs, parser_of
from encoder.storage.gcs import listing as gcs_listing
from encoder.storage.gcs.client import gcs_client
from encoder.storage.registry import store_for
from pipeline.__main__ import main as main_of_pipeline
from pipeline.embedding.handler import LoadedEncoder

DELAYS_MS = (0, 50)


def main() -> None:
    """Print four tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=256, help="of the larger job")
    parser.add_argument("--names", type=int, default=100_000, help="to list")
    parser.add_argument("--rows", type=int, default=1024, help="of the lists that are planned")
    options = parser.parse_args()
    be_quiet()
    listing(options.names)
    lists(options)
    throughput(options)


def listing(names: int) -> None:
    """Measure how long a listing takes, in one range of names and in several."""
    print(f"listing {names:,} names in one folder")
    usual = gcs_listing._PAGES_ALONE
    for delay in DELAYS_MS:
        with serving(delay, names) as address:
            for text, alone in (("one range", sys.maxsize), ("up to 16 ranges", usual)):
                gcs_listing._PAGES_ALONE = alone
                before = counts(address)
                began = time.perf_counter()
                found = sum(1 for _ in store_for("gs://b").list_files("gs://bucket/photos"))
                seconds = time.perf_counter() - began
                assert found == names
                asked = counts(address)["list"] - before.get("list", 0)
                print(f"  {delay:>2} ms, {text:<16} {seconds:6.2f} s, {asked:4} requests")
    gcs_listing._PAGES_ALONE = usual


def lists(options: argparse.Namespace) -> None:
    """Measure how long a plan over a list takes, beside a plan over a single row.

    With one worker and with four (threads), for rows next to each other in their folder, which are
    found by listing it, and for rows far apart.
    """
    rows = options.rows
    print(f"lists of {rows:,} names")
    for delay in (50, 500):
        with serving(delay, rows * 500) as address, tempfile.TemporaryDirectory() as folder:
            for workers in (1, 4):
                for text, step in (("next to each other", 1), ("far apart", 499)):
                    seconds = []
                    before: dict[str, int] = {}
                    for count in (1, rows):
                        before = counts(address)
                        path = pathlib.Path(folder) / "list.txt"
                        names = (f"gs://bucket/photos/{n * step:07}.jpg" for n in range(count))
                        path.write_text("\n".join(names))
                        began = time.perf_counter()
                        plan(path, options.encoder, f"{folder}/out", workers)
                        seconds.append(time.perf_counter() - began)
                    after = counts(address)
                    asked = sum(after.values()) - sum(before.values())
                    print(
                        f"  {delay:>3} ms, {workers} workers, {text:<18} {seconds[1]:5.1f} s, "
                        f"{asked:5} requests; one row {seconds[0]:.1f} s"
                    )


def plan(path: pathlib.Path, bundle: str, output: str, workers: int) -> None:
    """Plan a run over a list."""
    words = ["plan", "--input", str(path), "--encoder", bundle, "--output", output]
    words += ["--direct_num_workers", str(workers)]
    words += ["--direct_running_mode", "multi_threading"] if workers > 1 else []
    with contextlib.redirect_stdout(io.StringIO()):
        if main_of_pipeline(words):
            raise RuntimeError(f"pipeline {' '.join(words)} failed")


def throughput(options: argparse.Namespace) -> None:
    """Measure the whole job over local files and over objects in turns, and count its requests."""
    small = options.batch_size * 2
    rates: dict[str, list[float]] = {}
    busy: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        base = pathlib.Path(folder)
        make_jpegs(base / "small", small)
        make_jpegs(base / "large", options.images)
        servers = {delay: stack.enter_context(serving(delay)) for delay in DELAYS_MS}
        for address in servers.values():
            speak_to(address)
            for path in base.rglob("*.jpg"):
                name = f"gs://bucket/{path.relative_to(base)}"
                store_for(name).write(name, path.read_bytes())
        asked: dict[str, int] = {}
        for number in range(options.rounds):
            for delay in (None, *DELAYS_MS):
                seconds = []
                for size in ("small", "large"):
                    place, output = base / size, f"{base}/out-{size}-{number}"
                    if delay is not None:
                        speak_to(servers[delay])
                        place, output = f"gs://bucket/{size}", f"gs://bucket/out-{size}-{number}"
                        before = counts(servers[delay])
                    with encoder_calls() as calls:
                        seconds.append(
                            job_seconds(place, options.encoder, output, options.batch_size)
                        )
                    if delay is not None:
                        after = counts(servers[delay])
                        asked = {kind: after[kind] - before.get(kind, 0) for kind in after}
                name = "local files" if delay is None else f"gs://, {delay} ms"
                rate = (options.images - small) / (seconds[1] - seconds[0])
                rates.setdefault(name, []).append(rate)
                computing = sum(end - start for start, end in calls[1:])
                busy.setdefault(name, []).append(computing / (calls[-1][1] - calls[0][1]))
    print(f"whole job, {options.images} images less {small}, {options.rounds} rounds")
    local = rates["local files"]
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, local, strict=True))
        rounds = ", ".join(f"{a / b:.3f}" for a, b in zip(found, local, strict=True))
        rate = statistics.median(found)
        shares = ", ".join(f"{share:.3f}" for share in busy[name])
        print(f"  {name:<12} {rate:6.2f} images/s, ratio {ratio:.3f} (rounds: {rounds})")
        print(f"  {'':<12} share of the time that the encoder computes: {shares}")
    print(f"requests of a run over {options.images} images")
    for kind, count in asked.items():
        print(f"  {kind:<7} {count:5}, per image {count / options.images:.2f}")


@contextlib.contextmanager
def encoder_calls() -> Iterator[list[tuple[float, float]]]:
    """The start and end of each call of the encoder, in seconds.

    Between calls the encoder waits for images. The share of time spent waiting depends less on
    the speed of a noisy machine than images per second do.
    """
    calls, embed = [], LoadedEncoder.embed

    def timed(self: LoadedEncoder, *arguments: object) -> object:
        began = time.perf_counter()
        try:
            return embed(self, *arguments)
        finally:
            calls.append((began, time.perf_counter()))

    LoadedEncoder.embed = timed
    try:
        yield calls
    finally:
        LoadedEncoder.embed = embed


@contextlib.contextmanager
def serving(delay_ms: int, objects: int = 0) -> Iterator[str]:
    """Start a server in its own process, point gs:// to it and give its address."""
    words = ("--delay-ms", str(delay_ms), "--objects", str(objects))
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.gcs.server", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = server.stdout.readline().strip()
        speak_to(address)
        yield address
    finally:
        server.terminate()
        server.wait()


def speak_to(address: str) -> None:
    """Point gs:// to this server."""
    os.environ["STORAGE_EMULATOR_HOST"] = address
    os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"
    gcs_client.cache_clear()


def counts(address: str) -> dict[str, int]:
    """The number of requests so far, by kind."""
    return requests.get(f"{address}/_stats", timeout=10).json()


if __name__ == "__main__":
    main()
