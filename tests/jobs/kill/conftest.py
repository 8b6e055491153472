"""What the tests of this folder share. With KILLS=50 in the environment they kill that often."""

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
    """A collection that takes two whole parts and a bit, and an undisturbed run over it."""
    folder = tmp_path_factory.mktemp("collection")
    collection = harness.Collection(folder / "files", 2100)
    assert main(harness.words(collection.inputs, small_bundle, folder / "out")) == 0
    return folder


class Trial:
    """A collection, its output, and runs over it that are hit by something."""

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
        """Run in a process of its own; gives the exit code, stdout and stderr."""
        process = harness.start(self.words(options=options), *launcher, "--calls", self.calls)
        return harness.finish(process)

    def run(self, output=None):
        """Run in this process, undisturbed; gives the record."""
        return self.main(self.words(output), output)

    def main(self, words, output=None):
        """Another command line, likewise."""
        code = main(words)
        out, err = self._capsys.readouterr()
        assert (code, err) == (0, ""), out + err
        return harness.last_record(output or self.output)

    def computed(self):
        """How many images the encoder has embedded since the last call."""
        count = self.calls.stat().st_size
        os.truncate(self.calls, 0)
        return count

    def finished(self):
        """Rows in parts that no run has committed yet, by glob."""
        live = harness.committed_parts(self.output)
        return sum(
            harness.count_rows(path)
            for path in self.output.glob("embeddings/*/*/part-*.parquet")
            if str(path.relative_to(self.output)) not in live
        )

    def reference(self):
        """The folder and the output of an undisturbed run over the collection as it is."""
        if not self.collection.changes:
            return self._template
        folder = self.folder / f"reference{self.collection.changes}"
        if not folder.exists():
            self.run(folder / "out")
        return folder

    def check(self):
        """What lies there is what an undisturbed run gives, and nothing else."""
        folder = self.reference()
        reference = {
            kind: {
                uri.replace(f"{folder}/", f"{self.folder}/"): row
                for uri, row in harness.rows(folder / "out", kind).items()
            }
            for kind in ("embeddings", "failures")
        }
        harness.assert_same(self.output, reference)
        harness.assert_no_stray_file(self.output)


@pytest.fixture
def trial(template, tmp_path, small_bundle, capsys):
    shutil.copytree(template / "files", tmp_path / "files")
    return Trial(tmp_path, template, small_bundle, capsys)
