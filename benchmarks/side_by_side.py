"""Whole programs side by side: this project, and what people write without it.

The programs take turns over the same JPEG files, each in its own process: this project in float32
and bfloat16, tf.data with ``model.predict``, stock Beam, and a PyTorch DataLoader (channels_last).
All use the same weights of VGG16. Stock Beam needs tensorflow_hub, which needs setuptools<81.
PyTorch's program needs a Python that has PyTorch. Programs that can't run are left out and named.
If pandas and scikit-learn are installed, as for the tests, Keras and Beam import them and start
seconds later. So pass ``--python`` from an environment with requirements.lock only.

    python -m benchmarks.side_by_side --weights .cache/vgg16-imagenet.weights.h5 --json out.json
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from benchmarks.bars import draw_bars
from benchmarks.throughput import be_quiet, make_jpegs
from encoder.compute.machine import cpu_name

OURS, OURS_16 = "ours, float32", "ours, bfloat16"


class Measured(NamedTuple):
    """One run of one program.

    Attributes:
        seconds: from the start to the end of the process.
        first: seconds until the first Parquet file existed.
        peak: peak resident bytes of the process, or of the largest process that it started.
    """

    seconds: float
    first: float
    peak: int


def main() -> None:
    """Print the table; write JSON and a plot if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True, help="of VGG16's convolutions")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=sys.executable, help="that runs all but PyTorch's")
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--only", nargs="*", help="words in names of programs, such as ours")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path, help="an .svg file")
    options = parser.parse_args()
    be_quiet()
    with tempfile.TemporaryDirectory() as name:
        base = pathlib.Path(name)
        make_jpegs(base / "photos", options.images)
        programs = prepare(base, options)
        runs: dict[str, list[Measured]] = {program: [] for program in programs}
        for number in range(options.rounds):
            for program, command in programs.items():
                if program not in runs:
                    continue
                try:
                    runs[program].append(measure(command, base / "out", options.images))
                except subprocess.CalledProcessError as error:
                    del runs[program]
                    print(f"left out: {program}: {error.stderr.strip().splitlines()[-1]}")
                else:
                    print(f"round {number + 1}: {program}: {runs[program][-1]}", flush=True)
    table = summary(runs, options.images)
    for row in table:
        print(
            f"{row['program']:26} {row['seconds']:7.1f} s  ours is {row['ours']:.2f} times as fast"
            f"  first after {row['first']:5.1f} s  peak {row['peak'] / 2**30:.2f} GiB"
        )
    if options.json:
        found = {"machine": cpu_name(), "cores": os.cpu_count(), "programs": table}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.plot:
        title = f"Seconds for {options.images} photographs, start-up included"
        draw_bars(options.plot, title, {row["program"]: row["seconds"] for row in table})


def prepare(base: pathlib.Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """Write bundles and models. Returns the command of each program, with OUT for its output."""
    import keras

    import encoder

    model = encoder.vgg16_imagenet(options.weights)
    for precision in ("float32", "bfloat16"):
        encoder.extract(
            model,
            base / precision,
            layer="block5_pool",
            preprocess="caffe",
            precision=precision,
        )
    taken = model.get_layer("block5_pool").output
    plain = keras.Model(model.inputs, keras.layers.GlobalAveragePooling2D()(taken))
    plain.save(base / "plain.keras")
    np.savez(base / "plain.npz", *plain.get_weights())
    photos, run = str(base / "photos"), [options.python, "-m"]
    peer = "benchmarks.peers."
    programs = {
        f"ours, {precision}": [
            *run,
            *("pipeline", "run", "--input", photos, "--output", "OUT"),
            *("--encoder", str(base / precision)),
        ]
        for precision in ("float32", "bfloat16")
    }
    keras_model = str(base / "plain.keras")
    programs["tf.data and predict"] = [*run, f"{peer}tf_data", photos, keras_model, "OUT"]
    programs["stock Beam"] = [*run, f"{peer}stock_beam", photos, keras_model, "OUT"]
    programs["PyTorch DataLoader"] = [
        *(options.torch_python, "-m", f"{peer}torch_loader"),
        *(photos, str(base / "plain.npz"), "OUT"),
    ]
    words = options.only or [""]
    return {
        name: command for name, command in programs.items() if any(word in name for word in words)
    }


def measure(command: list[str], output: pathlib.Path, images: int) -> Measured:
    """Run a program, and check that it wrote one vector for each image.

    Raises:
        subprocess.CalledProcessError: the program failed.
    """
    command = [str(output / "vectors") if word == "OUT" else word for word in command]
    shutil.rmtree(output, ignore_errors=True)  # what the program before has written
    output.mkdir()
    first: list[float] = []
    with tempfile.TemporaryFile("w+") as said:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=said, stderr=said, env=quiet_environment())
        watch = threading.Thread(target=wait_for_parquet, args=(output, process, first))
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.join()
        said.seek(0)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, stderr=said.read())
    assert sum(pq.read_metadata(path).num_rows for path in parquet_files(output)) == images
    return Measured(seconds, first[0] - began if first else seconds, usage.ru_maxrss << 10)


def quiet_environment() -> dict[str, str]:
    """The environment without our own settings of TensorFlow, so that its defaults apply."""
    ours = ("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS")
    return {name: value for name, value in os.environ.items() if name not in ours}


def wait_for_parquet(
    output: pathlib.Path, process: subprocess.Popen[bytes], first: list[float]
) -> None:
    """Note the time at which the first complete file exists."""
    while process.returncode is None and not first:
        if any(path.stat().st_size for path in parquet_files(output)):
            first.append(time.monotonic())
        time.sleep(0.05)


def parquet_files(output: pathlib.Path) -> Iterable[pathlib.Path]:
    """The files with vectors. This project also writes a log of changes, which is left out."""
    return [
        path
        for path in output.rglob("*")
        if path.is_file()
        and (path.name.startswith("vectors") or "embeddings" in path.parts)
        and not path.name.startswith(".")
    ]


def summary(runs: dict[str, list[Measured]], images: int) -> list[dict[str, object]]:
    """One row for each program: medians, and how much faster this project is in each round."""
    rows: list[dict[str, object]] = []
    base = next(iter(runs.values()))
    for program, measured in runs.items():
        ratios = [each.seconds / our.seconds for each, our in zip(measured, base, strict=False)]
        rows.append(
            {
                "program": program,
                "seconds": statistics.median(each.seconds for each in measured),
                "images_per_second": images / statistics.median(each.seconds for each in measured),
                "ours": statistics.median(ratios),
                "first": statistics.median(each.first for each in measured),
                "peak": max(each.peak for each in measured),
                "rounds": [each._asdict() for each in measured],
            }
        )
    return rows


if __name__ == "__main__":
    main()
