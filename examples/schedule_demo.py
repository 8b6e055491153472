"""Five nightly runs over a collection that changes, with the script that cron and systemd call.

Photographs come, change and go; a file is broken; one night the machine goes down in the middle of
a run, and the night after takes over what was finished. Then the weekly upkeep. It takes about a
minute.
Run it with ``make schedule-demo``.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image

from examples.real_data import photographs

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "deploy" / "one-machine" / "embed-images.sh"
COLUMNS = ("listed", "new", "changed", "deleted", "embedded", "failed", "resumed", "seconds")
OUTAGE_SECONDS = 120  # after which a night that should be cut short is given up


def main() -> int:
    """Run the five nights and the upkeep. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("schedule-demo-output"))
    folder = parser.parse_args().output.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    photos = folder / "photos"
    collection = photographs(photos)
    make_bundle(folder / "encoder")
    config = write_config(folder)

    nights = (
        ("the first run", lambda: None),
        ("3 photographs come", lambda: add(collection, photos, 3)),
        ("2 change, 4 go, 1 file is broken", lambda: change(collection, photos)),
        ("150 come, and the machine goes down", lambda: add(collection, photos, 150)),
        ("nothing; it goes on where it was", lambda: None),
    )
    print(row("night", "what happens", "exit", *COLUMNS), flush=True)
    for number, (what, happens) in enumerate(nights, 1):
        happens()
        if "goes down" in what:
            code, second = cut_short(config, folder)
            counts = ["killed in the middle; a second call meanwhile:", f"exit code {second}"]
        else:
            code, counts = call("nightly", config), counts_of_last_run(folder / "dataset")
        print(row(str(number), what, str(code), *counts), flush=True)
    upkeep = call("weekly", config)
    print(row("week", "compact, prune, verify", str(upkeep)))
    print(f"the log of all calls: {folder / 'log'}")
    return upkeep


def row(night: str, what: str, code: str, *counts: str) -> str:
    """A line of the table."""
    return f"{night:5}  {what:35}  {code:>4} " + "".join(f" {count:>8}" for count in counts)


def make_bundle(folder: pathlib.Path) -> None:
    """Make the bundle of a small network with random weights: this demo shows a schedule."""
    code = (
        "import sys, encoder; m = encoder.vgg16_encoder_decoder(input_size=(96, 96, 1));"
        "m.save(sys.argv[1] + '.keras');"
        "encoder.extract(sys.argv[1] + '.keras', sys.argv[1], layer='pool_3', preprocess='unit')"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def write_config(folder: pathlib.Path) -> pathlib.Path:
    """Write the configuration of the script, as in deploy/one-machine/photos.conf."""
    config = folder / "photos.conf"
    config.write_text(
        f"PYTHON={sys.executable}\n"
        f"RUN_OPTIONS=(--input {folder / 'photos'} --encoder {folder / 'encoder'})\n"
        f"OUTPUT={folder / 'dataset'}\n"
        f"LOCK={folder / 'lock'}\n"
        f"LOG={folder / 'log'}\n"
        "RETRY_SECONDS=1\n"
    )
    return config


def call(what: str, config: pathlib.Path) -> int:
    """Call the script as cron would. Returns its exit code."""
    return subprocess.run([SCRIPT, what, config], cwd=ROOT, check=False).returncode


def cut_short(config: pathlib.Path, folder: pathlib.Path) -> tuple[int, int]:
    """Start a night, call the script a second time, and kill the first call in the middle.

    Returns the exit codes of both.

    Raises:
        TimeoutError: the run finished no part in OUTAGE_SECONDS.
    """
    night = subprocess.Popen([SCRIPT, "nightly", config], cwd=ROOT, start_new_session=True)
    staging = folder / "dataset" / "staging"
    end = time.monotonic() + OUTAGE_SECONDS
    while not list(staging.rglob("embeddings/**/*.parquet")):
        if night.poll() is not None or time.monotonic() > end:
            raise TimeoutError("the run was over before it could be cut short")
        time.sleep(0.05)
    second = call("nightly", config)
    for process in processes_of(night.pid):
        os.kill(process, signal.SIGKILL)
    code = night.wait()
    # Its processes take a moment to end; each holds the lock as long.
    subprocess.run(["flock", folder / "lock", "true"], check=True, timeout=OUTAGE_SECONDS)
    return code, second


def processes_of(session: int) -> list[int]:
    """The processes of a session, as Linux lists them."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[3]) == session:
            found.append(int(stat.parent.name))
    return found


def add(collection: list[pathlib.Path], photos: pathlib.Path, count: int) -> None:
    """Add so many pieces of photographs, each another one, as files of their own."""
    chance = np.random.default_rng(count)
    originals = [Image.open(path).convert("RGB") for path in collection if path.exists()]
    originals = [each for each in originals if min(each.size) > 128]
    for number in range(count):
        original = originals[number % len(originals)]
        left = int(chance.integers(original.width - 128))
        top = int(chance.integers(original.height - 128))
        piece = original.crop((left, top, left + 128, top + 128))
        piece.save(photos / f"piece-{count}-{number:03}.jpg")


def change(collection: list[pathlib.Path], photos: pathlib.Path) -> None:
    """Change two photographs, remove four, and add a file that is no image."""
    first, second, *others = collection
    for path in (first, second):
        with Image.open(path) as opened:
            turned = opened.transpose(Image.Transpose.ROTATE_180)
        turned.save(path)
    for path in others[:4]:
        path.unlink()
    (photos / "broken.jpg").write_bytes(b"not an image")


def counts_of_last_run(dataset: pathlib.Path) -> list[str]:
    """The columns of the table, from the record of the last run that committed."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    record = json.loads((dataset / "runs" / f"{list(manifest['runs'])[-1]}.json").read_text())
    return [f"{record[name]:.1f}" if name == "seconds" else str(record[name]) for name in COLUMNS]


if __name__ == "__main__":
    sys.exit(main())
