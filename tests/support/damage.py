"""A real dataset for the tests of upkeep, and functions that damage it or kill commands."""

import itertools
import json
import pathlib
import shutil
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from encoder.storage.local import LocalStore
from tests.conftest import write_image
from tests.support.dataset import Dataset

STORE_CALLS = ("write", "write_if", "move", "delete")


class Killed(BaseException):
    """Stands for SIGKILL: no code that handles errors catches it."""


def make_collection(base, bundle):
    """Three runs over growing images, each with two new ones and a bad one: (images, output)."""
    images, output = base / "images", base / "out"
    for number in range(3):
        for seed in (2 * number, 2 * number + 1):
            write_image(images / f"{seed}.png", seed)
        (images / f"bad{number}.jpg").write_text("no image")
        run(images, bundle, output, "--run-id", f"run{number}")
    return images, output


def run(images, bundle, output, *options):
    """A run that has to succeed. Returns its record."""
    dataset = Dataset(output, bundle)
    dataset.run(images, options=options)
    return dataset.record()


def copy_of(output, tmp_path, number=0):
    """A copy of the dataset that keeps the times of its files."""
    return pathlib.Path(shutil.copytree(output, tmp_path / f"copy{number}" / "out"))


def by_glob(output, kind="embeddings"):
    """Every row that a reader finds by glob, as text. Duplicates are kept."""
    folder = pathlib.Path(output) / kind
    if not any(folder.rglob("*.parquet")):
        return []
    rows = ds.dataset(folder, format="parquet").to_table().to_pylist()
    return sorted(map(repr, rows))


def kill_at(monkeypatch, number, after, command):
    """Call a command and kill it before or after its nth change. Returns whether it died."""
    calls = itertools.count(1)

    def dying(original: Any) -> Any:
        def call(self, *arguments):
            now = next(calls) == number
            if now and not after:
                raise Killed
            result = original(self, *arguments)
            if now:
                raise Killed
            return result

        return call

    with monkeypatch.context() as patch:
        for name in STORE_CALLS:
            patch.setattr(LocalStore, name, dying(getattr(LocalStore, name)))
        try:
            command()
        except Killed:
            return True
    return False


def manifest_of(output):
    return Dataset(output).manifest()


def edit_manifest(output, change):
    """Change values of manifest.json."""
    values = manifest_of(output)
    change(values)
    (pathlib.Path(output) / "manifest.json").write_text(json.dumps(values))


def entries(values, kind="embeddings"):
    """The parts of the only encoder in manifest.json."""
    (state,) = values["encoders"].values()
    return state[kind]


def parts(output, kind="embeddings"):
    """The paths of the live parts, in the order of their runs."""
    return [pathlib.Path(output) / entry["path"] for entry in entries(manifest_of(output), kind)]


def replace_part(output, path, table):
    """Replace the rows of a part, as if a run had written them."""
    pq.write_table(table, path)

    def fix(values):
        for kind in ("embeddings", "failures"):
            for entry in entries(values, kind):
                if path.match(entry["path"]):
                    entry.update(bytes=path.stat().st_size, rows=table.num_rows, crc32c="")

    edit_manifest(output, fix)


def flip_a_bit_of_a_vector(part):
    """Damage a part like a bad disk, without changing its size."""
    column = pq.ParquetFile(part).metadata.row_group(0).column(1)
    data = bytearray(part.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    part.write_bytes(data)
