"""A real dataset for the tests of upkeep, ways to damage it, and ways to die while it changes."""

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

STORE_CALLS = ("write", "write_if", "delete")


class Killed(BaseException):
    """As SIGKILL: nothing that handles errors sees it."""


def make_collection(base, bundle):
    """Three runs over ever more pictures, two new ones and a bad one each: (images, output)."""
    images, output = base / "images", base / "out"
    for number in range(3):
        for seed in (2 * number, 2 * number + 1):
            write_image(images / f"{seed}.png", seed)
        (images / f"bad{number}.jpg").write_text("no image")
        run(images, bundle, output, "--run-id", f"run{number}")
    return images, output


def run(images, bundle, output, *options):
    """A run that has to succeed; gives its record."""
    dataset = Dataset(output, bundle)
    dataset.run(images, options=options)
    return dataset.record()


def copy_of(output, tmp_path, number=0):
    """The dataset once more, with the times of its files."""
    return pathlib.Path(shutil.copytree(output, tmp_path / f"copy{number}" / "out"))


def by_glob(output, kind="embeddings"):
    """Every row that any reader finds, as text; one that is there twice is twice in it."""
    folder = pathlib.Path(output) / kind
    if not any(folder.rglob("*.parquet")):
        return []
    rows = ds.dataset(folder, format="parquet").to_table().to_pylist()
    return sorted(map(repr, rows))


def kill_at(monkeypatch, number, after, command):
    """Call a command and kill it before or after its n-th change; gives whether it died."""
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
    """Change the values of manifest.json by hand."""
    values = manifest_of(output)
    change(values)
    (pathlib.Path(output) / "manifest.json").write_text(json.dumps(values))


def entries(values, kind="embeddings"):
    """What manifest.json says of the parts of its one encoder."""
    (state,) = values["encoders"].values()
    return state[kind]


def parts(output, kind="embeddings"):
    """Paths of the live parts, in order of their runs."""
    return [pathlib.Path(output) / entry["path"] for entry in entries(manifest_of(output), kind)]


def replace_part(output, path, table):
    """Other rows in a part, as if a run had written them so."""
    pq.write_table(table, path)

    def fix(values):
        for kind in ("embeddings", "failures"):
            for entry in entries(values, kind):
                if path.match(entry["path"]):
                    entry.update(bytes=path.stat().st_size, rows=table.num_rows, crc32c="")

    edit_manifest(output, fix)


def flip_a_bit_of_a_vector(part):
    """As a bad disk does; the file's size stays."""
    column = pq.ParquetFile(part).metadata.row_group(0).column(1)
    data = bytearray(part.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    part.write_bytes(data)
