"""A collection that changes, runs over it in new processes, and checks of their output."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tests.conftest import write_image
from tests.support.dataset import Dataset
from tests.support.packed import picture, tar

ROOT = pathlib.Path(__file__).parents[3]
_PROGRESS = re.compile(r"[0-9,]+ of [0-9,]+ images, ")
TIMEOUT = 180  # seconds, after which a run counts as hanging


class Collection:
    """Single images, an archive and a list, which can all change.

    Args:
        folder: its folder, which is made if it does not exist.
        count: number of single images to make. Another 40 are in an archive and 40 in a list.
    """

    def __init__(self, folder: pathlib.Path, count: int = 0) -> None:
        self._folder = folder
        self.changes = 0
        self._next = 10_000
        self._packed = [(f"{n}.png", picture(n)) for n in range(40)]
        if count:
            self._make(count)

    def _make(self, count: int) -> None:
        folder = self._folder
        for n in range(count):
            write_image(folder / "in" / "loose" / f"{n:05}.png", n, (32, 32))
        for n in range(40):
            write_image(folder / "listed" / f"{n}.png", 5000 + n, (32, 32))
        for n in range(10):
            (folder / "in" / "loose" / f"bad{n}.jpg").write_bytes(b"no image")
        self._write(range(40))

    @property
    def inputs(self) -> list[str]:
        """The values of --input."""
        return [str(self._folder / "in"), str(self._folder / "list.txt")]

    def change(self, rng: np.random.Generator) -> None:
        """Make a few changes of every kind."""
        self.changes += 1
        loose = sorted((self._folder / "in" / "loose").glob("*.png"))
        chosen = rng.choice(len(loose), 50, replace=False)
        for at in chosen[:20]:
            self._next += 1
            write_image(loose[at], self._next, (32, 32))
        for at in chosen[20:30]:
            os.utime(loose[at])
        for at in chosen[30:40]:
            loose[at].unlink()
        for at in chosen[40:45]:
            loose[at].rename(loose[at].with_name(f"moved{loose[at].name}"))
        for at in chosen[45:]:
            loose[at].write_bytes(b"no image any more")
        for _ in range(20):
            self._next += 1
            write_image(self._folder / "in" / "loose" / f"{self._next}.png", self._next, (32, 32))
        self._packed[int(rng.integers(40))] = (f"{self._next}.png", picture(self._next))
        self._write(sorted(rng.choice(40, 30, replace=False)))

    def _write(self, listed: Any) -> None:
        tar(self._folder / "in" / "packed.tar", self._packed)
        lines = "".join(f"listed/{n}.png\n" for n in listed)
        (self._folder / "list.txt").write_text(lines)


def words(inputs: list[str], bundle: Any, output: Any, *options: Any) -> list[str]:
    """The arguments of ``python -m pipeline`` for a run."""
    named = [word for each in inputs for word in ("--input", each)]
    fixed = ["--encoder", bundle, "--output", output, "--allow-deletes", *options]
    return ["run", *map(str, (*named, *fixed))]


def start(arguments: list[str], *more: Any) -> subprocess.Popen[str]:
    """Start a run in a new process, with more options for the launcher."""
    launcher = [sys.executable, ROOT / "tests" / "jobs" / "kill" / "launcher.py"]
    return subprocess.Popen(
        [*map(str, (*launcher, *more)), "--", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the process. Returns the exit code, stdout and stderr."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        raise
    return process.returncode, out, err


def besides_devices(out: str) -> str:
    """The output of a run without the line about its devices, and those about its progress.

    A run prints its progress if it takes long, as it does on a busy machine.
    """
    lines = out.splitlines(keepends=True)
    return "".join(
        line
        for line in lines
        if not (line.startswith("the encoder computes on ") or _PROGRESS.match(line))
    )


def wait_for(path: pathlib.Path) -> None:
    """Wait until a file exists."""
    end = time.monotonic() + TIMEOUT
    while not path.exists():
        assert time.monotonic() < end, f"{path} has not come up"
        time.sleep(0.05)


def alive(session: int) -> list[str]:
    """The command lines of the processes that still run in a session begun by `start`."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


def rows(output: pathlib.Path, kind: str = "embeddings") -> dict[str, dict[str, Any]]:
    """All rows by uri, read with pyarrow from the folder. Checks that no uri occurs twice."""
    return Dataset(output, root="/nothing").rows(kind)


def committed(output: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The last committed state: uri -> row."""
    return Dataset(output).committed()


def state_of(table: dict[str, dict[str, Any]]) -> set[tuple[Any, ...]]:
    """The part of a row that must be equal to the last bit."""
    names = ("version", "sha256", "stage", "error", "message", "bytes", "width", "height")
    return {(uri, *(row.get(name) for name in names)) for uri, row in table.items()}


def assert_same(output: pathlib.Path, reference: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Check that rows are the same. Vectors may differ as much as batch sizes cause."""
    for kind, expected in reference.items():
        found = rows(output, kind)
        assert state_of(found) == state_of(expected)
        if kind == "embeddings":
            vectors = [[table[uri]["embedding"] for uri in found] for table in (found, expected)]
            np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-6)


def assert_no_stray_file(output: pathlib.Path, listed: AbstractSet[str]) -> None:
    """Check that the files on disk are those that the manifest names, and records of failed runs.

    Besides, parts of killed runs wait if they have rows of images that are not listed now, but may
    be listed again.
    """
    manifest = json.loads((output / "manifest.json").read_text())
    expected = {"manifest.json", *(f"runs/{run}.json" for run in manifest["runs"])}
    for state in manifest["encoders"].values():
        expected |= {part["path"] for kind in ("embeddings", "failures") for part in state[kind]}
        expected |= set(state["lists"].values())
    for log in output.glob("changes/*/run=*/part-*.parquet"):
        if log.parent.name.removeprefix("run=") in manifest["runs"]:
            expected.add(str(log.relative_to(output)))
    found = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    waiting = {
        path
        for path in found
        if path.startswith("staging/embeddings/")
        and not set(pq.read_table(output / path, columns=["uri"])["uri"].to_pylist()) <= listed
    }
    found -= waiting | {path for path in found if path.startswith("runs/failed/")}
    assert found == expected, f"stray: {found - expected}, missing: {expected - found}"


def committed_parts(output: pathlib.Path) -> set[str]:
    """The paths of the parts that the manifest names."""
    if not (output / "manifest.json").exists():
        return set()
    encoders = json.loads((output / "manifest.json").read_text())["encoders"]
    return {part["path"] for state in encoders.values() for part in state["embeddings"]}


def count_rows(path: pathlib.Path) -> int:
    """The number of rows of a part. An incomplete part is an error."""
    return int(pq.read_metadata(path).num_rows)


def last_record(output: pathlib.Path) -> dict[str, Any]:
    """The record of the last committed run. Checks that its counts add up."""
    return Dataset(output).record()
