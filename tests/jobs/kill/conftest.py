"""Fixtures of the kill tests. KILLS in the environment is the number of kills, e.g. 50."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from pipeline.__main__ import main
from tests.jobs.kill import harness

LONG = bool(os.environ.get("KILLS"))


@pytest.fixture(scope="session")
def template(tmp_path_factory, small_bundle):
    """A collection that fills a little more than two parts, and an undisturbed run over it."""
    folder = tmp_path_factory.mktemp("collection")
    collection = harness.Collection(folder / "files", 2100)
    assert main(harness.words(collection.inputs, small_bundle, folder / "out")) == 0
    return folder


class Trial:
    """A collection, its output, and disturbed runs over it."""

    def __init__(self, folder, template, bundle, capsys):
        self.folder, self._template, self.bundle, self._capsys = folder, template, bundle, capsys
        self.collection = harness.Collection(folder / "files", 0)
        self.output = folder / "out"
        self.calls = folder / "calls"
        self.calls.touch()
        self.rng = np.random.default_rng(2026)

    def words(self, output=None, options=()):
        return harness.words(self.collection.inputs, self.bundle, output or self.output, *options)

    def hit(self, *launcher, options=()):
        """Run in a new process. Returns the exit code, stdout and stderr."""
        process = harness.start(self.words(options=options), *launcher, "--calls", self.calls)
        return harness.finish(process)

    def run(self, output=None):
        """Run undisturbed in this process. Returns the record."""
        return self.main(self.words(output), output)

    def main(self, words, output=None):
        """Another command, in the same way."""
        code = main(words)
        out, err = self._capsys.readouterr()
        assert (code, err) == (0, ""), out + err
        return harness.last_record(output or self.output)

    def computed(self):
        """The number of images that the encoder has embedded since the last call."""
        count = self.calls.stat().st_size
        os.truncate(self.calls, 0)
        return count

    def finished(self):
        """The number of rows in parts that no run has committed yet."""
        live = harness.committed_parts(self.output)
        return sum(
            harness.count_rows(path)
            for path in self.output.glob("staging/embeddings/*/*/part-*.parquet")
            if str(path.relative_to(self.output / "staging")) not in live
        )

    def reference(self):
        """The folder and output of an undisturbed run over the current collection."""
        if not self.collection.changes:
            return self._template
        folder = self.folder / f"reference{self.collection.changes}"
        if not folder.exists():
            self.run(folder / "out")
        return folder

    def check(self):
        """Check that the dataset is that of an undisturbed run, without any other file."""
        folder = self.reference()
        reference = {
            kind: {
                uri.replace(f"{folder}/", f"{self.folder}/"): row
                for uri, row in harness.rows(folder / "out", kind).items()
            }
            for kind in ("embeddings", "failures")
        }
        harness.assert_same(self.output, reference)
        listed = {uri for rows in reference.values() for uri in rows}
        harness.assert_no_stray_file(self.output, listed)


@pytest.fixture
def trial(template, tmp_path, small_bundle, capsys):
    shutil.copytree(template / "files", tmp_path / "files")
    return Trial(tmp_path, template, small_bundle, capsys)
