"""Random histories of a collection: each run leaves the dataset that a first run would make.

Hypothesis makes the histories. HISTORIES in the environment is their number, of 50 steps each.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

import encoder
import encoder.bundle
from encoder.spec import read_spec
from pipeline.__main__ import build_parser, main
from pipeline.dataset.changes import ADDED, changes_since
from pipeline.dataset.reader import open_dataset
from pipeline.runs import shares
from pipeline.steps import merge
from tests.jobs.kill import harness, points
from tests.jobs.kill.world import BAD, World, load, vector_of
from tests.support.packed import picture

HISTORIES = int(os.environ.get("HISTORIES", 0))
NAMES = st.sampled_from([f"{n}.png" for n in range(4)])
GOOD = st.integers(0, 5)  # number of images: a few, so that content returns under other names
OPTIONS = ["--allow-empty", "--max-failure-ratio", "1"]


class SimulatedKill(BaseException):
    """The process counts as killed: it must not write anything later."""


class Killer:
    """Raises SimulatedKill at the nth point of a run and at every later one."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    def reached(self, point: str, path: str) -> None:
        """See points.install."""
        self._left -= 1
        if self._left <= 0:
            raise SimulatedKill(point)


def quiet(words: list[str]) -> int:
    """Run a command. Returns its exit code."""
    with (
        open(os.devnull, "w") as sink,
        contextlib.redirect_stdout(sink),
        contextlib.redirect_stderr(sink),
    ):
        return main(words)


def commands() -> set[str]:
    """Commands of ``python -m pipeline``."""
    return set(next(action.choices for action in build_parser()._actions if action.choices))


class History(RuleBasedStateMachine):
    """Changes of a collection, and runs over it, some of which are killed."""

    def __init__(self, bundles: list[pathlib.Path]) -> None:
        super().__init__()
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="history-"))
        self.output = self.base / "out"
        self.bundles = bundles
        self.bundle = bundles[0]
        self.world = World(self.base)
        self.done: dict[str, dict[str, Any]] = {}  # encoder id -> its committed rows
        self.died = False  # whether a run was killed since the last commit

    def teardown(self) -> None:
        try:
            if self.output.exists():
                self.run()
                fresh = self.base / "fresh"
                assert quiet(self.words(output=fresh)) == 0
                kinds = ("embeddings", "failures")
                own = f"encoder={read_spec(self.bundle).id}"
                for kind in kinds:
                    found, expected = (self.glob(out, kind, own) for out in (self.output, fresh))
                    assert harness.state_of(found) == harness.state_of(expected)
        finally:
            shutil.rmtree(self.base)

    # Changes of the collection.

    @rule(name=NAMES, content=GOOD)
    def write_loose(self, name: str, content: int) -> None:
        self.world.write(self.base / "in" / name, picture(content))

    @rule(name=NAMES, content=GOOD)
    def write_listed(self, name: str, content: int) -> None:
        self.world.write(self.base / "elsewhere" / name, picture(content))
        self.world.name(self.world.listed | {name})

    @rule(name=NAMES)
    def drop_from_list(self, name: str) -> None:
        self.world.name(self.world.listed - {name})

    @rule(folder=st.sampled_from(["in", "elsewhere"]), name=NAMES)
    def corrupt(self, folder: str, name: str) -> None:
        self.world.write(self.base / folder / name, BAD)

    @rule(folder=st.sampled_from(["in", "elsewhere"]), name=NAMES)
    def delete(self, folder: str, name: str) -> None:
        (self.base / folder / name).unlink(missing_ok=True)

    @rule(name=st.sampled_from(["0.png", "1.png", "2.png", "3.png", "packed.tar"]))
    def touch(self, name: str) -> None:
        if (self.base / "in" / name).exists():
            self.world.age(self.base / "in" / name)

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        if (self.base / "in" / old).exists():
            os.replace(self.base / "in" / old, self.base / "in" / new)

    @rule(name=NAMES, content=st.one_of(st.none(), GOOD))
    def pack(self, name: str, content: int | None) -> None:
        self.world.packed[name] = BAD if content is None else picture(content)
        self.world.repack()

    @rule(name=NAMES)
    def unpack(self, name: str) -> None:
        if self.world.packed.pop(name, None):
            self.world.repack()

    @rule()
    def lose_the_archive(self) -> None:
        self.world.packed = {}
        (self.base / "in" / "packed.tar").unlink(missing_ok=True)

    # Commands on the dataset.

    @rule(rows=st.sampled_from([1, 2, 100_000]))
    def divide(self, rows: int) -> None:
        shares.MOST_ROWS = rows

    @rule(parts=st.sampled_from([0, 1000]))
    def merge(self, parts: int) -> None:
        merge.MOST_PARTS = parts

    @rule(which=st.integers(0, 1))
    def choose_encoder(self, which: int) -> None:
        self.bundle = self.bundles[which]

    @rule()
    def run(self) -> None:
        before = self.done.get(self.id, {})
        known = {(uri, row["sha256"]) for uri, row in before.items()}
        assert quiet(self.words()) == 0
        self.check()
        record = harness.last_record(self.output)
        rows, failures = self.world.expected()
        assert record["listed"] == len(rows) + len(failures)
        # Only images with changed content are embedded.
        new = {(uri, sha256) for uri, (_, sha256) in rows.items()} - known
        assert record["embedded"] <= len(new)
        assert record["deleted"] >= len(before.keys() - rows.keys() - failures.keys())

    @rule(nth=st.integers(1, 40))
    def killed_run(self, nth: int) -> None:
        before = self.committed()
        self.died = True
        with pytest.MonkeyPatch.context() as patch:
            points.install(Killer(nth).reached, patch.setattr)
            try:
                assert quiet(self.words()) == 0
                committed = True  # the run had fewer points
            except SimulatedKill:
                committed = False
        if committed:
            self.check()
            return
        after = self.committed()
        if after != before:  # the run had committed
            assert after == set(self.world.expected()[0].items())
            self.done[self.id] = {
                row["uri"]: row for row in open_dataset(self.output, self.id).to_table().to_pylist()
            }

    @precondition(lambda self: "compact" in commands())
    @rule()
    def compact(self) -> None:
        if self.done and not self.died:
            assert quiet(["compact", str(self.output)]) == 0
            self.check_others()

    # Checks.

    @property
    def id(self) -> str:
        return read_spec(self.bundle).id

    def words(self, output: pathlib.Path | None = None) -> list[str]:
        inputs = [str(self.base / "in"), str(self.base / "list.txt")]
        return harness.words(inputs, self.bundle, output or self.output, *OPTIONS)

    def glob(self, output: pathlib.Path, kind: str, own: str) -> dict[str, Any]:
        """The rows that pyarrow reads from the folder of one encoder."""
        folder = output / kind / own
        table = ds.dataset(folder).to_table().to_pylist() if folder.exists() else []
        found = {row["uri"]: row for row in table}
        assert len(found) == len(table)
        return found

    def committed(self) -> set[Any]:
        """The committed state of the current encoder."""
        with contextlib.suppress(encoder.InputError):
            rows = open_dataset(self.output, self.id).to_table().to_pylist()
            return {(row["uri"], (row["version"], row["sha256"])) for row in rows}
        return set()

    def check(self) -> None:
        """Check the dataset after a run has committed."""
        own = f"encoder={self.id}"
        rows, failures = self.world.expected()
        found = self.glob(self.output, "embeddings", own)
        assert {u: (row["version"], row["sha256"]) for u, row in found.items()} == rows
        failed = self.glob(self.output, "failures", own)
        assert {u: (row["version"], row["stage"]) for u, row in failed.items()} == failures
        for row in found.values():
            expected = vector_of(self.bundle, row["sha256"])
            np.testing.assert_allclose(row["embedding"], expected, rtol=1e-4, atol=1e-6)
        self.done[self.id] = found
        self.died = False
        self.check_others()
        # All logs together amount to: the current rows were added.
        log = changes_since(str(self.output), "", self.id)
        assert {each.uri: each.change for each in log} == dict.fromkeys(found, ADDED)

    def check_others(self) -> None:
        """Check that the rows of each encoder are those of its own last run."""
        for name, rows in self.done.items():
            table = open_dataset(self.output, name).to_table().to_pylist()
            assert {row["uri"]: row for row in table} == rows


def play(machine: Callable[[], RuleBasedStateMachine], histories: int, steps: int) -> None:
    """Play histories: fixed ones in usual tests, random ones of 50 steps with HISTORIES."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=HISTORIES or histories,
            stateful_step_count=50 if HISTORIES else steps,
            derandomize=not HISTORIES,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if HISTORIES else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_random_histories(small_bundle, small_model_file, tmp_path, monkeypatch):
    encoder.extract(small_model_file, tmp_path / "second", layer="pool1")
    monkeypatch.setattr("encoder.bundle.load", lambda path, **_: load(path))  # once for all runs
    monkeypatch.setattr(shares, "MOST_ROWS", 2)  # rules set these two, too
    monkeypatch.setattr(merge, "MOST_PARTS", 0)
    monkeypatch.setattr("pipeline.dataset.changes._LOGS_AT_ONCE", 3)
    play(functools.partial(History, [small_bundle, tmp_path / "second"]), 6, 20)
