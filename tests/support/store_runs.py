"""A run over images in a store, and what it left; shared by the tests of such stores."""

import json

import pyarrow.dataset as ds

from pipeline.__main__ import main


def run_over(tmp_path, bundle, source, *more, command="run", output="out"):
    """The exit code of a command over one or several inputs; the output is in tmp_path."""
    inputs = [source] if isinstance(source, str) else source
    place = output if "://" in output else tmp_path / output
    named = [word for text in inputs for word in ("--input", text)]
    return main([command, *named, "--encoder", str(bundle), "--output", str(place), *more])


def rows(tmp_path, kind="embeddings"):
    """By uri, by plain pyarrow over the folder; without what lies before a bucket's names."""
    table = ds.dataset(tmp_path / "out" / kind, partitioning="hive").to_table()
    return {row["uri"].removeprefix("s3://photos/"): row for row in table.to_pylist()}


def counts(tmp_path):
    """Of the last run's record, those that are not 0."""
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    run = list(manifest["runs"])[-1]
    record = json.loads((tmp_path / "out" / "runs" / f"{run}.json").read_text())
    names = ("listed", "new", "changed", "unchanged", "deleted", "embedded", "failed")
    return {name: record[name] for name in names if record[name]}
