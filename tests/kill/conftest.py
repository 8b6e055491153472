"""What the tests of this folder share. With KILLS=50 in the environment they kill that often."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from pipeline.__main__ import main
from tests.kill import harness

LONG = bool(os.environ.get("KILLS"))


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A collection that takes two whole parts and a bit; copied for each test."""
    folder = tmp_path_factory.mktemp("collection")
    harness.Collection(folder / "files", 2100)
    return folder / "files"


class Trial:
    """A collection, its output, and runs over it that are hit by something."""

    def __init__(self, folder, bundle, capsys):
        self.folder, self.bundle, self._capsys = folder, bundle, capsys
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
        code = main(self.words(output))
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

    def check(self):
        """What lies there is what an undisturbed run over the collection as it is gives."""
        reference = self.folder / f"reference{len(list(self.folder.glob('reference*')))}"
        self.run(reference)
        harness.assert_same(self.output, reference)
        harness.assert_no_stray_file(self.output)


@pytest.fixture
def trial(template, tmp_path, small_bundle, capsys):
    shutil.copytree(template, tmp_path / "files", dirs_exist_ok=True)
    return Trial(tmp_path, small_bundle, capsys)
