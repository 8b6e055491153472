"""Runs jobs into a dataset and reads their results like users: with the command line, with plain
pyarrow from the folder, with the manifest and with the run records."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from encoder.spec import read_spec
from pipeline.__main__ import main
from pipeline.dataset.reader import open_dataset

# Counts of the run record; the first four of the second line add up to those listed.
COUNTS = (
    *("listed", "new", "changed", "deleted"),
    *("unchanged", "resumed", "embedded", "failed"),
)

Row = dict[str, Any]


@contextlib.contextmanager
def dying(where: str = "pipeline.steps.commit.commit") -> Iterator[None]:
    """Runs within this block die, by default just before the commit."""

    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, killed)
        yield


class Output(NamedTuple):
    """The output of a command, and its exit code."""

    code: int
    out: str
    err: str


class Dataset:
    """A dataset in a folder.

    Args:
        folder: the --output of the runs.
        bundle: the encoder of runs that name no other.
        root: the beginning of uris that is left out.
        capsys: the fixture of pytest; without it the output of commands is not read.
    """

    def __init__(self, folder, bundle=None, root=None, capsys=None):
        self.folder = pathlib.Path(folder)
        self.bundle = bundle
        self._root = root or self.folder.parent
        self._capsys = capsys

    def shell(self, command: str, *words: object) -> Output:
        """Run a command with these words. No other options are added."""
        code = main([command, *map(str, words)])
        return Output(code, *self._capsys.readouterr()) if self._capsys else Output(code, "", "")

    def job(self, *inputs, options=(), command="run", bundle=None, output=None) -> Output:
        """Run or plan over some inputs."""
        words = ["--encoder", bundle or self.bundle, "--output", output or self.folder, *options]
        for each in inputs:
            words += ["--input", each]
        return self.shell(command, *words)

    def run(self, *inputs, options=(), bundle=None, code=0) -> dict[str, int] | str:
        """A run with this exit code. Returns its counts, or the error if it fails."""
        output = self.job(*inputs, options=options, bundle=bundle)
        assert output.code == code, output.err
        return output.err if code else self.counts()

    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json."""
        return json.loads((self.folder / "manifest.json").read_text())

    def record(self, run_id: str | None = None) -> dict[str, Any]:
        """The record of a run, by default of the last one. Checks that its counts add up."""
        name = run_id or list(self.manifest()["runs"])[-1]
        record = json.loads((self.folder / "runs" / f"{name}.json").read_text())
        assert record["listed"] == sum(record[name] for name in COUNTS[4:])
        return record

    def counts(self) -> dict[str, int]:
        """The counts of the last record that are not 0."""
        record = self.record()
        return {name: record[name] for name in COUNTS if record[name]}

    def rows(self, kind: str = "embeddings", bundle=None) -> dict[str, Row]:
        """The rows of one encoder or all by uri, read with plain pyarrow from the folder.

        Checks that no uri occurs twice. Leaves out the root at the beginning of uris.
        """
        folder = self.folder / kind
        if bundle:
            folder /= f"encoder={read_spec(bundle).id}"
        if not folder.exists():
            return {}
        found = by_uri(ds.dataset(folder).to_table())
        return {uri.removeprefix(f"{self._root}/"): row for uri, row in found.items()}

    def by_name(self, kind: str = "embeddings", bundle=None) -> dict[str, Row]:
        """The rows by the last part of the uri."""
        rows = self.rows(kind, bundle)
        found = {os.path.basename(uri): row for uri, row in rows.items()}
        assert len(found) == len(rows)
        return found

    def runs(self, kind: str = "embeddings") -> set[str]:
        """The runs that wrote the rows, as a reader with hive partitioning sees them."""
        table = ds.dataset(self.folder / kind, partitioning="hive").to_table()
        return set(table["run"].to_pylist())

    def committed(self) -> dict[str, Row]:
        """The rows of the last committed state by uri, as the manifest names them."""
        if not (self.folder / "manifest.json").exists():
            return {}
        return by_uri(open_dataset(self.folder).to_table())


def by_uri(table: pa.Table) -> dict[str, Row]:
    """The rows of a table by uri. Checks that no uri occurs twice."""
    found = {row["uri"]: row for row in table.to_pylist()}
    assert len(found) == table.num_rows, "a uri has several rows"
    return found
