"""Make and check what one version of Keras writes; see __main__."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

from encoder.compute.keras_setup import import_keras

import_keras()

from tests.support.converters import Converters
from tests.zoo.check import check_answer
from tests.zoo.making.layer_table import TABLE
from tests.zoo.outcomes import Outcome, Results
from tests.zoo.versions import VERSIONS, interpreter

_IN_GROUP = 24
_MAKER = pathlib.Path(__file__).parent / "making" / "maker.py"


class Maker:
    """A process that makes files of one version on demand.

    Attributes:
        folder: where the files of the latest answer are.
        greeting: the version, the names of all that it can make, and what is left out.
    """

    def __init__(self, version: str, folder: pathlib.Path, largest: float) -> None:
        self.folder = folder
        self._log = (folder / "log.txt").open("w")
        command = [interpreter(version), str(_MAKER), VERSIONS[version].module, str(folder)]
        self._process = subprocess.Popen(
            [*command, str(largest)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.greeting = self._answer()

    def make(self, kind: str, names: list[str]) -> dict[str, Any]:
        """Make one network of some names; the answer says which files there are, or why not."""
        for path in self.folder.glob("model*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([kind, names]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            text = (self.folder / "log.txt").read_text(errors="replace")
            raise RuntimeError(f"the maker ended with {self._process.wait()}: {text[-2000:]}")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def close(self) -> None:
        """End the process."""
        with self._process, self._log:
            assert self._process.stdin is not None
            self._process.stdin.close()


@contextlib.contextmanager
def maker(version: str, largest: float = 400e6) -> Iterator[Maker]:
    """A maker in a folder of its own, which goes with it."""
    with tempfile.TemporaryDirectory() as folder:
        made = Maker(version, pathlib.Path(folder), largest)
        try:
            yield made
        finally:
            made.close()


def run_version(
    version: str, kinds: list[str], only: str, largest: float, keep: bool
) -> list[Outcome]:
    """Check what has no outcome yet, and return the faults of the version."""
    results = Results.read(version, keep)
    with maker(version, largest) as made, Converters().in_use():
        results.version = made.greeting["version"]
        results.left_out = made.greeting["left_out"]
        for kind in kinds:
            names = [
                name
                for name in made.greeting["names"][kind]
                if name.startswith(only) and not results.has(kind, name)
            ]
            for group in groups(kind, names):
                found = outcomes(made, kind, group)
                results.add(found)
                for each in found:
                    if each.status == "FAULT":
                        print(f"FAULT {version} {kind} {each.name} {each.file}: {each.detail}")
                sys.stdout.flush()
    unknown = [name for name, reason in results.left_out.items() if not reason]
    if unknown:
        print(f"FAULT {version}: layer_table.py lacks {', '.join(unknown)}")
    faults = [each for each in results.outcomes if each.status == "FAULT"]
    return faults + [Outcome("layer", name, "", "FAULT", "", "not in table") for name in unknown]


def groups(kind: str, names: list[str]) -> list[list[str]]:
    """Names that are made in one network: a start takes longer than a layer more."""
    if kind != "layer":
        return [[name] for name in names]
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(TABLE[name][0], []).append(name)
    return [
        group[start : start + _IN_GROUP]
        for group in found.values()
        for start in range(0, len(group), _IN_GROUP)
    ]


def outcomes(made: Maker, kind: str, names: list[str]) -> list[Outcome]:
    """The outcomes of names; if a network of several can't be used, halves of it are made."""
    found = check_answer(made.folder, kind, names, made.make(kind, names))
    if len(names) > 1 and any(not each.layer for each in found):
        middle = len(names) // 2
        return outcomes(made, kind, names[:middle]) + outcomes(made, kind, names[middle:])
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    name, asked, first, most, *more = sys.argv[1:]
    sys.exit(1 if run_version(name, asked.split(","), first, float(most), bool(more)) else 0)
